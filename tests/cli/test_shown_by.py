"""Every kind of record names a command that shows it."""

import csv
from pathlib import Path
from statistics import fmean

import pytest

from eval.store.kinds import Record
from eval.store.lm_kinds import AdaptationRecord
from eval.store.record_lines import KINDS
from eval.store.records import load
from tests.command import run
from tests.committed import results


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_the_command_that_shows_a_kind_asks_for_nothing_but_its_records(
    kind: type[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "records.jsonl"
    assert run(*kind.shown_by.split()[1:], "--records", str(missing)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"cannot read the records {missing}" in said


def test_tunings_are_shown_as_they_were_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    path = results() / "llm" / "tuning.jsonl"
    assert run("llm", "tunings", "--records", str(path), "--format", "csv") == 0
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    shown = [(row[header.index("Steps")], row[header.index("Loss, last tenth")]) for row in rows]
    last = [fmean(record.losses[-10:]) for record in load(path, kind=AdaptationRecord)]
    assert shown == [("100", f"{loss:.6f}") for loss in last]
