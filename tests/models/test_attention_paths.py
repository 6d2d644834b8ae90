"""Layers in turns, remapped distances and forget gates: every way through attention against loops over pairs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eval.measuring import passes
from eval.measuring.metrics import Evaluation, measure
from models import population as population_module
from models.attention import Cache
from models.encodings import Encoding, build
from models.encodings.base import PREFIX
from models.parameters import member_parameters, stacked
from models.population import Population
from models.positions import measured_positions
from models.spec import EncodingSpec, LogitScale, ModelSpec, Precision
from models.transformer import forward
from posgen.generate import generate
from tests.models.plain_attention import Logit, decoder, rotated_product
from tests.models.test_population import data, member

MODEL = ModelSpec(layers=3, d_model=32, heads=2, head_dim=16, d_ff=64, dropout=0.0)
LENGTH = 23
"""Inputs: beyond every window below."""


def spec(kind: str, resonance: bool = False, **params: object) -> EncodingSpec:
    return EncodingSpec(kind, kind=kind, resonance=resonance, params=params)


def in_turns(pattern: str, window: int | None, resonance: bool = False) -> Callable[..., Logit]:
    def of(weights: dict[str, np.ndarray]) -> Logit:
        def logit(layer: int, head: int, i: int, j: int, q: np.ndarray, k: np.ndarray, x: np.ndarray) -> float:
            if pattern[layer % len(pattern)] == "n":
                return float(q @ k)
            if window is not None and j < i - window + 1:
                return -math.inf
            return rotated_product(q, k, i - j, resonance)

        return logit

    return of


def remapped(distance: Callable[[int, int], float], resonance: bool = False) -> Callable[..., Logit]:
    def of(weights: dict[str, np.ndarray]) -> Logit:
        return lambda layer, head, i, j, q, k, x: rotated_product(q, k, distance(i, j), resonance)

    return of


def forgetting(gate: str, turns: Callable[[np.ndarray, np.ndarray, int], float] | None = None) -> Callable[..., Logit]:
    def log_f(weights: dict[str, np.ndarray], layer: int, head: int, x: np.ndarray) -> float:
        b = weights["gate.bias"][layer, head]
        if gate == "full":
            b = b + x @ weights["gate.weight"][layer, :, head]
        return -math.log1p(math.exp(-b))

    def of(weights: dict[str, np.ndarray]) -> Logit:
        def logit(layer: int, head: int, i: int, j: int, q: np.ndarray, k: np.ndarray, x: np.ndarray) -> float:
            product = float(q @ k) if turns is None else turns(q, k, i - j)
            return product + sum(log_f(weights, layer, head, x[step]) for step in range(j + 1, i + 1))

        return logit

    return of


def fixed(times: tuple[float, float]) -> Callable[..., Logit]:
    def of(weights: dict[str, np.ndarray]) -> Logit:
        return lambda layer, head, i, j, q, k, x: float(q @ k) - (i - j) / times[head]

    return of


W, G = 6, 4  # G does not divide W
CASES: dict[str, tuple[EncodingSpec, Callable[..., Logit]]] = {
    "rope, nope": (spec("mixed", pattern=["rope", "nope"], window=5), in_turns("rn", 5)),
    "nope, rope": (spec("mixed", pattern=["nope", "rope"], window=5), in_turns("nr", 5)),
    "no window": (spec("mixed", pattern=["rope", "nope", "nope"]), in_turns("rnn", None)),
    "only a window": (spec("mixed", pattern=["rope"], window=1), in_turns("r", 1)),
    "resonance in turns": (spec("mixed", True, pattern=["rope", "nope"], window=9), in_turns("rn", 9, True)),
    "rerope": (spec("rerope", window=W), remapped(lambda i, j: min(i - j, W))),
    "resonance rerope": (spec("rerope", True, window=W), remapped(lambda i, j: min(i - j, W), True)),
    "leaky": (
        spec("leaky_rerope", window=W, k=2.5),
        remapped(lambda i, j: i - j if i - j < W else W + (i - j - W) / 2.5),
    ),
    "self-extend": (
        spec("self_extend", window=W, group=G),
        remapped(lambda i, j: i - j if i - j < W else i // G - j // G + W - W // G),
    ),
    "self-extend, exact": (
        spec("self_extend", window=W, group=G, offset="exact"),
        remapped(lambda i, j: i - j if i - j < W else i // G - j // G + W - W / G),
    ),
    "fox": (spec("fox"), forgetting("full")),
    "fox with rope": (spec("fox", rope="rope"), forgetting("full", rotated_product)),
    "fox with resonance": (
        spec("fox", rope="resonance_rope"), forgetting("full", lambda q, k, n: rotated_product(q, k, n, True)),
    ),
    "bias only": (
        spec("fox", gate="bias_only", decay_time_min=2, decay_time_max=50), forgetting("bias_only"),
    ),
    "fixed": (spec("fox", gate="fixed", decay_time_min=3, decay_time_max=40), fixed((3.0, 40.0))),
    "no gate": (spec("fox", gate="none"), in_turns("n", None)),
}  # fmt: skip


def weights_of(encoding: Encoding, model: ModelSpec = MODEL) -> dict[str, torch.Tensor]:
    """Two members, with sharper attention than at the start and gates that differ from token to token."""
    params = stacked([member_parameters(model, 12, encoding, seed) for seed in (1, 2)])
    for layer in range(model.layers):
        params[f"layers.{layer}.attention.qkv"][:, :, : 2 * model.heads * model.head_dim] *= 1.7
    for name in params:
        if name.startswith(PREFIX):
            params[name] = params[name] + 0.3 * torch.randn(params[name].shape, generator=torch.manual_seed(3))
    return params


IDS = torch.randint(0, 12, (2, 2, LENGTH), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def expected() -> Callable[[str], np.ndarray]:
    """Logits [2 members, 2 sequences, T, V] of the loops, each case once."""
    known: dict[str, np.ndarray] = {}

    def of(case: str) -> np.ndarray:
        if case not in known:
            encoding_spec, rule = CASES[case]
            params = weights_of(build(encoding_spec, MODEL.head_dim))
            rows = []
            for p in range(2):
                own = {name: weight[p] for name, weight in params.items()}
                of_encoding = {n.removeprefix(PREFIX): w.double().numpy() for n, w in own.items()}
                rows.append([decoder(own, MODEL, IDS[p, b].tolist(), rule(of_encoding)) for b in range(2)])
            known[case] = np.array(rows)
        return known[case]

    return of


def inputs_of(case: str) -> tuple:
    encoding = build(CASES[case][0], MODEL.head_dim)
    params = weights_of(encoding)
    both = [encoding] * 2
    return params, measured_positions(both, params, MODEL, LENGTH + 1, LENGTH, torch.device("cpu"))


class Everything:
    """Dropout that drops nothing, which sends attention the explicit way."""

    scale = 1.0

    def mask(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.ones(2, *shape, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_way_computes_what_the_loops_do(case: str, expected: Callable[[str], np.ndarray]) -> None:
    params, positions = inputs_of(case)
    golden = torch.from_numpy(expected(case)).float()
    torch.testing.assert_close(forward(params, MODEL, IDS, positions), golden, rtol=1e-4, atol=1e-4)
    explicit = forward(params, MODEL, IDS, positions, Everything())
    torch.testing.assert_close(explicit, golden, rtol=1e-4, atol=1e-4)
    for cuts in ((7, 8, 12, 23), range(1, 24), (20, 21, 22, 23)):
        cache, start, parts = Cache(LENGTH), 0, []
        for stop in cuts:
            now = slice(start, stop)
            parts.append(forward(params, MODEL, IDS[:, :, now], positions.rows(now), cache=cache))
            start = stop
        torch.testing.assert_close(torch.cat(parts, 2), golden, rtol=1e-4, atol=1e-4)
    emulated = forward(params, replace(MODEL, precision=Precision.tf32), IDS, positions)
    assert (emulated - golden).abs().mean() < 5e-3
    half = forward(params, replace(MODEL, precision=Precision.bf16), IDS, positions)
    assert (half - golden).abs().mean() < 5e-2
    alone = positions.members(slice(1, 2))
    one = forward({name: weight[1:] for name, weight in params.items()}, MODEL, IDS[1:], alone)
    torch.testing.assert_close(one, golden[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["rope, nope", "rerope", "fox"])
def test_measured_in_pieces_as_whole(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes decide by themselves: these encodings go in pieces as soon as their pairs are too many."""
    encoding = build(CASES[case][0], MODEL.head_dim)
    one = replace(member(encoding=CASES[case][0]), model=MODEL)
    params = weights_of(encoding)
    prefixes = np.random.default_rng(1).integers(0, 7, (3, 4)).astype(np.uint8)
    tokens = torch.from_numpy(generate(one.task, prefixes, 41))

    def scores() -> list:
        return measure(params, MODEL, one.task, [Evaluation(p, encoding, tokens) for p in range(2)])

    whole = scores()
    monkeypatch.setitem(passes.MASK, "cpu", 150)
    assert passes.in_pieces(torch.device("cpu"), 41, False, encoding.by_pair())
    assert not passes.in_pieces(torch.device("cpu"), 41, False, False)
    called, there = [], passes.teacher_forced_in_pieces

    def counted(*args: Any) -> Any:
        called.append(1)
        return there(*args)

    monkeypatch.setattr(passes, "teacher_forced_in_pieces", counted)
    for a, b in zip(whole, scores(), strict=True):
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-4)
        np.testing.assert_array_equal(a.accuracy, b.accuracy)
    assert called


