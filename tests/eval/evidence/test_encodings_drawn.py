"""Figures of encodings: what they show is what was computed, and they are the same when rebuilt."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from eval.evidence.figures.encodings import draw_features, draw_figure1, shown_feature
from eval.evidence.figures.feature_gap import features
from eval.evidence.figures.style import render, styles
from models.encodings import build_rotary
from models.spec import EncodingSpec
from posgen.errors import BadValue

ROPE = build_rotary(EncodingSpec("rope"), 64)
RESONANCE = build_rotary(EncodingSpec("resonance_rope", resonance=True), 64)


def texts(figure: object) -> str:
    import matplotlib.text

    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))  # type: ignore[attr-defined]


def test_wavelengths_and_gaps_are_all_drawn():
    drawn = build_rotary(EncodingSpec("randomized", kind="randomized"), 64)
    found = {one.name: features(one, 64, 256) for one in (ROPE, RESONANCE, drawn)}
    figure = draw_features(found, "the settings")
    waves, _, gaps = figure.axes
    np.testing.assert_array_equal(waves.lines[1].get_ydata(), found["resonance_rope"].wavelengths)
    np.testing.assert_array_equal(gaps.lines[0].get_ydata(), found["rope"].gaps)
    curves = [line for line in gaps.lines if len(np.asarray(line.get_xdata())) == 32]
    assert len(curves) == 2
    low, high = gaps.get_ylim()
    assert low < 0 < 2 < high  # a chord of the unit circle
    words = texts(figure)
    for expected in (
        "the settings",
        "RoPE",
        "Resonance RoPE",
        "L = 64",
        "L' = 256",
        "no gap by position: Randomized RoPE",
    ):
        assert expected in " ".join(words.split())


def test_whole_wavelengths_and_the_critical_feature_are_seen():
    found = {one.name: features(one, 64, 256) for one in (ROPE, RESONANCE)}
    figure = draw_features(found, "")
    waves, rests, gaps = figure.axes
    plain, whole = (np.asarray(line.get_ydata()) for line in rests.lines)
    expected = [2 * np.pi * 1e4 ** (j / 32) for j in range(9)]
    np.testing.assert_allclose(plain, [one - round(one) for one in expected], atol=1e-4)
    np.testing.assert_array_equal(whole, np.zeros(9))
    assert [text.get_text() for text in rests.texts] == ["6", "8", "11", "15", "20", "26", "35", "47", "63"]
    for panel in (waves, gaps):
        assert [9, 9] in [np.asarray(line.get_xdata()).tolist() for line in panel.lines]
    assert "critical: 9" in texts(figure)


def test_features_without_an_end_leave_the_wavelengths():
    p_rope = build_rotary(EncodingSpec("p_rope", "p_rope", params={"p": 0.5}), 64)
    waves, _, gaps = draw_features({"p_rope": features(p_rope, 64, 256)}, "").axes
    assert len(np.asarray(waves.lines[0].get_ydata())) == 16
    assert len(np.asarray(gaps.lines[0].get_ydata())) == 32


def test_figure_1_shows_every_position_trained_and_new():
    figure = draw_figure1(ROPE, 64, 256, 3, "the settings")
    words = texts(figure)
    for expected in ("Feature 3 of RoPE, the settings", "with Resonance: wavelength 15 tokens, feature gap 0",
                     "without Resonance: wavelength 14.8998 tokens, feature gap 0.128",
                     "trained positions, 0 to 63", "new positions, 64 to 255"):  # fmt: skip
        assert expected in words
    plain, _, resonance, _ = figure.axes
    for panel, wavelength in ((plain, 2 * np.pi * 10 ** (3 / 8)), (resonance, 15)):
        for line, positions in ((panel.lines[2], range(64)), (panel.lines[3], range(64, 256))):
            assert list(np.asarray(line.get_xdata())) == list(positions)
            np.testing.assert_allclose(
                np.asarray(line.get_ydata()), [np.cos(2 * np.pi * n / wavelength) for n in positions], atol=1e-4
            )


def test_figure_1_of_long_sequences_stays_legible():
    panel = draw_figure1(ROPE, 1_024, 4_096, 3, "").axes[0]
    positions = [int(x) for line in panel.lines[2:] for x in np.asarray(line.get_xdata())]
    assert len(positions) <= 256
    assert positions[0] < 1_024 < positions[-1]


def test_figure_1_is_about_the_feature_with_the_largest_gap():
    found = features(ROPE, 64, 256)
    assert shown_feature(found, None) == 3  # .1276, the largest of the nine
    assert shown_feature(found, 8) == 8
    with pytest.raises(BadValue, match="feature=9: use a pre-critical one, 0 to 8"):
        shown_feature(found, 9)
    assert shown_feature(replace(found, critical=0), None) is None
    assert shown_feature(features(ROPE, 64, 64), None) is None


@pytest.mark.parametrize("suffix", ["png", pytest.param("pdf", marks=pytest.mark.slow)])
def test_a_rebuilt_file_is_identical(suffix: str):
    for draw in (
        lambda: draw_features({"rope": features(ROPE, 64, 256)}, ""),
        lambda: draw_figure1(ROPE, 64, 256, 3, ""),
    ):
        made = [hashlib.sha256(render(draw(), suffix)).hexdigest() for _ in range(2)]
        assert made[0] == made[1]


def test_many_encodings_can_be_told_apart():
    twenty = ["rope", "resonance_rope", "yarn", "resonance_yarn", *(f"other{i}" for i in range(16))]
    assert len({str(look) for look in styles(twenty).values()}) == 20
