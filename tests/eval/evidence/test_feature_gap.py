"""Feature gaps against the paper's figures and a brute force over all pairs of positions; critical feature, LCM."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.evidence.figures import feature_gap
from eval.evidence.figures.feature_gap import (
    critical_feature,
    feature_angles,
    feature_gaps,
    features,
    repetition_length,
    wavelengths,
)
from models.encodings import Rotary, build_rotary
from models.spec import EncodingSpec


def encoding(scaling: str = "none", resonance: bool = False, head_dim: int = 64, base: float = 1e4, **params) -> Rotary:
    return build_rotary(EncodingSpec("any", scaling, resonance, base, params), head_dim)


ROPE, RESONANCE = encoding(), encoding(resonance=True)


def test_posgen_without_resonance():
    found = features(ROPE, 64, 256)
    assert found.critical == 9
    assert found.gaps is not None
    # the paper's eq. 8 for unit vectors at L = 64, L' = 256
    np.testing.assert_allclose(
        found.gaps[:9], [0.0708, 0.0796, 0.0752, 0.1276, 0.1093, 0.0076, 0.0596, 0.0625, 0.0496], atol=6e-5
    )
    np.testing.assert_allclose(found.gaps[9:12], [0.758, 1.261, 1.575], atol=6e-4)
    np.testing.assert_allclose(found.wavelengths, [2 * math.pi * 1e4 ** (j / 32) for j in range(32)], rtol=1e-6)


def test_posgen_with_resonance():
    found = features(RESONANCE, 64, 256)
    assert found.critical == 9
    assert found.gaps is not None
    assert found.gaps[:9].max() <= 5e-14  # Theorem 1
    np.testing.assert_allclose(found.gaps[9:12], [0.731, 1.25, 1.57], atol=6e-3)
    assert found.wavelengths[:9].tolist() == [6, 8, 11, 15, 20, 26, 35, 47, 63]


def every_pair(one: Rotary, train: int, test: int) -> np.ndarray:
    """Eq. 8 with every new position compared with every trained one, in float64 throughout."""
    frequencies = one.frequencies(test)[0].double().numpy()
    if one.resonance:  # whole wavelengths, and positions within one
        whole = np.round(2 * np.pi / frequencies)
        angles = np.mod(np.arange(test)[:, None], whole) * (2 * np.pi / whole)
    else:
        angles = np.arange(test)[:, None] * frequencies
    points = np.exp(1j * angles)
    distances = [np.abs(points[:train] - new).min(axis=0) for new in points[train:]]
    return np.max(distances, axis=0)


def test_gaps_at_long_lengths_are_those_of_the_definition():
    """RoPE of LLaMA's size, positions times frequencies in float64: the float32 product would be 13 % off."""
    frequencies = encoding(head_dim=128).frequencies(4_096)[0].double().numpy()
    train, test = 4_096, 32_768
    for feature in (7, 20):
        points = np.exp(1j * np.arange(test) * frequencies[feature])
        nearest = [np.abs(points[:train] - new).min() for new in points[train::97]]
        found = feature_gaps(encoding(head_dim=128), train, test)[feature]
        assert max(nearest) <= found * (1 + 1e-6)
        assert found <= 1.5 * max(nearest)
    assert feature_gaps(encoding(head_dim=128), train, test)[7] == pytest.approx(0.001078, rel=2e-3)


@pytest.mark.parametrize("resonance", [False, True])
@pytest.mark.parametrize(("train", "test"), [(64, 256), (37, 150), (128, 1024)])
@pytest.mark.parametrize("scaling", ["none", "pi", "ntk", "dynamic_ntk", "yarn"])
def test_equal_to_the_brute_force(scaling: str, train: int, test: int, resonance: bool):
    one = encoding(scaling, resonance)
    np.testing.assert_allclose(feature_gaps(one, train, test), every_pair(one, train, test), atol=1e-12)


@given(
    st.floats(1.5, 1e6), st.integers(1, 16), st.integers(2, 90), st.integers(1, 200), st.booleans(),
    st.sampled_from([1, 7, 8_192]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_equal_to_the_brute_force_anywhere(base, pairs, train, more, resonance, chunk):
    one = encoding(resonance=resonance, head_dim=2 * pairs, base=base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_gap, "_CHUNK", chunk)
        found = feature_gaps(one, train, train + more)
    np.testing.assert_allclose(found, every_pair(one, train, train + more), atol=1e-12)


def test_theorem_1_at_the_lengths_of_llama():
    found = features(encoding(resonance=True, head_dim=128), 4_096, 32_768)
    assert found.critical == 46
    assert found.gaps is not None
    assert found.gaps[:46].max() <= 5e-14
    assert found.gaps[46:].min() > 0.1
    assert f"{repetition_length(found.wavelengths, 4_096):.3e}" == "7.058e+51"  # the paper: more than 7e51


def test_the_joint_pattern_of_posgen():
    for one in (ROPE, RESONANCE):
        assert repetition_length(wavelengths(one, 256), 64) == 16_936_920
    tables = [RESONANCE.angles(torch.tensor([t, t + 16_936_920]), 256)[:, :9] for t in (0, 5, 4_711)]
    assert all(torch.equal(both[0], both[1]) for both in tables)


def test_the_critical_feature_is_the_first_to_reach_the_length():
    assert critical_feature(np.array([6.0, 63.9, 64.0, 90.0]), 64) == 2
    assert critical_feature(np.array([64.0, 90.0]), 64) == 0
    assert critical_feature(np.array([6.0, 9.0]), 64) is None
    assert repetition_length([6.0, 9.0], 64) == 18
    assert repetition_length([64.0], 64) == 1


@pytest.mark.parametrize("resonance", [False, True])
def test_features_that_do_not_rotate_have_no_end_and_no_gap(resonance: bool):
    found = features(encoding("p_rope", resonance, p=0.5), 64, 256)
    assert np.isinf(found.wavelengths[16:]).all()
    assert np.isfinite(found.wavelengths[:16]).all()
    assert found.gaps is not None
    assert found.gaps[16:].max() == 0.0
    assert found.gaps[9] > 0.7


def test_without_a_new_position_there_is_no_gap():
    gaps = features(ROPE, 64, 64).gaps
    assert gaps is not None
    assert np.isnan(gaps).all()
    drawn = build_rotary(EncodingSpec("any", kind="randomized"), 64)
    assert features(drawn, 64, 256).gaps is None


def test_angles_of_one_feature_in_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feature_gap, "_CHUNK", 100)
    whole = RESONANCE.angles(torch.arange(256), 256).numpy()
    np.testing.assert_array_equal(feature_angles(RESONANCE, 3, 256), whole[:, 3])
