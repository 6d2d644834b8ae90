"""The section on aliasing of docs/findings.md: its table by loops over distances, its figure drawn again."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tests.command import run
from tests.committed import results
from tests.docs.findings import FAST, section
from tests.results.test_drawn_again import same

SECTION = section("Do whole periods return wrong matches far out?")
WORDS = " ".join(SECTION.split())
PERIODS = {
    "RoPE": FAST,
    "Resonance RoPE": [round(w) for w in FAST],
    "multiples of 2": [2 * round(w / 2) for w in FAST],
    "multiples of 4": [4 * round(w / 4) for w in FAST],
}


def match(distance: int, periods: list[float]) -> float:
    return sum(math.cos(2 * math.pi * distance / period) for period in periods) / len(periods)


def test_its_table() -> None:
    header, _, *rows = [line for line in SECTION.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in header.split("|")[2:-1]] == list(PERIODS)
    assert [row.split("|")[1].strip() for row in rows] == ["16 to 63", "16 to 255", "16 to 4,095"]
    for row, end in zip(rows, (64, 256, 4096), strict=True):
        best = [max(match(d, periods) for d in range(16, end)) for periods in PERIODS.values()]
        assert [float(cell) for cell in row.split("|")[2:-1]] == pytest.approx(best, abs=0.005)


def test_its_sentences() -> None:
    whole = [round(w) for w in FAST]
    assert "periods 6, 8, 11, 15, 20, 26, 35, 47 and 63 once rounded" in WORDS
    assert whole == [6, 8, 11, 15, 20, 26, 35, 47, 63]
    confused = max(range(16, 256), key=lambda d: match(d, list(whole)))
    (later,) = re.findall(r"RoPE gets there at ([\d,]+)\.", WORDS)
    assert f"Beyond it distance {confused}, a multiple of the periods 6, 8, 15 and 20," in WORDS
    assert [period for period in whole if confused % period == 0] == [6, 8, 15, 20]
    # "there" is the level of the table, 0.70
    assert int(later.replace(",", "")) == next(d for d in range(16, 4096) if match(d, FAST) >= 0.7)
    assert f"come together after {math.lcm(*whole):,} tokens" in WORDS
    assert f"multiples of 4 after {math.lcm(*(4 * round(w / 4) for w in FAST)):,}" in WORDS


def test_its_figure(tmp_path: Path) -> None:
    (command,) = re.findall(r"`posgen (encodings plot [^`]+)`", SECTION)
    assert run(*command.split(), "--out", str(tmp_path)) == 0
    for suffix in ("png", "pdf"):
        assert same(tmp_path / f"matches.{suffix}", results() / "aliasing" / f"matches.{suffix}")
