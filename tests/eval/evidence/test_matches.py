"""Best wrong matches against loops over distances and features, and Resonance's period against its multiples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval.evidence.figures.matches import best_matches, draw_matches
from models.encodings import Rotary, build_rotary
from models.spec import EncodingSpec


def rotary(resonance: bool = False, head_dim: int = 64, kind: str = "rotary", **params: float) -> Rotary:
    return build_rotary(EncodingSpec("x", "none", resonance, 10_000.0, dict(params), kind), head_dim)


@pytest.mark.parametrize("resonance", [False, True])
def test_against_loops(resonance: bool) -> None:
    wavelengths = [2 * math.pi * 10_000 ** (2 * j / 64) for j in range(32)]
    fast = [round(w) if resonance else w for w in wavelengths if w < 64]
    assert len(fast) == 9
    best, expected = -1.0, []
    for distance in range(16, 600):
        best = max(best, sum(math.cos(2 * math.pi * distance / w) for w in fast) / 9)
        expected.append(best)
    found = best_matches(rotary(resonance), 64, 600)
    assert found is not None
    assert np.isnan(found[:16]).all()
    assert found[16:] == pytest.approx(expected, abs=1e-5)


def test_whole_periods_return_exactly() -> None:
    """Where all of them come together, at their least common multiple, the wrong distance is the right one."""
    period = math.lcm(6, 11, 20, 35)  # of a head of 32 numbers, but for the feature of 63 tokens
    found = best_matches(rotary(True, 32), 40, period + 1)
    assert found is not None
    assert found[period] == pytest.approx(1.0, abs=1e-12)
    assert found[period - 1] < 1 - 1e-6
    plain = best_matches(rotary(False, 32), 40, period + 1)
    assert plain is not None
    assert plain[period] < 1 - 1e-6


def test_nothing_is_drawn_of_what_has_no_fast_feature() -> None:
    slow = build_rotary(EncodingSpec("slow", "pi", params={"factor": 64.0}), 64)
    assert best_matches(slow, 64, 256) is None
    figure = draw_matches({"slow": slow, "rope": rotary()}, 64, 256, "the settings")
    assert len(figure.axes[0].get_legend_handles_labels()[1]) == 1
