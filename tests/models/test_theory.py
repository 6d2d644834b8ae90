"""Theorem 1, the feature gaps and the repetition lengths of the paper, by brute force over positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.encodings import Rotary
from models.encodings import build_rotary as build
from models.encodings.rotary import resonance_wavelengths
from models.spec import EncodingSpec

ROPE = EncodingSpec("rope")
RESONANCE = EncodingSpec("resonance_rope", resonance=True)


def gaps(encoding: Rotary, train: int, test: int) -> np.ndarray:
    """Eq. 8 for unit vectors, with every pair of positions compared: the farthest new one from the trained ones."""
    angles = encoding.angles(torch.arange(test), test).double().numpy()
    points = np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (T, d/2, 2)
    worst = np.zeros(points.shape[1])
    for new in points[train:]:
        distance = np.linalg.norm(points[:train] - new, axis=-1)
        worst = np.maximum(worst, distance.min(axis=0))
    return worst


def critical_feature(encoding: Rotary, train: int) -> int:
    """The first feature whose wavelength reaches the training length: those before it are pre-critical."""
    wavelengths = 2 * math.pi / encoding.frequencies(train)[0].double().numpy()
    return int(np.argmax(wavelengths >= train))


def test_pre_critical_features_of_posgen() -> None:
    assert critical_feature(build(ROPE, 64), 64) == 9


def test_feature_gaps_of_rope() -> None:
    expected = [0.0708, 0.0796, 0.0752, 0.1276, 0.1093, 0.0076, 0.0596, 0.0625, 0.0496]
    found = gaps(build(ROPE, 64), 64, 256)
    np.testing.assert_allclose(found[:9], expected, atol=6e-5)
    np.testing.assert_allclose(found[9:12], [0.758, 1.261, 1.575], atol=6e-4)


def test_feature_gaps_of_resonance() -> None:
    found = gaps(build(RESONANCE, 64), 64, 256)
    assert found[:9].max() <= 5e-14
    np.testing.assert_allclose(found[9:12], [0.731, 1.25, 1.57], atol=6e-3)


@pytest.mark.parametrize("scaling", ["none", "pi", "ntk", "dynamic_ntk", "yarn"])
@pytest.mark.parametrize(("train", "test"), [(64, 256), (37, 150), (128, 1024)])
@pytest.mark.parametrize("head_dim", [16, 64, 128])
def test_theorem_1_on_top_of_every_scaling(scaling: str, train: int, test: int, head_dim: int) -> None:
    params: dict = {} if scaling == "none" else {"factor": 4.0}
    params |= (
        {"ramp_length": train} if scaling == "yarn" else {"train_length": train} if scaling == "dynamic_ntk" else {}
    )
    encoding = build(EncodingSpec("any", scaling, True, 10_000.0, params), head_dim)
    wavelengths = 2 * math.pi / encoding.frequencies(test)[0].double().numpy()
    repeated = np.round(wavelengths) <= train  # a whole period was seen in training
    found = gaps(encoding, train, test)
    assert found[repeated].max(initial=0.0) <= 1e-12
    if scaling == "none":
        assert repeated.any()


def lcm_of_pre_critical(head_dim: int, base: float, train: int) -> tuple[int, int]:
    encoding = build(EncodingSpec("rope", base=base), head_dim)
    rounded = resonance_wavelengths(encoding.frequencies(train)[0])[: critical_feature(encoding, train)]
    return len(rounded), math.lcm(*(int(w) for w in rounded))


def test_joint_pattern_repeats_after_the_lcm() -> None:
    assert lcm_of_pre_critical(64, 10_000.0, 64) == (9, 16_936_920)
    count, repeats = lcm_of_pre_critical(128, 10_000.0, 4096)
    assert count == 46
    assert f"{repeats:.3e}" == "7.058e+51"


def test_yarn_ramps_differ_where_the_paper_says() -> None:
    """Ledger row 5: the two formulas part on features 6 to 8 only."""

    def inv_freq(ramp: str) -> torch.Tensor:
        return build(
            EncodingSpec("yarn", "yarn", params={"factor": 4.0, "ramp_length": 64, "ramp": ramp}), 64
        ).frequencies(256)[0]

    relative = ((inv_freq("index") - inv_freq("wavelength")) / inv_freq("index")).abs()
    assert torch.nonzero(relative > 1e-5).flatten().tolist() == [6, 7, 8]


def test_naive_product_drifts_and_the_closed_form_does_not() -> None:
    encoding = build(RESONANCE, 64)
    inv_freq, _ = encoding.frequencies(1024)
    positions = torch.arange(1024)
    naive = (positions.float()[:, None] * inv_freq).double()
    exact = encoding.angles(positions, 1024)
    drift = (naive.cos() - exact.cos()).abs().max().item()
    assert 1e-6 < drift <= 9.5e-5  # paper.md: up to 9e-5 at length 1,024


def test_dynamic_ntk_has_no_memory() -> None:
    encoding = build(EncodingSpec("d", "dynamic_ntk", params={"factor": 4.0, "train_length": 64}), 64)
    before = encoding.tables(80)[0]
    encoding.tables(4096)
    torch.testing.assert_close(encoding.tables(80)[0], before, rtol=0, atol=0)


def test_ntk_plain_rule_is_the_text() -> None:
    """Ledger row 26: the text multiplies the base by s."""
    scaled = build(EncodingSpec("n", "ntk", params={"factor": 4.0, "base_rule": "plain"}), 64).frequencies(256)[0]
    theorem = [40_000.0 ** (-2 * j / 64) for j in range(32)]
    np.testing.assert_allclose(scaled.numpy(), theorem, rtol=1e-6)
