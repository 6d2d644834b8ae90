"""The section on tables of 16 bits of docs/findings.md: its table by loops over positions, rounding by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean

import pytest

from eval.store.records import load
from tests.committed import results
from tests.docs.findings import FAST, csv_rows, quoted, section
from tests.models.test_rounded_and_narrow import bf16, fp16

SECTION = section("Do whole periods survive tables of 16 bits?")
WORDS = " ".join(SECTION.split())
FOLDER = results() / "quick" / "experiments" / "precision"


def drift(end: int, narrow: Callable[[float], float], whole: bool) -> float:
    """The largest distance, in radians on the circle, between an angle of 16 bits and the exact one."""
    largest = 0.0
    for wavelength in (round(w) for w in FAST) if whole else FAST:
        frequency = 2 * math.pi / wavelength
        for position in range(end):
            step = position % wavelength if whole else position
            angle = narrow(narrow(float(step)) * narrow(frequency))
            largest = max(largest, abs(math.remainder(angle - position * frequency, 2 * math.pi)))
    return largest


def test_its_table() -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("| below")]
    ends = [int(row.split("|")[1].strip().removeprefix("below ").replace(",", "")) for row in rows]
    assert ends == [64, 256, 1024, 4096]
    for row, end in zip(rows, ends, strict=True):
        drifts = [drift(end, narrow, whole) for narrow in (bf16, fp16) for whole in (False, True)]
        assert [float(cell) for cell in row.split("|")[2:-1]] == pytest.approx(drifts, abs=6e-4)


def test_what_was_judged_is_quoted() -> None:
    assert len(quoted(SECTION, "quick", "precision")) == 4 + 1 + 2 + 4  # hypotheses, a blank line, a table
    rows = {
        r["hypothesis"]: r for r in csv_rows("quick/experiments/precision/precision.csv") if r["kind"] == "comparison"
    }
    assert {row["outcome"] for row in rows.values()} == {"held"}
    loss = [f"{-float(rows[name]['mean']):.2f}" for name in ("H1", "H2")]
    assert f"in bf16 RoPE loses {loss[0]} points of OOD accuracy within 256 tokens, Resonance RoPE {loss[1]};" in WORDS


def test_its_sentences() -> None:
    records = load(FOLDER / "records.jsonl")
    assert (len({r.run_id for r in records}), len(records)) == (96, 288)
    assert "96 trainings, 288 tests" in WORDS
    accuracies: dict[tuple[str, str], list[float]] = {}
    for record in records:
        name = record.test_encoding.partition("~")[0]
        accuracies.setdefault((record.task, name), []).append(100 * (record.ood_accuracy or 0.0))
    rope = {task: mean(values) for (task, name), values in accuracies.items() if name == "rope"}
    assert f"at {min(rope.values()):.0f} to {max(rope.values()):.0f} %" in WORDS
    lost = {task: rope[task] - mean(accuracies[task, "bf16"]) for task in rope}
    assert max(lost, key=lost.__getitem__) == "cot"
    assert f"largest on the chain of thought ({lost['cot']:.2f} points)" in WORDS
    assert abs(lost["cot_hidden"]) < 0.05
