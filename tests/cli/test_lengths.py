"""`posgen lengths --measure` for real, at the smoke profile, against one measurement a length by `posgen evaluate`."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from eval.measuring import member as measuring
from eval.store.probes import LengthsRecord
from eval.store.records import load
from eval.store.runs import Run
from models.spec import AccuracyMode
from tests.command import run
from tests.committed import results

PES = ("rope", "yarn", "resonance_dynamic_ntk", "fire", "learned")
LENGTHS = (16, 32, 48, 96)
MEASURE = ("lengths", "--profile", "smoke", "--measure", "--threads", "1", "--factors", "4")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which five encodings were swept on one task, and measured at four lengths."""
    folder = tmp_path_factory.mktemp("swept")
    what = ("--profile", "smoke", "--task", "cot", "--pe", ",".join(PES), "--protocol", "paper", "--threads", "1")
    lengths = (*MEASURE, "--lengths", ",".join(map(str, LENGTHS)))
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        assert run("sweep", *what) == 0
        assert run(*lengths) == 0
    (folder / "out").write_text(out.getvalue())
    return folder


@pytest.fixture(autouse=True)
def workplace(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(swept)
    return swept


def measured(folder: Path) -> list[LengthsRecord]:
    return load(folder / "results" / "smoke" / "lengths" / "records.jsonl", kind=LengthsRecord)


def test_every_window_is_that_of_a_measurement_at_its_own_length(swept: Path) -> None:
    """What one long measurement shows of a shorter length, and what is measured there alone, is the same thing."""
    root = swept / "results"
    for record in measured(swept):
        spec = Run(root / "runs", record.run_id).spec()
        weights = Run(root / "runs", record.run_id).weights(record.pe)
        found = record.windows
        assert (found.width, found.sequences) == (16, 16)  # no more than the smoke profile's test split
        for end, accuracy in zip(found.ends, found.accuracy, strict=True):
            asked = measuring.Data(root / "data").test(spec, end)
            alone = measuring.scores_of(weights, spec, record.spec, asked, AccuracyMode.teacher_forced, "cpu").accuracy
            assert accuracy == pytest.approx(np.nanmean(alone[-16:]), abs=1e-6), (record.pe, end)


def test_an_encoding_is_measured_once_unless_it_depends_on_the_length(swept: Path) -> None:
    lengths: dict[str, list[tuple[int | None, int, list[int]]]] = {}
    for record in measured(swept):
        found = record.windows
        lengths.setdefault(record.pe, []).append((found.fitted_to, record.length, list(found.ends)))
    whole = [16, 32, 48, 64, 80, 96]
    assert lengths["rope"] == lengths["fire"] == [(None, 96, whole)]
    # s = 2 as the sweep tested it and s = 4 at all lengths; s = n/L once for each of the others.
    assert sorted(lengths["yarn"]) == [(16, 16, [16]), (32, 96, whole), (48, 48, [48]), (64, 96, whole), (96, 96, [96])]
    assert sorted(lengths["resonance_dynamic_ntk"]) == sorted(
        [(fitted, n, [n]) for fitted in (32, 64) for n in LENGTHS] + [(16, 16, [16]), (48, 48, [48]), (96, 96, [96])]
    )
    assert lengths["learned"] == [(None, 32, [16, 32])]  # its table ends there
    assert "learned is measured up to 32 tokens" in (swept / "out").read_text()


def test_a_scaling_follows_the_protocols_rule(swept: Path) -> None:
    for record in measured(swept):
        if record.pe == "yarn":
            params = record.spec.params
            assert params["factor"] == (record.windows.fitted_to or 0) / 16  # s = L'/L, as the paper's text has it
            assert params["ramp_length"] == 16


def test_the_records_keep_what_they_are(swept: Path) -> None:
    tested = {record.run_id: record for record in load(swept / "results" / "smoke" / "records.jsonl")}
    for record in measured(swept):
        source = tested[record.run_id]
        assert record.protocols == ("paper",)
        for key in ("task", "pe", "seed", "train_encoding", "checkpoint_epoch", "training", "train_seconds"):
            assert getattr(record, key) == getattr(source, key)
        assert record.training.label == "smoke test, its numbers mean nothing"
        if record.windows.fitted_to in (None, 32):
            assert record.test_encoding == source.test_encoding
        else:
            assert record.test_encoding.startswith(f"{record.pe}~")


def test_what_is_measured_is_not_measured_again(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (swept / "results" / "smoke" / "lengths" / "records.jsonl").read_bytes()
    assert run(*MEASURE, "--lengths", "16,32,48,96") == 0
    out = capsys.readouterr().out
    count = len(measured(swept))
    assert f"{count} of {count} measurements are done" in out
    assert (swept / "results" / "smoke" / "lengths" / "records.jsonl").read_bytes() == before
    assert "| paper | CoT | Resonance Dynamic NTK | s = n/L |" in out


def test_one_measurement_serves_protocols_that_are_measured_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    what = ("--profile", "smoke", "--task", "cot", "--pe", "rope", "--seed", "5549", "--threads", "1")
    assert run("sweep", *what, "--protocol", "paper,zero_shot_text") == 0
    for protocol in ("paper", "zero_shot_text"):
        assert run(*MEASURE, "--lengths", "16,32", "--protocol", protocol) == 0
    (record,) = measured(tmp_path)
    assert record.protocols == ("paper", "zero_shot_text")


def test_results_may_lie_elsewhere(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """paths.results names the folder of the records that are read as well as of those that are written."""
    monkeypatch.chdir(tmp_path)
    assert run(*MEASURE, "--lengths", "16,32,48,96", f"paths.results={swept / 'results'}") == 0
    count = len(measured(swept))
    assert f"{count} of {count} measurements are done" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_estimates_and_measures_nothing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (swept / "results" / "smoke" / "lengths" / "records.jsonl").read_bytes()
    assert run(*MEASURE, "--lengths", "16,32,64", "--pe", "rope", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "0 of 1 measurements are done" in out
    assert "about" in out
    assert "wrote" not in out
    assert (swept / "results" / "smoke" / "lengths" / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--threshold", "0"], "lengths.threshold=0.0: use a fraction above 0"),
        (["--sequences", "0"], "lengths.sequences=0: use at least 1"),
        (["--lengths", ""], "lengths.lengths=[]: use growing numbers"),
        (["--threads", "0"], "--threads=0: needs --measure"),
    ],
)
def test_a_zero_is_a_value(swept: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert run("lengths", "--profile", "smoke", *words) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("command", ["table1", "verdict", "figure3", "positions"])
def test_records_of_lengths_fill_no_table(swept: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    stored = swept / "results" / "smoke" / "lengths" / "records.jsonl"
    assert run(command, "--records", str(stored), "--out", "elsewhere") == 2
    assert capsys.readouterr().err == (
        f"posgen: error: {stored} holds records of kind lengths, and this takes accuracy: show them with "
        f"`posgen lengths --records {stored}`\n"
    )
    assert not (swept / "elsewhere").exists()


def test_records_of_a_table_have_no_effective_length(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = swept / "results" / "smoke" / "records.jsonl"
    assert run("lengths", "--records", str(stored), "--out", "elsewhere") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{stored} holds records of kind accuracy, and this takes lengths" in said
    assert not (swept / "elsewhere").exists()


def test_the_committed_records_of_lengths_name_their_command(capsys: pytest.CaptureFixture[str]) -> None:
    stored = results() / "quick" / "lengths" / "records.jsonl"
    assert run("table1", "--records", str(stored)) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert f"show them with `posgen lengths --records {stored}`" in told.err
    assert (
        run("lengths", "--records", str(stored), "--protocol", "paper", "--pe", "rope", "--out", "shown") == 0
    )  # the remedy
