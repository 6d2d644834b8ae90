"""Theorem 1, the feature gaps and the repetition lengths of the paper, by brute force over positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.encodings import Rotary, scaling_names
from models.encodings import build_rotary as build
from models.encodings.rotary import resonance_wavelengths
from models.spec import EncodingSpec
from posgen.errors import BadValue

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


def scalings(train: int) -> dict[str, list[dict]]:
    """Every file of models/encodings/scalings -> parameters for a training length."""
    parts = {"factor": 4.0, "ramp_length": train}
    return {
        "none": [{}],
        "pi": [{"factor": 4.0}, {"factor": 3.3}],
        "ntk": [{"factor": 4.0}, {"factor": 4.0, "base_rule": "plain"}],
        "dynamic_ntk": [{"factor": 4.0, "train_length": train}],
        "ntk_by_parts": [parts],
        "yarn": [parts, {**parts, "ramp": "wavelength"}, {**parts, "truncate": False, "attention_factor": 1.0}],
        "llama3": [{"factor": 4.0, "train_length": train}],
        "longrope": [{"factor": 4.0, "train_length": train}],
        "p_rope": [{"p": 0.0}, {"p": 0.5}, {"p": 0.75}],
        "partial": [{"partial_rotary_factor": 0.25}],
        "clip": [{"critical": train}, {"critical": train, "shape": "cosine"}, {"shape": "cosine", "n": 3}],
    }


EVERY_SCALING = [(name, i) for name, all_of in scalings(64).items() for i in range(len(all_of))]


def test_every_scaling_is_here() -> None:
    assert sorted(scalings(64)) == scaling_names()


@pytest.mark.parametrize(("scaling", "which"), EVERY_SCALING)
@pytest.mark.parametrize(("train", "test"), [(64, 256), (37, 150), (128, 1024)])
@pytest.mark.parametrize("head_dim", [16, 64, 128])
def test_theorem_1_on_top_of_every_scaling(scaling: str, which: int, train: int, test: int, head_dim: int) -> None:
    """Of the table of `test` tokens: dynamic NTK and LongRoPE have others for shorter sequences."""
    encoding = build(EncodingSpec("any", scaling, True, 10_000.0, scalings(train)[scaling][which]), head_dim)
    wavelengths = (2 * math.pi / encoding.frequencies(test)[0].double()).numpy()
    repeated = np.round(wavelengths) <= train  # a whole period was seen in training
    found = gaps(encoding, train, test)
    assert found[repeated].max(initial=0.0) <= 1e-12
    assert not found[np.isinf(wavelengths)].any()
    if scaling in ("none", "p_rope", "partial", "clip"):
        assert (repeated | np.isinf(wavelengths)).any()


@pytest.mark.parametrize(("scaling", "which"), EVERY_SCALING)
def test_resonance_rounds_what_rotates_and_leaves_the_rest(scaling: str, which: int) -> None:
    params = scalings(64)[scaling][which]
    plain, rounded = (build(EncodingSpec("any", scaling, on, 10_000.0, params), 64) for on in (False, True))
    before, after = (2 * math.pi / e.frequencies(256)[0].double() for e in (plain, rounded))
    assert torch.equal(before.isinf(), after.isinf())
    turns = ~before.isinf()
    # float32 holds a wavelength to 6e-8 of itself, twice: as a frequency and rounded
    slack = 2e-7 * before[turns]
    assert bool(((before[turns] - after[turns]).abs() <= 0.5 + slack).all())
    assert bool(((after[turns] - after[turns].round()).abs() <= slack).all())
    assert plain.frequencies(256)[1] == rounded.frequencies(256)[1]
    cos, sin = rounded.tables(256)
    assert bool((cos.isfinite() & sin.isfinite()).all())
    assert torch.equal(cos[:, ~turns], torch.ones_like(cos[:, ~turns]))
    assert not sin[:, ~turns].any()


def test_what_does_not_rotate_in_p_rope_and_partial() -> None:
    def turning(scaling: str, params: dict) -> list[bool]:
        return (build(EncodingSpec("any", scaling, False, 10_000.0, params), 16).frequencies(8)[0] > 0).tolist()

    assert turning("p_rope", {"p": 0.75}) == [True] * 6 + [False] * 2
    assert turning("p_rope", {"p": 0.0}) == [False] * 8
    assert turning("partial", {"partial_rotary_factor": 0.25}) == [True] * 2 + [False] * 6


def test_longrope_by_length_without_memory() -> None:
    """Short factors up to the length trained on, long ones above it, whatever was asked before."""
    short, long = [1.0 + j / 100 for j in range(8)], [1.0 + j for j in range(8)]
    params = {"factor": 4.0, "train_length": 64, "short_factor": short, "long_factor": long}
    encoding = build(EncodingSpec("l", "longrope", False, 10_000.0, params), 16)
    theta = np.array([10_000.0 ** (-2 * j / 16) for j in range(8)])
    for length, factors in ((64, short), (65, long), (4096, long), (64, short)):
        np.testing.assert_allclose(encoding.frequencies(length)[0].numpy(), theta / factors, rtol=1e-6)
        assert encoding.frequencies(length)[1] == pytest.approx(math.sqrt(1 + math.log(4) / math.log(64)))


def test_longrope_without_factors_ends_where_ntk_ends() -> None:
    """The fastest feature is left, the slowest interpolated by s; one short table is RoPE."""
    theta = build(ROPE, 64).frequencies(64)[0]
    encoding = build(EncodingSpec("l", "longrope", params={"factor": 4.0, "train_length": 64}), 64)
    assert torch.equal(encoding.frequencies(64)[0], theta)
    slower = (theta / encoding.frequencies(65)[0]).double().numpy()
    np.testing.assert_allclose(slower, [4 ** (j / 31) for j in range(32)], rtol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "params", "told"),
    [
        ("longrope", {"long_factor": [1.0, 2.0]}, "long_factor"),
        ("longrope", {"short_factor": [0.0] * 32}, "short_factor"),
        ("longrope", {"train_length": 1}, "train_length"),
        ("llama3", {"high_freq_factor": 0.5}, "high_freq_factor"),
        ("p_rope", {"p": 1.5}, "p"),
        ("partial", {"partial_rotary_factor": 0.01}, "partial_rotary_factor"),
        ("partial", {"partial_rotary_factor": 0.05}, "partial_rotary_factor"),
        ("yarn", {"ramp": "wavelength", "truncate": False}, "truncate"),
        ("yarn", {"attention_factor": 0.0}, "attention_factor"),
    ],
)
def test_what_a_scaling_cannot_take_is_told(scaling: str, params: dict, told: str) -> None:
    with pytest.raises(BadValue) as error:
        build(EncodingSpec("any", scaling, False, 10_000.0, params), 64)
    assert error.value.key == f"params.{told}"


def test_every_scaling_says_where_it_comes_from() -> None:
    for name in scaling_names():
        plain, rounded = (build(EncodingSpec("any", name, resonance), 64).cited() for resonance in (False, True))
        assert plain
        assert "\n" not in plain
        assert rounded == f"{plain}; Wang et al. 2024, arXiv 2403.00071"


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
