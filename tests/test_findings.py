"""docs/findings.md: identities proved on sequences, numbers recomputed from the records."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from eval.records import load
from posgen.generate import generate
from posgen.spec import Rule, Task

ROOT = Path(__file__).parent.parent
FINDINGS = (ROOT / "docs" / "findings.md").read_text()


@pytest.mark.parametrize(("rule", "back", "step"), [("recursive", 5, 1), ("cot", 4, 1), ("semi_recursive", 4, 2)])
def test_two_tokens_are_enough(rule: str, back: int, step: int) -> None:
    """x_l = 2 x_(l-1) - x_(l-back) mod m for every l >= 5, or every second one."""
    prefixes = np.random.default_rng(0).integers(0, 17, (500, 4))
    tokens = generate(Task(rule, Rule(rule)), prefixes, 256).astype(int)
    for position in range(5, 256, step):
        expected = (2 * tokens[:, position - 1] - tokens[:, position - back]) % 17
        assert np.array_equal(tokens[:, position], expected)


def test_even_positions_of_the_semi_recursive_task_need_the_far_token() -> None:
    prefixes = np.random.default_rng(0).integers(0, 17, (2000, 4))
    tokens = generate(Task("s", Rule.semi_recursive), prefixes, 64).astype(int)
    agree = [(tokens[:, p] == (2 * tokens[:, p - 1] - tokens[:, p - 4]) % 17).mean() for p in range(6, 64, 2)]
    assert np.mean(agree) == pytest.approx(1 / 17, abs=0.01)


@pytest.mark.parametrize(
    ("task", "title"), [("recursive", "Recursive"), ("cot", "CoT"), ("semi_recursive", "Semi-recursive")]
)
def test_the_accuracies_are_those_of_the_records(task: str, title: str) -> None:
    records = [r for r in load(ROOT / "results" / "quick" / "records.jsonl") if r["task"] == task]
    by_position = np.array([[np.nan if a is None else a for a in r["accuracy_by_position"]] for r in records])
    assert len(records) == 18
    expected = [by_position[:, 4], by_position[:, 6:64:2], by_position[:, 5:64:2]]
    cells = next(line for line in FINDINGS.splitlines() if re.match(rf"\| {title} \| \d", line)).split("|")[2:5]
    assert [float(cell.replace("%", "")) for cell in cells] == [round(100 * part.mean(), 1) for part in expected]
