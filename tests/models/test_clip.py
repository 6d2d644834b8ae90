"""Clip against its formula, feature by feature, against p-RoPE, and PoPE's and xPos's periods against Theorem 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models.encodings import Rotary, build_rotary
from models.encodings.build import check_rotation
from models.hf import re_rope
from models.spec import EncodingSpec, LogitScale
from posgen.errors import BadValue, UserError
from tests.models.test_theory import gaps


def clip(head_dim: int = 64, base: float = 10_000.0, resonance: bool = False, **params: Any) -> Rotary:
    return build_rotary(EncodingSpec("clip", "clip", resonance, base, params), head_dim)


def frequencies(head_dim: int = 64, base: float = 10_000.0, **params: Any) -> list[float]:
    return [float(f) for f in clip(head_dim, base, **params).frequencies(256)[0].double()]


def theta(head_dim: int, base: float) -> list[float]:
    return [base ** (-2 * j / head_dim) for j in range(head_dim // 2)]


@pytest.mark.parametrize(
    ("head_dim", "base", "critical"), [(64, 1e4, 64), (128, 5e5, 8192), (16, 64.0, 64), (64, 1e4, 6)]
)
def test_hard_clip_stops_what_is_longer_than_the_critical_length(head_dim: int, base: float, critical: int) -> None:
    expected = [t if 2 * math.pi / t <= critical else 0.0 for t in theta(head_dim, base)]
    assert frequencies(head_dim, base, critical=critical) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("resonance", [False, True])
def test_at_posgens_sizes_hard_clip_is_p_rope_with_nine_of_32(resonance: bool) -> None:
    p_rope = build_rotary(EncodingSpec("p", "p_rope", resonance, params={"p": 9 / 32}), 64)
    clipped = clip(resonance=resonance, critical=64)
    for length in (65, 257, 4096):
        assert torch.equal(clipped.frequencies(length)[0], p_rope.frequencies(length)[0])
        for ours, theirs in zip(clipped.tables(length), p_rope.tables(length), strict=True):
            assert torch.equal(ours, theirs)
    assert sum(f > 0 for f in frequencies(critical=64)) == 9


@pytest.mark.parametrize("n", [None, 2, 3, 20, 32])
def test_cosine_slows_the_last_features_down(n: int | None) -> None:
    rope = theta(64, 10_000.0)
    count = sum(2 * math.pi / t > 64 for t in rope) if n is None else n
    expected = list(rope)
    for i in range(count):
        expected[32 - count + i] = rope[32 - count + i] * 0.5 * (1 + math.cos(math.pi * i / (count - 1)))
    found = frequencies(shape="cosine", n=n)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found[-1] == 0.0  # the last one stops
    assert found[32 - count] == pytest.approx(rope[32 - count], rel=1e-6)  # the first one does not change


def test_the_code_of_cope() -> None:
    """hrlics/CoPE, modeling_cope.py: 20 of 64 features, 0.5 (1 + cos(linspace(0, pi, 20))) times the frequency. At the
    base of Llama 3, worked out by hand: features 43, 44, 53, 54 and 62."""
    found = frequencies(128, 500_000.0, shape="cosine", n=20)
    for j, weight in ((43, 1.0), (44, 1.0), (53, 0.541290), (54, 0.458710), (62, 0.006819)):
        assert found[j] == pytest.approx(500_000.0 ** (-2 * j / 128) * weight, rel=1e-4)


@pytest.mark.parametrize("shape", ["hard", "cosine"])
def test_none_one_and_all(shape: str) -> None:
    rope = theta(64, 10_000.0)
    assert frequencies(shape=shape, n=0) == pytest.approx(rope, rel=1e-6)
    assert frequencies(shape=shape, critical=10**9) == pytest.approx(rope, rel=1e-6)
    one = rope if shape == "cosine" else [*rope[:-1], 0.0]  # the first of a taper stays as it is
    assert frequencies(shape=shape, n=1) == pytest.approx(one, rel=1e-6)
    nothing_left = frequencies(shape=shape, critical=1)
    assert nothing_left[1:] != rope[1:]
    if shape == "hard":
        assert nothing_left == frequencies(shape=shape, n=32) == [0.0] * 32  # NoPE


def test_as_a_weight_of_components_it_leaves_the_frequencies() -> None:
    """The logit of a query at t on a key at s is sum_j w_j Re(q_j conj(k_j) e^(i (t - s) theta_j))."""
    encoding = clip(16, shape="cosine", n=4, acts_on="component")
    assert frequencies(16, shape="cosine", n=4, acts_on="component") == pytest.approx(theta(16, 10_000.0), rel=1e-6)
    weights = [1.0] * 4 + [0.5 * (1 + math.cos(math.pi * i / 3)) for i in range(4)]
    cos, sin = encoding.tables(40)
    rng = np.random.default_rng(0)
    q, k = (rng.normal(size=8) + 1j * rng.normal(size=8) for _ in range(2))
    table = cos.double().numpy() + 1j * sin.double().numpy()
    for t, s in ((0, 0), (7, 3), (39, 1)):
        found = ((q * table[t]) * np.conj(k * table[s])).real.sum()
        turned = (q * np.conj(k) * np.exp(1j * (t - s) * np.array(theta(16, 10_000.0)))).real
        assert found == pytest.approx(float(np.array(weights) @ turned), abs=1e-5)
    with pytest.raises(BadValue, match="weights its features, which a file cannot express"):
        check_rotation(encoding, "a file")
    gone = clip(16, critical=64, acts_on="component").tables(40)
    assert not gone[0][:, 3:].any()  # wavelengths 6.3, 19.9 and 62.8 stay
    assert gone[0][:, :3].all()


def test_in_a_language_model_it_clips_at_the_models_own_length() -> None:
    config = LlamaConfig(
        hidden_size=64, intermediate_size=32, vocab_size=32, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=512,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    (module,) = re_rope(model, EncodingSpec("clip", "clip"))
    (encoding,) = module.encodings.values()
    expected = [t if 2 * math.pi / t <= 512 else 0.0 for t in theta(64, 10_000.0)]
    assert encoding.frequencies(1)[0].tolist() == pytest.approx(expected, rel=1e-6)
    for spec, complaint in (
        (EncodingSpec("p", kind="pope"), "pe=p: does more than rotate"),
        (EncodingSpec("x", kind="xpos"), "pe=x: does more than rotate"),
        (EncodingSpec("l", logit_scale=LogitScale.log_n, logit_length=8), "logit_scale=log_n: scales the attention"),
        (EncodingSpec("c", "clip", params={"acts_on": "component"}), "pe=c: weights its features"),
    ):
        with pytest.raises(UserError, match=complaint):
            re_rope(model, spec)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"n": 33}, "params.n=33: a head has 32 features"),
        ({"n": -1}, "params.n=-1: use null"),
        ({"critical": 0}, "params.critical=0: use the training length"),
        ({"shape": "soft"}, "params.shape=soft: "),
        ({"n": 2.5}, "params.n=2.5: must be a whole number"),
    ],
)
def test_nonsense_is_refused(params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint):
        clip(**params)


@pytest.mark.parametrize("kind", ["pope", "xpos"])
def test_theorem_1_for_the_periods_of_pope_and_xpos(kind: str) -> None:
    """PoPE has one of b^(c/d) for each of a head's d numbers: twice as many as RoPE."""
    plain, whole = (build_rotary(EncodingSpec("e", kind=kind, resonance=on), 64) for on in (False, True))
    count = 64 if kind == "pope" else 32
    expected = [2 * math.pi * 10_000.0 ** (c / count) for c in range(count)]
    np.testing.assert_allclose(2 * math.pi / plain.frequencies(256)[0].double(), expected, rtol=1e-6)
    np.testing.assert_allclose(2 * math.pi / whole.frequencies(256)[0].double(), np.round(expected), rtol=1e-6)
    repeated = np.round(expected) <= 64
    assert repeated.sum() == (17 if kind == "pope" else 9)
    assert gaps(whole, 64, 256)[repeated].max() < 1e-12 < gaps(plain, 64, 256)[repeated].min()
    if kind == "pope":  # to the last bit: a period later is the same table row
        cos, sin = whole.tables(1024)
        for c in np.flatnonzero(repeated):
            period = round(expected[c])
            assert torch.equal(cos[period:, c], cos[:-period, c])
            assert torch.equal(sin[period:, c], sin[:-period, c])


def test_xpos_says_where_fp32_ends() -> None:
    encoding = build_rotary(EncodingSpec("e", kind="xpos"), 64)
    encoding.rotation(torch.tensor([0, 24_000]), 24_001)
    with pytest.raises(BadValue, match=r"scale_base=512.0: fades so fast that fp32 holds only 24,5\d\d positions"):
        encoding.rotation(torch.tensor([0, 40_000]), 40_001)
    for params in ({"gamma": 0}, {"scale_base": -1}):
        with pytest.raises(BadValue, match="use a number"):
            build_rotary(EncodingSpec("e", kind="xpos", params=params), 64)
