"""`backend=post` and `posgen work`: posted as data, done once, by whoever sees the folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.store.records import load
from eval.store.runs import Run
from tests.command import run
from tests.committed import ROOT
from tests.eval.running.test_sweep import measured

ONE = ("--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "optim.epochs=6", "optim.validate_every=2")


@pytest.fixture
def posted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a posted sweep of two chunks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eval.running.sweep.TOGETHER", 1)
    monkeypatch.setattr("eval.running.populations.TOGETHER", 1)
    assert run("sweep", *ONE, "backend=post") == 0
    (file,) = (tmp_path / "results" / "queue").iterdir()
    return file


def records(results: Path) -> dict[Any, Any]:
    (path,) = results.glob("smoke*/records.jsonl")
    return measured(path.parent)


def test_a_worker_takes_what_is_posted_wherever_the_folder_is(
    posted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sweep", *ONE, "backend=post") == 0
    out = capsys.readouterr().out
    assert "posted 2 chunks in results/queue/" in out
    assert "2 handed to others" in out
    assert not (tmp_path / "results" / "runs").exists()
    here = tmp_path / "another machine" / "mounted"
    shutil.copytree("results", here)
    monkeypatch.chdir(here.parent)
    assert run("work", "mounted", "--threads", "1", "--max-chunks", "1") == 0
    assert "1 chunks done: 1 trained" in capsys.readouterr().out
    assert list((here / "queue").iterdir())
    assert run("work", "mounted", "--threads", "1") == 0
    said = capsys.readouterr()
    assert "1 chunks done: 1 trained and measured" in said.out
    assert "complete, taken from the queue" in said.err
    assert not list((here / "queue").iterdir())
    assert {path.name for path in here.parent.iterdir()} == {"mounted"}
    assert run("work", "mounted") == 0
    assert capsys.readouterr().out.startswith("nothing is posted in mounted/queue")
    monkeypatch.chdir(tmp_path)
    assert run("sweep", *ONE, "--threads", "1", "paths.results=whole", "paths.data=results/data") == 0
    ours, whole = records(here), records(tmp_path / "whole")
    assert ours.keys() == whole.keys()
    for key, record in ours.items():
        for name in ("metrics", "history", "accuracy_by_position", "checkpoint_epoch", "protocols", "sweep", "profile"):
            assert getattr(record, name) == getattr(whole[key], name)


@pytest.mark.slow
def test_posted_again_is_the_same_file_and_done_is_not_posted(posted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", *ONE, "backend=post") == 0
    assert list(posted.parent.iterdir()) == [posted]
    assert run("work", "--threads", "1") == 0
    assert run("sweep", *ONE, "backend=post") == 0
    assert not list(posted.parent.iterdir())
    assert "2 already finished" in capsys.readouterr().out


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return edit


def _set(*keys: Any, value: Any) -> Callable[[Path], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return edited(change)


def _trained_and_tested_with(spec: Any, scaling: str) -> None:
    name = spec["train_encoding"]["name"]
    for encoding in (spec["train_encoding"], *(e for e in spec["test_encodings"] if e["name"] == name)):
        encoding["scaling"] = scaling


DAMAGED = {
    "no JSON": (lambda file: file.write_text("{"), "is damaged, or of another version"),
    "a pickle": (lambda file: file.write_bytes(b"\x80\x04K\x01."), "is damaged, or of another version"),
    "a key is missing": (edited(lambda content: content.pop("jobs")), "is damaged, or of another version"),
    "a member of another shape": (_set("jobs", 0, 0, "spec", "seed", value="x"), "is damaged, or of another version"),
    "a target that is not tested": (_set("jobs", 0, 0, "targets", 0, "test_encoding", value="x"), "x, which the"),
    "a later schema": (_set("schema", value=2), "has schema 2, and this posgen reads 1"),
    "other code": (_set("source", value="0123456789ab"), "was posted by other code"),
    "a way out of the folder": (_set("settings", "records", value="../r.jsonl"), "is not below results"),
    "an absolute path": (_set("settings", "runs", value="/tmp/runs"), "is not below results"),
    "code of somebody's own": (
        edited(lambda content: _trained_and_tested_with(content["jobs"][0][0]["spec"], "evil.py:X")),
        "--code evil.py:X",
    ),
    "an h of somebody's own": (_set("jobs", 1, 0, "spec", "task", "h", value="evil:h"), "--code evil:h"),
}


@pytest.mark.parametrize(("damage", "line"), DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_be_trusted_is_refused_in_one_line(
    posted: Path, tmp_path: Path, damage: Callable[[Path], None], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('this ran')")
    damage(posted)
    before = posted.read_bytes()
    capsys.readouterr()
    assert run("work", "--threads", "1") == 2
    err = capsys.readouterr().err
    assert line in err
    assert "Traceback" not in err
    assert [text for text in err.splitlines() if not text.startswith("posgen: ")] == []
    assert posted.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"results", "evil.py"}
    assert {path.name for path in (tmp_path / "results").iterdir()} <= {"queue", "data"}


@pytest.mark.slow
def test_other_code_is_worked_on_when_that_is_wanted(posted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _set("source", value="0123456789ab")(posted)
    assert run("work", "--threads", "1", "--any-source") == 0
    assert "2 chunks done" in capsys.readouterr().out


def test_one_bad_file_keeps_nobody_from_the_others(posted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (posted.parent / "0.json").write_text("{")
    assert run("work", "--threads", "1") == 0
    said = capsys.readouterr()
    assert said.err.count("not worked on: results/queue/0.json is damaged") == 1
    assert "2 chunks done" in said.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("sweep", *ONE, "backend=post", "paths.data=elsewhere"), "paths.data=elsewhere: backend=post needs it below"),
        (("sweep", *ONE, "backend=post", "tracker=wandb", "tracker.entity=${oc.env:ENTITY}"), "from the environment"),
        (("work", "nowhere"), "FOLDER=nowhere: there is no such folder"),
        (("work", ".", "--max-chunks", "0"), "max-chunks=0: use at least 1"),
        (("work", ".", "--threads", "0"), "threads=0: use 1 to 1024"),
        (("work", ".", "--threads", "x"), "threads=x: use whole numbers"),
        (("work", ".", "--device", "cuda:99"), "device=cuda:99: this machine has cpu"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENTITY", "a-secret-name")
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert line in err
    assert [text for text in err.splitlines() if not text.startswith("planning: ")] == [err.splitlines()[-1]]
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_workers_started_together_share_and_sigterm_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers; one is ended in mid-training, with its state saved and its chunk let go of."""
    long = ("--profile", "smoke", "--task", "cot", "--pe", "rope", "--seed", "1,2", "save_seconds=1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    monkeypatch.chdir(tmp_path)
    assert run("sweep", *long, "optim.epochs=300", "optim.validate_every=150", "backend=post") == 0
    work = [sys.executable, "-c", "from cli.main import main; main()", "work", "--threads", "1"]
    first = subprocess.Popen(work, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    runs = tmp_path / "results" / "runs"
    end = time.monotonic() + 300
    while not list(runs.glob(".states/*.pt")) and time.monotonic() < end:
        time.sleep(0.05)
    second = subprocess.Popen(work, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    first.send_signal(signal.SIGTERM)
    err = first.communicate(timeout=300)[1]
    assert first.returncode == 128 + signal.SIGTERM, err
    assert err.rstrip().endswith("posgen: interrupted; any worker goes on from here")
    third = subprocess.Popen(work, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    said = [process.communicate(timeout=500)[0] for process in (second, third)]
    assert [process.returncode for process in (second, third)] == [0, 0], said
    (path,) = (tmp_path / "results").glob("smoke*/records.jsonl")
    found = load(path)
    lines = [line for line in path.read_text().splitlines() if '"kind":"accuracy"' in line]
    assert len(lines) == len(found) > 0
    assert len({record.run_id for record in found}) == 2
    assert all(Run(runs, record.run_id).claimable() for record in found)
