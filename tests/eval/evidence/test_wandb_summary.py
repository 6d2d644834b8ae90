"""The summary run against W&B's own reader: what is logged, what is only referred to, what happens when W&B fails."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from matplotlib.figure import Figure
from PIL import Image

from conf.schema import TrackMode
from eval.evidence.report.page import Page, Picture, Section
from eval.evidence.report.wandb_summary import Holdings, log_summary
from eval.evidence.table import Cell, Column, Table, Words, cells
from eval.running.wandb_tracker import WandbTracker
from eval.store import records
from eval.store.kinds import AccuracyRecord
from posgen.dataset import prepare
from tests.eval.running.test_wandb import fresh_wandb, history, inspect, run_files, summary

__all__ = ["fresh_wandb"]  # a fixture that every test here uses by itself

TABLE = Table(
    (Column("Task"), Column("ID", number=True), Column("OOD", number=True, decimals=1)),
    (cells("CoT", 97.5, Cell(27.5, "27.5 ± 4.5")), cells("Recursive", None, 1.0)),
)
PAGE_HTML = "<!DOCTYPE html><title>the page</title>"


def page() -> Page:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1])
    parts = (("", TABLE), ("Protocol paper", Picture(figure, "a line", "rises")))
    return Page("t", "profile quick", Words(()), "", (Section("table1", "Table 1", parts),))


def tracker(folder: Path, lines: list[str], **options: Any) -> WandbTracker:
    return WandbTracker(folder / "wandb", mode=TrackMode.offline, report=lines.append, **options)


@pytest.fixture
def made(tmp_path: Path, record: Any) -> tuple[list[AccuracyRecord], Holdings]:
    """Records of two trainings, one of which is on this machine with its data set."""
    data = {"train_length": 8, "test_length": 8, "train_size": 4, "validation_size": 2, "test_size": 2}
    both = [record(seed=seed, config={"data": data}) for seed in (1, 2)]
    path = tmp_path / "results" / "quick" / "records.jsonl"
    records.append(path, both)
    prepare(both[0].training.task, both[0].training.data, tmp_path / "data")
    weights = tmp_path / "runs" / both[0].run_id / "weights-rope.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights, as it were")
    return both, Holdings((path,), tmp_path / "data", tmp_path / "runs")


def test_the_run_shows_page_table_and_picture(tmp_path: Path, made: Any) -> None:
    lines: list[str] = []
    logged = log_summary(tracker(tmp_path, lines), page(), PAGE_HTML, *made)
    assert lines == []
    assert logged is not None
    digest = hashlib.sha256(made[1].records[0].read_bytes()).hexdigest()
    assert logged.run_id == f"summary-{digest[:12]}"
    (file,) = run_files(tmp_path, logged.run_id)
    found = inspect(file)
    run = found["run"][0]
    assert (run["job_type"], run["run_group"], run["display_name"]) == ("summary", "quick summary", "quick summary")
    assert run["config"]["update"]["records_sha256"] == digest
    assert [record["exit_code"] for record in found["exit"]] == [0]
    assert summary(found)["status"] == "finished"
    (row,) = history(found)
    kinds = {name.rpartition(".")[0]: value for name, value in row.items() if name.endswith("._type")}
    assert kinds == {"report/page": "html-file", "figures/table1-paper": "image-file", "tables/table1": "table-file"}

    def media(name: str) -> Path:
        return Path(file).parent / "files" / row[f"{name}.path"]

    assert media("report/page").read_text() == PAGE_HTML
    with Image.open(media("figures/table1-paper")) as picture:
        assert picture.size == (600, 300)
        assert np.asarray(picture.convert("L")).min() < 128
    table = json.loads(media("tables/table1").read_text())
    assert table["columns"] == ["Task", "ID", "OOD"]
    assert table["data"] == [["CoT", 97.5, "27.5 ± 4.5"], ["Recursive", None, "1.0"]]


def test_records_are_an_artifact_and_data_and_weights_are_referred_to(tmp_path: Path, made: Any) -> None:
    logged = log_summary(tracker(tmp_path, []), page(), PAGE_HTML, *made)
    assert logged is not None
    both, holdings = made
    assert (logged.data_absent, logged.runs_absent) == ((), (both[1].run_id,))
    (file,) = run_files(tmp_path, logged.run_id)
    artifacts = {one["name"]: one for one in inspect(file)["artifact"] if not one["name"].startswith("run-")}
    assert {name: one["type"] for name, one in artifacts.items()} == {
        "records-quick": "records", "data-quick": "dataset", "weights-quick": "model",
    }  # fmt: skip
    (entry,) = artifacts["records-quick"]["manifest"]["contents"]
    assert entry["path"] == "quick/records.jsonl"
    assert Path(entry["local_path"]).read_bytes() == holdings.records[0].read_bytes()
    assert "ref" not in entry
    for name, folder in (("data-quick", holdings.data_dir), ("weights-quick", holdings.runs_dir)):
        entries = artifacts[name]["manifest"]["contents"]
        assert {one["ref"] for one in entries} == {path.as_uri() for path in folder.rglob("*.*")}
        for one in entries:
            content = (folder / one["path"]).read_bytes()
            assert one["digest"] == base64.b64encode(hashlib.md5(content).digest()).decode()
            assert "local_path" not in one
    copies = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file() and b"as it were" in path.read_bytes()]
    assert copies == []


@pytest.mark.parametrize("broken", ["init", "Run.log", "Run.log_artifact"])
def test_a_failure_is_told_and_lets_the_caller_go_on(
    tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise wandb.Error("broken\non purpose")

    monkeypatch.setattr(f"wandb.{broken}", fail)
    lines: list[str] = []
    assert log_summary(tracker(tmp_path, lines), page(), PAGE_HTML, *made) is None
    assert len(lines) == 1
    assert "Error: broken" in lines[0]
