"""`posgen bench step`: what it times, what it prints, and what it refuses. No test looks at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.bench import cases
from cli.shared.output import MISSING
from tests.command import run

NOTHING = dict.fromkeys(("task", "pe", "device", "threads"))
TINY = ("bench", "step", "--profile", "smoke", "--rounds", "1", "--threads", "1")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timed(*overrides: str, profile: str | None = None, population: str | None = None) -> list[tuple[str, str, int]]:
    """(profile, precision, members) of each line that these choices ask for."""
    found = cases(overrides, NOTHING, profile, population)
    return [(case.base.profile.name, case.spec.model.precision.value, case.members) for case in found]


@pytest.mark.slow
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "--population", "1,3") == 0
    head, one, three, label, kernels = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "profile"
    columns = "profile precision members threads step ms speed-up one by one utilisation tokens/s peak GiB"
    assert " ".join(head.split()) == columns
    assert one.split()[:4] == ["smoke", "fp32", "1", "1"]
    assert three.split()[:4] == ["smoke", "fp32", "3", "1"]
    assert one.split()[6] == MISSING, "one member alone is the population"
    assert float(three.split()[6]) > 0
    assert label.startswith("smoke: smoke test")
    assert "torch.bmm" in kernels


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "--population", "2", "--json", "model.precision=bf16", "model.dropout=0") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "profile", "precision", "members", "threads", "step_ms", "speed_up", "utilisation", "tokens_per_s"
    ]  # fmt: skip
    assert found["profile"] == "smoke+model.dropout=0"
    assert (found["precision"], found["members"], found["threads"]) == ("bf16", 2, 1)
    assert all(found[key] > 0 for key in ("step_ms", "speed_up", "tokens_per_s"))
    assert found["utilisation"] > 0


@pytest.mark.slow
def test_what_is_timed() -> None:
    assert timed() == [("paper", "fp32", 1), ("paper", "bf16", 1), ("narrow", "fp32", 8), ("quick", "fp32", 16)]
    assert timed("model.precision=bf16") == [("paper", "bf16", 1), ("narrow", "bf16", 8), ("quick", "bf16", 16)]
    assert timed(profile="quick") == timed("profile=quick") == [("quick", "fp32", n) for n in (1, 4, 16)]
    assert timed(profile="paper") == [("paper", "fp32", 1)]
    assert timed(profile="smoke", population="2,5") == [("smoke", "fp32", 2), ("smoke", "fp32", 5)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (("--population", "0"), "population=0"),
        (("--population", "many"), "population=many"),
        (("--rounds", "0"), "rounds=0"),
        (("--threads", "0"), "threads=0"),
        (("--device", "cuda:7"), "device=cuda:7"),
        (("--pe", "all"), "pe=rope,resonance_rope,yarn,resonance_yarn"),
        (("--task", "cot,recursive"), "task=cot,recursive"),
        (("--profile", "huge"), "profile=huge"),
    ],
)
def test_mistakes_are_told_in_one_line(wrong: tuple[str, str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "step", *wrong) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert named in error
