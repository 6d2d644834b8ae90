"""Remapped distances, layers in turns and forget gates: what they stand at, Theorem 1, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from models.encodings import Encoding, build
from models.encodings.inputs import Far, Gate
from models.encodings.kinds.fox import FoX
from models.encodings.rotary import Rotary
from models.memory import activation_bytes, step_bytes
from models.population import population_key
from models.positions import try_out
from models.spec import EncodingSpec, ModelSpec
from posgen.errors import BadValue
from tests.models.test_population import MODEL, member

L, LONG, W, G = 64, 256, 32, 8
REMAPS = {"rerope": {}, "self_extend": {"group": G}, "leaky_rerope": {"k": G}}


def remap(kind: str, resonance: bool, **params: object) -> Rotary:
    found = build(
        EncodingSpec(kind, kind=kind, resonance=resonance, params={"window": W, **REMAPS[kind], **params}), 64
    )
    assert isinstance(found, Rotary)
    return found


def far_of(encoding: Rotary) -> Far:
    far = encoding.far(torch.arange(LONG), LONG)
    assert far is not None
    return far


def distances(kind: str) -> list[float]:
    """Of far pairs in a test of 256 tokens, from the formulas alone."""
    rule = {
        "rerope": lambda i, j: min(i - j, W),
        "self_extend": lambda i, j: i // G - j // G + W - W // G,
        "leaky_rerope": lambda i, j: W + (i - j - W) / G,
    }[kind]
    return [rule(i, j) for i in range(LONG) for j in range(i + 1) if i - j >= W]


@pytest.mark.parametrize("kind", REMAPS)
def test_no_distance_of_a_test_is_new(kind: str) -> None:
    """For L = 64, a window of 32 and groups of 8: all within 0..63."""
    assert 0 <= min(distances(kind)) <= max(distances(kind)) < L
    whole = all(float(distance).is_integer() for distance in distances(kind))
    assert whole == (kind != "leaky_rerope")


@pytest.mark.parametrize("kind", ["rerope", "self_extend"])
@pytest.mark.parametrize("resonance", [False, True])
def test_far_queries_and_keys_stand_where_training_was(kind: str, resonance: bool) -> None:
    """Each row of their tables is one of the 64 trained ones, to the last bit."""
    encoding = remap(kind, resonance)
    trained = torch.cat(encoding.rotation(torch.arange(L), L), dim=1)
    for tables in (far_of(encoding).query, far_of(encoding).key):
        rows = torch.cat(tables, dim=1)
        assert (rows[:, None] == trained[None]).all(-1).any(1).all()


@pytest.mark.parametrize("kind", REMAPS)
def test_theorem_1(kind: str) -> None:
    """Under Resonance the nine pre-critical features repeat on near pairs at any distance; and on far ones where the
    distances are whole numbers. Leaky ReRoPE's are fractions: only every k-th repeats."""
    encoding = remap(kind, True)
    periods = [round(2 * math.pi * 10_000 ** (2 * c / 64)) for c in range(9)]
    cos, sin = encoding.rotation(torch.arange(LONG), LONG)
    query, key = far_of(encoding).query, far_of(encoding).key
    for c, period in enumerate(periods):
        assert torch.equal(cos[:-period, c], cos[period:, c])
        assert torch.equal(sin[:-period, c], sin[period:, c])
        # q and k of far pairs as complex numbers: their quotient turns by the distance alone
        turned = torch.complex(query[0][:, c], query[1][:, c])[:, None] * torch.complex(key[0][:, c], -key[1][:, c])
        apart = torch.arange(LONG)[:, None] - torch.arange(LONG)
        met = turned[apart >= W]
        trained = torch.polar(torch.ones(period), 2 * math.pi * torch.arange(period) / period)
        nearest = (met[:, None] - trained).abs().min(1).values
        if kind == "leaky_rerope":
            assert nearest.max() > 0.01
            assert (turned[(apart >= W) & ((apart - W) % G == 0)][:, None] - trained).abs().min(1).values.max() < 1e-5
        else:
            assert nearest.max() < 1e-5


def test_the_window_of_a_layer() -> None:
    mixed = build(EncodingSpec("m", kind="mixed", params={"pattern": ["rope", "nope", "nope"], "window": 5}), 16)
    layers = mixed.layers()
    assert layers is not None
    assert [layers.window_of(i) for i in range(7)] == [5, None, None, 5, None, None, 5]
    assert mixed.by_pair()
    assert not mixed.explicit()


def test_resonance_and_scalings_share_a_population_with_their_plain_form() -> None:
    def key(kind: str, **changes: object) -> str:
        return population_key(member(encoding=replace(EncodingSpec(kind, kind=kind), **changes)))  # type: ignore[arg-type]

    assert key("mixed") == key("mixed", resonance=True) == key("mixed", scaling="p_rope", params={"p": 0.5})
    assert key("rerope") == key("self_extend") == key("leaky_rerope", resonance=True)
    apart = [
        key("mixed"), key("mixed", params={"window": 3}), key("mixed", params={"pattern": ["nope", "rope"]}),
        key("rerope"), key("rerope", params={"window": 3}), key("fox"), key("fox", params={"gate": "bias_only"}),
        population_key(member()),
    ]  # fmt: skip
    assert len(set(apart)) == len(apart)


