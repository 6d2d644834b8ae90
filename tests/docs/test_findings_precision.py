"""The section on tables of 16 bits of docs/findings.md: its table by loops over positions, rounding by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.docs.findings import section
from tests.models.test_rounded_and_narrow import bf16, fp16

SECTION = section("Do whole periods survive tables of 16 bits?")
FAST = [w for w in (2 * math.pi * 10_000 ** (2 * j / 64) for j in range(32)) if w < 64]


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
    _, _, *rows = [line for line in SECTION.splitlines() if line.startswith("|")]
    ends = [int(row.split("|")[1].strip().removeprefix("below ").replace(",", "")) for row in rows]
    assert ends == [64, 256, 1024, 4096]
    for row, end in zip(rows, ends, strict=True):
        drifts = [drift(end, narrow, whole) for narrow in (bf16, fp16) for whole in (False, True)]
        assert [float(cell) for cell in row.split("|")[2:-1]] == pytest.approx(drifts, abs=6e-4)
