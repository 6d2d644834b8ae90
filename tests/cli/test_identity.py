"""How a training is tested is no part of what it is: a plain training serves every sweep that tests its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.command import run
from tests.faults.numbers import made

SMOKE = ("--profile", "smoke", "--task", "cot", "--threads", "1", "tracker=none")
ALONE = ("train", *SMOKE, "--pe", "rope")
SWEEP = ("sweep", *SMOKE, "--pe", "rope,yarn", "--protocol", "paper,zero_shot")
LATER = ("sweep", *SMOKE, "--pe", "pi,dynamic_ntk", "--protocol", "zero_shot_text", "--league")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers(path: str) -> dict[tuple[str, str, str], object]:
    def key(record: AccuracyRecord) -> tuple[str, str, str]:
        return (record.run_id, record.pe, record.test_encoding)

    return {key(record): record.metrics for record in load(Path(path))}


def trained_with(encoding: str) -> list[str]:
    """The ids of the runs that were trained with it."""
    specs = {path.parent.name: json.loads(path.read_text()) for path in Path("results/runs").glob("*/spec.json")}
    return [run_id for run_id, spec in specs.items() if spec["train_encoding"]["name"] == encoding]


def test_a_training_alone_and_a_sweep_share_it_in_either_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(*ALONE) == 0
    (plain,) = trained_with("rope")
    before = made(Path("results"))
    assert run(*SWEEP) == 0
    assert trained_with("rope") == [plain]
    after = made(Path("results"))
    assert {path: after[path] for path in before} == before  # nothing of it was written again
    one = (numbers("results/runs/records.jsonl"), numbers("results/smoke/records.jsonl"))
    assert {test.partition("~")[0] for run_id, _, test in one[1] if run_id == plain} == {"rope", "yarn"}
    (place / "other").mkdir()
    monkeypatch.chdir(place / "other")
    assert run(*SWEEP) == 0
    before = made(Path("results"))
    assert run(*ALONE) == 0
    assert trained_with("rope") == [plain]
    assert made(Path("results")) == before
    assert (numbers("results/runs/records.jsonl"), numbers("results/smoke/records.jsonl")) == one


def test_a_test_that_comes_later_joins_the_run_and_changes_no_number() -> None:
    """PI and dynamic NTK are not in Table 1, so the plain training did not choose a checkpoint for them yet."""
    assert run(*SWEEP) == 0
    (plain,) = trained_with("rope")
    before = numbers("results/smoke/records.jsonl")
    assert run(*LATER) == 0
    assert trained_with("rope") == [plain]
    late = {(pe, test.partition("~")[0]) for run_id, pe, test in numbers("results/smoke/league/records.jsonl")}
    assert late == {("pi", "pi"), ("dynamic_ntk", "dynamic_ntk")}
    weights = {path.name.split("-", 1)[1].split("~")[0] for path in Path(f"results/runs/{plain}").glob("weights-*")}
    assert {name.removesuffix(".safetensors") for name in weights} == {"rope", "yarn", "pi", "dynamic_ntk"}
    done = made(Path("results"))
    assert run(*SWEEP) == 0
    assert made(Path("results")) == done  # the earlier sweep still has all it needs
    assert numbers("results/smoke/records.jsonl") == before
    assert run("verify") == 0