@pytest.mark.parametrize(
    ("kind", "params", "told"),
    [
        ("mixed", {"pattern": []}, r"params\.pattern=\[\]: use 1 to 64 of rope and nope"),
        ("mixed", {"pattern": ["rope", "rpoe"]}, r"params\.pattern=rpoe: did you mean rope"),
        ("mixed", {"pattern": ["nope"]}, r"params\.pattern=\['nope'\]: no layer rotates: use --pe nope"),
        ("mixed", {"pattern": ["rope"]}, r"every layer rotates and sees everything: use --pe rope"),
        ("mixed", {"pattern": "rope"}, r"params\.pattern=rope: must be a list"),
        ("mixed", {"window": 0}, r"params\.window=0: use 1 or more"),
        ("mixed", {"window": 2.5}, r"params\.window=2\.5: must be a whole number"),
        ("rerope", {"window": 0}, r"params\.window=0: use 1 or more"),
        ("leaky_rerope", {"k": 0.5}, r"params\.k=0\.5: use 1 \(plain RoPE\) or more"),
        ("leaky_rerope", {"k": math.nan}, r"params\.k=nan: use 1"),
        ("self_extend", {"group": 0}, r"params\.group=0: use 1"),
        ("self_extend", {"offset": "flor"}, r"params\.offset=flor: did you mean floor"),
        ("fox", {"gate": "ful"}, r"params\.gate=ful: did you mean full"),
        ("fox", {"gate": "fixed"}, r"params\.decay_time_min=None: gate=fixed needs it"),
        ("fox", {"gate": "bias_only", "decay_time_min": 2}, r"params\.decay_time_max=None: give both decay times"),
        ("fox", {"decay_time_min": 2}, r"params\.decay_time_min=2\.0: gate=full has no decay times"),
        ("fox", {"gate": "fixed", "decay_time_min": 9, "decay_time_max": 2}, r"decay_time_max=2\.0: use at least"),
        ("fox", {"gate": "fixed", "decay_time_min": math.inf, "decay_time_max": 2}, r"decay_time_min=inf: use tokens"),
        ("fox", {"rope": "yarn"}, r"params\.rope=yarn: one of none, resonance_rope, rope"),
        ("fox", {"rope_base": 0.5}, r"params\.rope_base=0\.5: use a number above 1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(kind: str, params: dict, told: str) -> None:
    with pytest.raises(BadValue, match=told) as error:
        build(EncodingSpec(kind, kind=kind, params=params), 16)
    assert "\n" not in str(error.value)


def test_fox_by_itself_takes_neither_scaling_nor_resonance() -> None:
    with pytest.raises(BadValue, match="resonance=True: fox"):
        build(EncodingSpec("fox", kind="fox", resonance=True), 16)


def test_decay_times_start_at_the_codes_numbers() -> None:
    """b = -log(expm1(1 / T)), so that sigmoid(b) = exp(-1 / T); T evenly spaced in its logarithm."""
    params = {"gate": "bias_only", "decay_time_min": 4, "decay_time_max": 64}
    fox = build(EncodingSpec("fox", kind="fox", params=params), 16)
    model = ModelSpec(layers=3, d_model=8, heads=5, head_dim=16)
    start = fox.initialise(model, torch.Generator())["gate.bias"]
    assert start.shape == (3, 5)
    for row in start:
        for b, time in zip(row.tolist(), (4, 8, 16, 32, 64), strict=True):
            assert 1 / (1 + math.exp(-b)) == pytest.approx(math.exp(-1 / time), rel=1e-6)
    full = build(EncodingSpec("fox", kind="fox"), 16).initialise(ModelSpec(), torch.Generator().manual_seed(0))
    assert full["gate.weight"].std().item() == pytest.approx(0.02, rel=0.05)  # the code's initializer_range
    assert not full["gate.bias"].any()
    assert fox.trains
    assert not build(EncodingSpec("fox", kind="fox", params={"gate": "none"}), 16).trains


def test_memory_of_a_step_counts_the_probabilities_that_no_fused_kernel_makes() -> None:
    plain, explicit = (activation_bytes(replace(MODEL, dropout=0.0), 16, 16, 12, on) for on in (False, True))
    assert explicit - plain == MODEL.layers * 16 * 16 * 16 * MODEL.heads * 8
    quiet = replace(MODEL, dropout=0.0)
    steps = {
        kind: step_bytes(member(encoding=EncodingSpec(kind, kind=kind), model=quiet))
        for kind in ("nope", "mixed", "alibi", "rerope", "fox")
    }
    assert steps["nope"] == steps["mixed"] < steps["alibi"] == steps["rerope"] == steps["fox"]


@dataclass(frozen=True)
class OneGate(FoX):
    """Forgets in the first layer alone, which the decoder has no place for."""

    def gates(self, weights: object, model: ModelSpec) -> tuple[Gate, ...]:
        return (Gate(None, torch.zeros(1, model.heads)),)


@dataclass(frozen=True)
class Narrow(Encoding):
    """A table of the wrong size for distant pairs."""

    def far(self, positions: Tensor, length: int) -> Far:
        table = torch.ones(len(positions), 3)
        return Far((table, table), (table, table), 4)


def test_a_users_own_mistakes_are_told_before_a_training() -> None:
    with pytest.raises(BadValue, match="has 1 gates for 2 layers"):
        try_out(OneGate("one", 16), MODEL, [17])
    with pytest.raises(BadValue, match=r"its far query's cos for 2 positions should be floats of shape \[2, 8\]"):
        try_out(Narrow("narrow", 16), MODEL, [17])
