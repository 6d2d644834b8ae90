"""`posgen status`: the grid of a sweep against what was done to its runs, and the list of run folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import cli.sweep
from eval.running.plan import plan
from eval.running.sweep import run_sweep
from eval.store.records import append, load
from eval.store.runs import Run
from tests.command import run
from tests.committed import ROOT
from tests.eval.running.test_sweep import StopAfter, settings

OPTIONS = ("--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "--protocol", "paper", "--seed", "1,2")
NAME = "smoke+seed=1_2"
PLANS: dict[str, Any] = {}
CELLS = [(pe, seed) for pe in ("rope", "yarn") for seed in (1, 2)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two encodings, two seeds, trained and measured."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("sweep", *OPTIONS, "--threads", "1") == 0
    return folder


@pytest.fixture
def place(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, as the current folder."""
    shutil.copytree(swept, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning is a second each time, and has tests of its own."""

    def plan_sweeps(overrides: Any, **options: Any) -> Any:
        key = repr((overrides, options))
        if key not in PLANS:
            PLANS[key] = cli.sweep.plan_sweeps(overrides, **options)
        return PLANS[key]

    monkeypatch.setattr("cli.status.plan_sweeps", plan_sweeps)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Status = Callable[..., dict[tuple[str, int], dict[str, Any]]]


@pytest.fixture
def status(capsys: pytest.CaptureFixture[str]) -> Status:
    """What `posgen status --json` says, by training encoding and seed."""

    def objects(*more: str) -> dict[tuple[str, int], dict[str, Any]]:
        capsys.readouterr()
        assert run("status", *OPTIONS, *more, "--json") == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {(line["train_encoding"], line["seed"]): line for line in lines}

    return objects


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What `posgen status` prints; never wider than a terminal of 100 columns."""
    capsys.readouterr()
    assert run("status", *(options or OPTIONS)) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    return out


def grid(out: str) -> dict[tuple[str, int], str]:
    """The cells of a grid as it is printed."""
    head, *rows = [line.split() for line in out.split("\n\n")[1].splitlines()]
    seeds = [int(word) for word in head if word.isdigit()]
    return {(row[1], seed): state for row in rows for seed, state in zip(seeds, row[2:], strict=True)}


def folder_of(pe: str, seed: int) -> Path:
    for file in Path("results/runs").glob("*/run.json"):
        info = json.loads(file.read_text())
        if (info["train_encoding"], info["seed"]) == (pe, seed):
            return file.parent
    raise AssertionError((pe, seed))


def change(folder: Path, **entries: Any) -> None:
    Run(folder.parent, folder.name).report(**entries)


def unfinish(pe: str, seed: int, **entries: Any) -> Path:
    """Let a run be one that has no outcome yet."""
    folder = folder_of(pe, seed)
    for name in ("history.json", *(path.name for path in folder.glob("weights-*"))):
        (folder / name).unlink()
    change(folder, epoch=1, **entries)
    return folder


def everything(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes()) for path in paths}