def test_fixed_gates_are_alibi_of_slopes_one_over_the_decay_times() -> None:
    """2, 4 ... 256 are the decay times of ALiBi's 8 slopes 1/2 ... 1/256: spaced evenly in their logarithms."""
    model = replace(MODEL, heads=8, head_dim=8, layers=2)
    gates = build(spec("fox", gate="fixed", decay_time_min=2, decay_time_max=256), 8)
    alibi = build(EncodingSpec("alibi", kind="alibi"), 8)
    params = stacked([member_parameters(model, 12, gates, seed) for seed in (1, 2)])
    ids = torch.randint(0, 12, (2, 1, 300), generator=torch.Generator().manual_seed(0))
    logits = [
        forward(params, model, ids, measured_positions([e] * 2, {}, model, 301, 300, torch.device("cpu")))
        for e in (gates, alibi)
    ]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    assert not gates.trains
    assert gates.shapes(model) == {}


def test_a_scale_of_the_logits_reaches_near_and_far_pairs() -> None:
    """ReRoPE's code multiplies queries by max(1, log n / log L) before it rotates them either way."""
    plain = spec("rerope", window=W)
    scaled = replace(plain, logit_scale=LogitScale.log_n, logit_length=8)
    encodings = [build(plain, 16), build(scaled, 16)]
    assert encodings[0].structure() == encodings[1].structure()
    params = weights_of(encodings[0])
    positions = measured_positions(encodings, params, MODEL, LENGTH + 1, LENGTH, torch.device("cpu"))
    logits = forward(params, MODEL, IDS, positions)
    own = {name: weight[1] for name, weight in params.items()}

    def logit(layer: int, head: int, i: int, j: int, q: np.ndarray, k: np.ndarray, x: np.ndarray) -> float:
        return max(1.0, math.log(i + 1) / math.log(8)) * rotated_product(q, k, min(i - j, W))

    golden = torch.from_numpy(decoder(own, MODEL, IDS[1, 0].tolist(), logit)).float()
    torch.testing.assert_close(logits[1, 0], golden, rtol=1e-4, atol=1e-4)


COMPANIES = {
    "in turns": [spec("mixed", r, pattern=["rope", "nope"], window=5) for r in (False, True)],
    "remapped": [spec("rerope", window=6), spec("self_extend", True, window=6, group=4)],
    "fox": [spec("fox"), spec("fox")],
}


@pytest.mark.slow
@pytest.mark.parametrize("company", COMPANIES)
def test_compiled_steps_compute_the_same(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced for a GPU, with members of different tables in one population."""
    monkeypatch.setattr(population_module, "fused", functools.partial(torch.compile, backend="aot_eager"))
    specs = [member(encoding=encoding, seed=i) for i, encoding in enumerate(COMPANIES[company])]

    def losses(compiled: bool) -> torch.Tensor:
        one = Population(specs, [data(one) for one in specs], compiled=compiled)
        return torch.stack([one.step(one.batch(0, i)).loss for i in range(2)])

    plain = losses(False)
    try:
        torch.testing.assert_close(losses(True), plain, rtol=2e-5, atol=0)
    finally:
        torch._dynamo.reset()
