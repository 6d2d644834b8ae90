"""`posgen verify`: what is whole is said to be, and every kind of damage is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.command import run

TRAIN = ("train", "--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "--threads", "1", "tracker=none")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that are done, two that stopped and keep a state, their data set and their records."""
    folder = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*TRAIN) == 0
        assert run("sweep", *TRAIN[1:], "optim.epochs=4", "--until", "2") == 0
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def verified(capsys: pytest.CaptureFixture[str], status: int, *words: str) -> list[str]:
    """The lines of damage."""
    capsys.readouterr()
    assert run("verify", *words) == status
    said = capsys.readouterr().out
    assert ("all are as they were written" in said) == (status == 0)
    return [line for line in said.splitlines() if line.startswith("damaged: ")]


def test_what_is_whole_is_said_to_be(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file())
    assert verified(capsys, 0) == []
    assert run("verify") == 0
    said = capsys.readouterr().out
    # RoPE's weights are chosen for YaRN at test time too.
    assert "3 files of weights; 2 that go on" in said
    assert "2 members' states" in said
    assert sorted((path, path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize(
    "pattern",
    [
        "runs/records.jsonl", "runs/*/run.json", "runs/*/history.json", "runs/*/spec.json", "runs/*/config.yaml",
        "runs/*/weights-*.safetensors", "runs/.states/*.pt", "data/*/train.parquet", "data/*/manifest.json",
    ],
)  # fmt: skip
def test_a_digit_that_changed_is_damage(place: Path, capsys: pytest.CaptureFixture[str], pattern: str) -> None:
    file = sorted(place.glob(pattern))[0]
    content = bytearray(file.read_bytes())
    digits = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    middle = digits[len(digits) // 2] if file.suffix in (".json", ".jsonl", ".yaml") else len(content) // 2
    content[middle] ^= 1  # another digit: the file keeps its form
    file.write_bytes(content)
    (line,) = verified(capsys, 1)
    assert str(file.parent.relative_to(place)) in line


def test_every_damaged_line_of_records_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = place.glob("runs/records.jsonl")
    lines = file.read_text().splitlines()
    assert len(lines) > 3
    measured = [i for i, line in enumerate(lines) if line.startswith('{"kind":"accuracy"')]
    first, second = measured[0], measured[-1]
    lines[first], lines[second] = lines[first].replace('"seed":5549', '"seed":5548'), "{"
    file.write_text("\n".join(lines) + "\n")
    assert [line.partition(": ")[2].partition(";")[0] for line in verified(capsys, 1)] == [
        f"results/runs/records.jsonl, line {first + 1}: does not have the digest that it ends with: it was damaged, "
        "or edited",
        f"results/runs/records.jsonl, line {second + 1}: is not a whole JSON record",
    ]


def test_records_of_a_damaged_training_are_not_at_fault(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = place.glob("runs/records.jsonl")
    training, *rest = file.read_text().splitlines()
    assert training.startswith('{"kind":"training"')
    file.write_text("\n".join([training.replace('"modulus":', '"modulos":'), *rest]) + "\n")
    (line,) = verified(capsys, 1)
    assert "line 1: does not have the digest" in line


def test_a_run_under_another_name_is_damage(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sorted(path.parent for path in place.glob("runs/*/history.json"))[0]
    folder.rename(folder.with_name("0123456789ab"))
    (line,) = verified(capsys, 1)
    assert f"describes run {folder.name}, not 0123456789ab" in line


def test_a_folder_that_is_not_there_or_holds_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "nowhere") == 2
    assert capsys.readouterr().err.strip() == (
        "posgen: error: nowhere: there is no such folder; name one that holds results, runs or data sets"
    )
    Path("empty").mkdir()
    assert run("verify", "empty") == 0
    assert "there are no records" in capsys.readouterr().out
