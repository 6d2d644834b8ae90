"""Logit scales, PoPE, xPos and KERPLE: whole decoders against a loop over pairs of positions, on every path of ours."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.attention import Cache
from models.encodings import build
from models.encodings.base import PREFIX
from models.parameters import member_parameters
from models.positions import measured_positions
from models.spec import EncodingSpec, LogitScale, ModelSpec, Precision, SoftmaxScale
from models.transformer import forward
from tests.models.reference import Logit, logits, rotated
from tests.models.test_population import MODEL

Weights = dict[str, torch.Tensor]
LENGTH = 21
IDS = torch.from_numpy(np.random.default_rng(3).integers(0, 12, LENGTH))


def plain(layer: int, h: int, q: np.ndarray, k: np.ndarray, t: int, s: int) -> float:
    return float(rotated(q, t) @ rotated(k, s))


def log_n(params: Weights) -> Logit:
    """L = 8: beyond 8 keys the logits grow with log n / log 8."""
    return lambda layer, h, q, k, t, s: (
        plain(layer, h, q, k, t, s) * (1.0 if t + 1 <= 8 else math.log(t + 1) / math.log(8))
    )


def ssmax(params: Weights) -> Logit:
    own = params[f"{PREFIX}logit_scale"]
    return lambda layer, h, q, k, t, s: plain(layer, h, q, k, t, s) * own[layer, h].item() * math.log(t + 1)


def ssmax_fixed(params: Weights) -> Logit:
    return lambda layer, h, q, k, t, s: plain(layer, h, q, k, t, s) * 0.7 * math.log(t + 1)


def pope(params: Weights) -> Logit:
    """sum_c softplus(q_c) softplus(k_c) cos((s - t) theta_c + delta_c) / sqrt(d), theta_c = b^(-c/d)."""
    delta = params[f"{PREFIX}delta"].double().numpy()

    def logit(layer: int, h: int, q: np.ndarray, k: np.ndarray, t: int, s: int) -> float:
        total = 0.0
        for c in range(len(q)):
            theta, turn = 10_000.0 ** (-c / len(q)), min(0.0, max(-2 * math.pi, delta[h, c]))
            total += np.log1p(np.exp(q[c])) * np.log1p(np.exp(k[c])) * math.cos((s - t) * theta + turn)
        return total / math.sqrt(len(q))

    return logit


def xpos(params: Weights) -> Logit:
    """Feature j of RoPE times zeta_j^((t - s) / 8), zeta_j = (2j/d + 0.4) / 1.4."""

    def logit(layer: int, h: int, q: np.ndarray, k: np.ndarray, t: int, s: int) -> float:
        a, b, d = rotated(q, t), rotated(k, s), len(q)
        zetas = [(2 * j / d + 0.4) / 1.4 for j in range(d // 2)]
        return sum(z ** ((t - s) / 8) * float(a[2 * j : 2 * j + 2] @ b[2 * j : 2 * j + 2]) for j, z in enumerate(zetas))

    return logit


def kerple(params: Weights) -> Logit:
    """q k - p log(1 + a (t - s)), both at least 0.01."""
    p, a = (params[PREFIX + name].double().numpy() for name in ("p", "a"))

    def logit(layer: int, h: int, q: np.ndarray, k: np.ndarray, t: int, s: int) -> float:
        return float(q @ k) - max(0.01, p[h]) * math.log(1 + max(0.01, a[h]) * (t - s))

    return logit


def kerple_log_n(params: Weights) -> Logit:
    """The scale is that of q k; the bias is added after it."""
    bias, zero = kerple(params), np.zeros(16)
    return lambda layer, h, q, k, t, s: (
        float(q @ k) * max(1.0, math.log(t + 1) / math.log(8)) + bias(layer, h, zero, zero, t, s)
    )


def mixed_log_n(params: Weights) -> Logit:
    """The first layer rotates and sees 10 keys, the second sees all without positions; L = 8 for both."""

    def logit(layer: int, h: int, q: np.ndarray, k: np.ndarray, t: int, s: int) -> float:
        if layer == 0:
            scale = max(1.0, math.log(min(t + 1, 10)) / math.log(8))
            return plain(layer, h, q, k, t, s) * scale if t - s < 10 else -math.inf
        return float(q @ k) * max(1.0, math.log(t + 1) / math.log(8))

    return logit


CASES = {
    "log_n": (EncodingSpec("e", logit_scale=LogitScale.log_n, logit_length=8), log_n),
    "ssmax": (EncodingSpec("e", logit_scale=LogitScale.ssmax, logit_length=8), ssmax),
    "ssmax_fixed": (EncodingSpec("e", logit_scale=LogitScale.ssmax_fixed, logit_s=0.7), ssmax_fixed),
    "pope": (EncodingSpec("e", kind="pope"), pope),
    "xpos": (EncodingSpec("e", kind="xpos", params={"scale_base": 8}), xpos),
    "kerple": (EncodingSpec("e", kind="kerple"), kerple),
    "mixed_log_n": (
        EncodingSpec(
            "e", kind="mixed", params={"window": 10}, logit_scale=LogitScale.log_n, logit_length=8
        ), mixed_log_n,
    ),
    "kerple_log_n": (
        EncodingSpec("e", kind="kerple", logit_scale=LogitScale.log_n, logit_length=8), kerple_log_n,
    ),
}  # fmt: skip


def drawn(spec: EncodingSpec, model: ModelSpec = MODEL, seed: int = 5) -> Weights:
    """Weights in whose attention positions count, those of the encoding with values outside of what they may be."""
    params = member_parameters(model, 12, build(spec, 16), seed)
    generator = torch.Generator().manual_seed(seed)
    for name in params:
        if name.startswith(PREFIX):
            params[name] = 3 * torch.randn(params[name].shape, generator=generator)
        elif name.endswith("qkv"):
            params[name] = params[name] * 1.7
    return params


def ours(
    specs: list[EncodingSpec], params: list[Weights], model: ModelSpec = MODEL, parts: tuple[int, ...] = (LENGTH,)
) -> torch.Tensor:
    """Logits [P, T, V], read in parts of so many tokens."""
    stacked = {name: torch.stack([p[name] for p in params]) for name in params[0]}
    encodings = [build(spec, 16) for spec in specs]
    positions = measured_positions(encodings, stacked, model, LENGTH + 1, LENGTH, torch.device("cpu"))
    ids = IDS[None, None].expand(len(params), 2, -1)
    if parts == (LENGTH,):
        return forward(stacked, model, ids, positions)[:, 0]
    cache, found = Cache(LENGTH), []
    for count in parts:
        now = slice(cache.length, cache.length + count)
        found.append(forward(stacked, model, ids[:, :, now], positions.rows(now), cache=cache)[:, 0])
    return torch.cat(found, dim=1)


PATHS = {
    "at once": (MODEL, (LENGTH,)),
    "in pieces": (MODEL, (9, 5, 7)),
    "one by one": (MODEL, (3, *[1] * (LENGTH - 3))),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_path_is_the_loop(case: str, path: str) -> None:
    spec, of = CASES[case]
    params, (model, parts) = drawn(spec), PATHS[path]
    expected = logits(params, model, IDS.tolist(), of(params))
    found = ours([spec], [params], model, parts)[0]
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_other_precisions_are_near_it(case: str) -> None:
    """TF32 takes the way with explicit scores; bf16 keeps the table and the scale in fp32."""
    spec, of = CASES[case]
    params = drawn(spec)
    exact = logits(params, MODEL, IDS.tolist(), of(params))
    for precision, tolerance in ((Precision.tf32, 0.03), (Precision.bf16, 0.3)):
        found = ours([spec], [params], replace(MODEL, precision=precision))[0].double().numpy()
        assert np.abs(found - exact).max() < tolerance * np.abs(exact).max()
        assert np.abs(found - exact).max() > 0


@torch.no_grad()
def test_the_softmax_scale_of_the_paper_multiplies_every_logit() -> None:
    model = replace(MODEL, softmax_scale=SoftmaxScale.inverse_sqrt)
    for case, (spec, of) in CASES.items():
        params = drawn(spec)
        logit, factor = of(params), 1.0 if case == "pope" else 0.25  # PoPE's has it already
        if "kerple" in case:
            continue  # not of the bias
        expected = logits(params, model, IDS.tolist(), lambda *pair, f=logit, x=factor: x * f(*pair))
        np.testing.assert_allclose(ours([spec], [params], model)[0].double(), expected, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_members_of_different_scales_stand_side_by_side() -> None:
    """A scale of one's own for each, among them none, whose numbers stay as they are to the last bit."""
    alone = EncodingSpec("rope")
    specs = [
        alone,
        CASES["log_n"][0],
        replace(CASES["log_n"][0], logit_length=4),
        CASES["ssmax_fixed"][0],
        replace(alone, scaling="pi", params={"factor": 2}, logit_scale=LogitScale.log_n, logit_length=5),
    ]
    assert {build(spec, 16).structure() for spec in specs} == {"rotary"}
    params = drawn(alone)
    together = ours(specs, [params] * len(specs))
    assert torch.equal(together[0], ours([alone], [params])[0])
    for found, spec in zip(together, specs, strict=True):
        torch.testing.assert_close(found, ours([spec], [params])[0], rtol=1e-5, atol=1e-6)
    assert len({round(float(member.sum()), 3) for member in together}) == len(specs)


@torch.no_grad()
def test_frequencies_of_pope_and_xpos_may_differ_within_a_population() -> None:
    for kind in ("pope", "xpos"):
        of = [(False, 1e4), (True, 1e4), (True, 64.0)]
        specs = [EncodingSpec("e", kind=kind, resonance=on, base=base) for on, base in of]
        assert len({build(spec, 16).structure() for spec in specs}) == 1
        params = [drawn(specs[0], seed=seed) for seed in range(3)]
        together = ours(specs, params)
        for member, spec, own in zip(together, specs, params, strict=True):
            torch.testing.assert_close(member, ours([spec], [own])[0], rtol=1e-4, atol=1e-5)