def test_before_anything_is_begun_all_is_missing_and_nothing_is_made(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(capsys)
    assert grid(out) == dict.fromkeys(CELLS, "missing")
    assert "4 missing, of 4\n`posgen sweep` with the same options" in out
    assert list(empty.iterdir()) == []


@pytest.mark.usefixtures("place")
def test_a_finished_sweep_is_done_and_nothing_is_written(status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(Path())
    out = shown(capsys)
    assert grid(out) == dict.fromkeys(CELLS, "done")
    assert out.endswith("4 done, of 4\n")
    for (pe, seed), line in status().items():
        assert (line["task"], line["profile"], line["records"]) == ("cot", NAME, f"results/{NAME}/records.jsonl")
        assert line["cells"] == [
            {"protocol": "paper", "pe": pe, "test_encoding": pe, "accuracy": "teacher_forced", "recorded": True}
        ]
        assert line["run_id"] == folder_of(pe, seed).name
        assert (line["status"], line["epoch"], line["epochs"]) == ("finished", 2, 2)
    assert everything(Path()) == before


@pytest.mark.usefixtures("place")
def test_a_part_of_the_sweep_is_its_cells_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "--protocol", "paper")
    assert grid(shown(capsys, *words, "--seed", "5549")) == {("rope", 5549): "missing", ("yarn", 5549): "missing"}


@pytest.mark.usefixtures("place")
def test_running_is_a_lock_and_not_a_word(status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    here = {"host": socket.gethostname(), "pid": os.getpid(), "since": "2026-11-26T08:00:00Z"}
    folder = unfinish("rope", 1, status="running", **here)
    line = status()["rope", 1]
    assert line["state"] == "interrupted"
    assert "by a process that ended without saying so" in line["detail"]
    claimed = Run(folder.parent, folder.name)
    assert claimed.claim()
    try:
        line = status()["rope", 1]
        assert line["state"] == "running"
        assert {key: line[key] for key in here} == here
        where = f"epoch 1 of 2, on {here['host']}, process {here['pid']}, since 2026-11-26T08:00:00Z"
        assert line["detail"] == where
        assert f"running: cot rope 1 (run {folder.name}): {where}" in " ".join(shown(capsys).split())
        change(folder, status="interrupted")  # the word of an earlier process: the present one has written none yet
        assert status()["rope", 1]["detail"] == "has just begun, from epoch 1 of 2"
    finally:
        claimed.release()
    assert status()["rope", 1]["state"] == "interrupted"


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_running_in_another_process_says_which(status: Status) -> None:
    folder = folder_of("yarn", 2)
    for file in folder.iterdir():
        file.unlink()
    shutil.rmtree(f"results/{NAME}")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import eval.running.training as training\n"
        "def stands(*_): print('training', flush=True); sys.stdin.read()\n"
        "training.Trainer.run = stands\n"
        f"from cli.main import main; main(['sweep', *{OPTIONS!r}, '--threads', '1'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "training\n" in iter(process.stdout.readline, "")
    line = status()["yarn", 2]
    assert (line["state"], line["host"], line["pid"]) == ("running", socket.gethostname(), process.pid)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["since"])
    process.kill()
    process.communicate()
    assert status()["yarn", 2]["state"] == "interrupted"
    assert sorted(line["state"] for line in status().values()) == ["done", "done", "done", "interrupted"]


@pytest.mark.usefixtures("place")
def test_done_needs_every_record(status: Status) -> None:
    records = Path("results", NAME, "records.jsonl")
    lines = records.read_text().splitlines(keepends=True)
    lost = folder_of("yarn", 1).name
    records.write_text("".join(line for line in lines if f'"run_id":"{lost}"' not in line))
    states = status()
    assert states["yarn", 1]["state"] == "unmeasured"
    assert [cell["recorded"] for cell in states["yarn", 1]["cells"]] == [False]
    assert {state["state"] for place, state in states.items() if place != ("yarn", 1)} == {"done"}
    # Another protocol of the same trainings: trained, and not measured for it.
    assert run("status", *OPTIONS[:-4], "--protocol", "paper+accuracy=free_running", *OPTIONS[-2:]) == 0


@pytest.mark.usefixtures("place")
def test_records_without_a_run_are_told_apart_from_nothing(status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder_of("rope", 2))
    assert status()["rope", 2]["state"] == "recorded"
    assert "recorded: its records are here, its run is not; the same sweep would train it again" in shown(capsys)
    Path("results", NAME, "records.jsonl").unlink()
    assert status()["rope", 2]["state"] == "missing"


@pytest.mark.usefixtures("place")
def test_stale_is_other_code_and_says_which_commit(
    status: Status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = status()["rope", 1]["trained_by"][0]
    monkeypatch.setattr("eval.store.provenance.SOURCE", "0123456789ab")
    for line in status().values():
        assert line["state"] == "stale"
        assert "trained by other code" in line["detail"]
        assert f"source {trained['source']}; this is source 0123456789ab" in line["detail"]
        assert str(trained["git_commit"])[:12] in line["detail"] or trained["git_commit"] is None
    assert "stale: 4 members, cot rope 1 (run" in shown(capsys)


@pytest.mark.usefixtures("place")
def test_runs_of_a_version_without_source_hashes_are_not_called_stale(status: Status) -> None:
    file = Path("results", NAME, "records.jsonl")
    older = []
    for record in load(file):
        makers = tuple(replace(maker, source=None) for maker in record.trained_by)
        older.append(replace(record, measured_by=makers[-1], training=replace(record.training, trained_by=makers)))
    file.unlink()
    append(file, older)
    assert {line["state"] for line in status().values()} == {"done"}


@pytest.mark.usefixtures("place")
def test_stale_is_other_settings_and_says_which(status: Status, capsys: pytest.CaptureFixture[str]) -> None:
    """As after an edit of the profile's YAML: the same entry of the table, another run."""
    old = folder_of("yarn", 1)
    spec = json.loads((old / "spec.json").read_text())
    spec["optim"]["lr"], spec["model"]["layers"] = 0.5, 3
    (old / "spec.json").write_text(json.dumps(spec))
    other = old.with_name("0123456789ab")
    old.rename(other)
    Path("results", NAME, "records.jsonl").unlink()
    line = status()["yarn", 1]
    assert line["state"] == "stale"
    assert line["differs"] == {"model.layers": [3, 2], "optim.lr": [0.5, 0.001]}
    told = "run 0123456789ab (finished) has other settings: model.layers=3, now 2, optim.lr=0.5, now 0.001"
    assert told in " ".join(shown(capsys).split())
    # Tested with others alone, it is no other training; of another profile, no other form of this one.
    spec["optim"]["lr"], spec["model"]["layers"] = 0.001, 2
    spec["test_encodings"] = []
    (other / "spec.json").write_text(json.dumps(spec))
    assert status()["yarn", 1]["state"] == "missing"
    spec["seed"] = 9
    (other / "spec.json").write_text(json.dumps(spec))
    change(other, profile="quick")
    assert status()["yarn", 1]["state"] == "missing"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "[]"), ("run.json", '{"run_id"'), ("run.json", "[" * 100_000), ("run.json", '{"epoch": "one"}'),
        ("history.json", "{}"), ("history.json", None), ("history.json", '{"status": "finished"}'),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("place")
def test_damage_is_a_line_that_names_the_file(
    name: str, content: str | None, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder_of("rope", 1) / name
    file.unlink() if content is None else file.write_text(content)
    states = status()
    assert states["rope", 1]["state"] == "damaged"
    assert name in states["rope", 1]["detail"]
    assert "\n" not in states["rope", 1]["detail"]
    assert {line["state"] for place, line in states.items() if place != ("rope", 1)} == {"done"}
    assert name in shown(capsys)
    assert run("status", "--runs") == 0
    assert run("status", "--runs", "--json") == 0


@pytest.mark.usefixtures("place")
def test_damaged_records_are_told_and_the_runs_are_shown_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    records = Path("results", NAME, "records.jsonl")
    records.write_text(records.read_text().replace('"status":"finished"', '"status":"new"', 1))
    out = shown(capsys)
    assert "records cannot be read, so that none counts" in " ".join(out.split())
    assert "line" in out
    assert grid(out) == dict.fromkeys(CELLS, "unmeasured")


def test_an_interrupted_and_a_failed_training_say_so_and_go_on(
    empty: Path, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    members = plan(["cot"], ["rope", "yarn"], [1, 2], ["paper"], "smoke", ("optim.epochs=6",))
    place = settings(empty / "results", records_path=empty / "results" / NAME / "records.jsonl", profile=NAME)

    def states() -> Iterator[tuple[str, str]]:
        return ((line["state"], line["detail"]) for line in status("optim.epochs=6").values())

    run_sweep(members, place, StopAfter(5))
    assert {state for state, _ in states()} == {"interrupted"}
    with monkeypatch.context() as patch:
        patch.setattr(
            "eval.running.training.Population", lambda *_: (_ for _ in ()).throw(RuntimeError("out of\nroom"))
        )
        with pytest.raises(RuntimeError):
            run_sweep(members, place)
    for state, detail in states():
        assert state == "failed"
        assert re.fullmatch(r"RuntimeError: out of room \(epoch \d of 6\)", detail)
    assert len(run_sweep(members, place).finished) == 4
    assert {json.loads(file.read_text())["reason"] for file in empty.glob("results/runs/*/run.json")} == {None}


@pytest.mark.usefixtures("empty")
def test_many_seeds_stand_in_grids_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "--profile", "smoke", "--task", "cot", "--pe", "rope", "--seed", ",".join(map(str, range(40))))
    heads = [line for line in out.splitlines() if line.startswith("task ")]
    assert len(heads) > 1
    assert [int(word) for head in heads for word in head.split() if word.isdigit()] == list(range(40))
    assert out.count("missing") == 40 + 1


@pytest.mark.usefixtures("empty")
def test_trainings_that_only_their_protocol_tells_apart_have_rows_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("--profile", "smoke", "--task", "cot", "--pe", "rope", "--protocol", "paper,paper+layers=6")
    rows = [line.split() for line in shown(capsys, *words).splitlines() if line.startswith("cot")]
    assert rows == [["cot", "rope", "paper", "missing"], ["cot", "rope", "paper+layers=6", "missing"]]


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_it_takes_what_sweep_takes(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = ("--ledger", "--rows", "7", "--direction", "paper", "--profile", "smoke", "--task", "cot", "--pe", "rope")
    assert "results/smoke/ledger/records.jsonl" in " ".join(shown(capsys, *ledger).split())
    league = ("--league", "--profile", "smoke", "--task", "cot", "--pe", "rope,alibi")
    assert "results/smoke/league/records.jsonl" in " ".join(shown(capsys, *league).split())
    two = shown(capsys, "--profile", "smoke", "--task", "cot", "--pe", "rope", "optim.lr=1e-3,2e-3", "device=cuda:9")
    assert two.count("1 missing, of 1") == 2
    assert run("status", "--rows", "1") == 2
    assert "is for --ledger only" in capsys.readouterr().err
    assert run("status", "--runs", "--task", "cot") == 2
    assert "--runs lists all" in capsys.readouterr().err


@pytest.mark.usefixtures("empty")
def test_the_list_of_runs_without_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--runs") == 0
    assert "posgen train" in capsys.readouterr().out
    assert run("status", "--runs", "--json") == 0
    assert capsys.readouterr().out == ""


def test_the_list_of_runs_shows_every_state_and_survives_a_damaged_file(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_id, state in (("a" * 12, "interrupted"), ("b" * 12, "running"), ("c" * 12, "diverged")):
        folder = empty / "results" / "runs" / run_id
        folder.mkdir(parents=True)
        known = {"run_id": run_id, "status": state, "epoch": 3, "epochs": 8, "task": "cot", "train_encoding": "rope",
                 "seed": 5549, "profile": "quick", "sweep": "quick", "updated": "2026-11-21T22:00:00Z"}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(known))
    (empty / "results" / "runs" / ("d" * 12)).mkdir()
    (empty / "results" / "runs" / ("d" * 12) / "run.json").write_text('{"run_id"')
    claimed = Run(empty / "results" / "runs", "b" * 12)
    assert claimed.claim()
    assert run("status", "--runs") == 0
    out = capsys.readouterr().out
    for state in ("interrupted, epoch 3 of 8", "running, epoch 3 of 8", "diverged, epoch 3 of 8", "unreadable"):
        assert state in out
    assert "0.00" not in out  # what was not measured is a dash, never a zero
    claimed.release()
    assert run("status", "--runs", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in sorted(rows, key=lambda row: row["run_id"])] == [
        "interrupted", "interrupted", "diverged", "unreadable",
    ]  # fmt: skip
