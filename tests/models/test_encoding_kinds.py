"""Encodings that are no scaling of RoPE: against loops written from their papers, and trained in the population."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.measuring.metrics import Evaluation, measure
from models.encodings import build
from models.encodings.base import PREFIX
from models.encodings.kinds.t5_bias import bucket
from models.parameters import member_parameters
from models.population import Population, population_key
from models.positions import measured_positions, try_out
from models.spec import AccuracyMode, EncodingSpec, LogitScale, MemberSpec, ModelSpec
from models.streams import stream
from models.training import Trainer
from models.transformer import forward
from posgen.errors import BadValue
from posgen.generate import generate
from tests.models.test_population import MODEL, StopAt, data, member, no_validation, population, trained
from tests.sampled import sampled

KINDS = {
    "nope": EncodingSpec("nope", kind="nope"),
    "alibi": EncodingSpec("alibi", kind="alibi"),
    "t5_bias": EncodingSpec("t5_bias", kind="t5_bias", params={"buckets": 8, "max_distance": 16}),
    "fire": EncodingSpec("fire", kind="fire", params={"width": 4, "threshold": 6.0}),
    "sinusoidal": EncodingSpec("sinusoidal", kind="sinusoidal"),
    "learned": EncodingSpec("learned", kind="learned", params={"max_length": 40}),
    "randomized": EncodingSpec("randomized", kind="randomized", params={"max_position": 64}),
    "kerple": EncodingSpec("kerple", kind="kerple"),
    "pope": EncodingSpec("pope", kind="pope", params={"delta": "uniform"}),
    "xpos": EncodingSpec("xpos", kind="xpos", params={"scale_base": 8.0}),
    "ssmax": EncodingSpec("ssmax", logit_scale=LogitScale.ssmax, logit_length=16),
    "alibi_ssmax": EncodingSpec("a", kind="alibi", logit_scale=LogitScale.ssmax, logit_s=0.3),
}


KINDS |= {
    "mixed": EncodingSpec("rnope", kind="mixed", params={"window": 6}),
    "rerope": EncodingSpec("rerope", kind="rerope", params={"window": 5}),
    "leaky_rerope": EncodingSpec("leaky_rerope", kind="leaky_rerope", params={"window": 6, "k": 3}),
    "self_extend": EncodingSpec("self_extend", kind="self_extend", params={"window": 8, "group": 3}),
    "fox": EncodingSpec("fox", kind="fox"),
    "fox_rope": EncodingSpec("fox", kind="fox", params={"gate": "bias_only", "rope": "resonance_rope"}),
    "fox_fixed": EncodingSpec("fox", kind="fox", params={"gate": "fixed", "decay_time_min": 2, "decay_time_max": 9}),
}


def of(kind: str, seed: int = 1) -> MemberSpec:
    return member(encoding=KINDS[kind], seed=seed)


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12])
def test_alibi_slopes_and_bias(heads: int) -> None:
    """Section 3: for 8 heads 1/2, 1/4 ... 1/256; other counts take every second slope of the next power."""
    power = 2 ** math.floor(math.log2(heads))
    expected = [2 ** (-8 / power * (h + 1)) for h in range(power)]
    expected += [2 ** (-8 / (2 * power) * (h + 1)) for h in range(0, 2 * power, 2)][: heads - power]
    bias = build(KINDS["alibi"], 16).bias({}, torch.arange(9), replace(MODEL, heads=heads))
    assert bias is not None
    for h in range(heads):
        for i in range(9):
            for j in range(i + 1):
                assert bias[0, h, i, j].item() == pytest.approx(-expected[h] * (i - j), rel=1e-6)
    if heads == 8:
        assert expected == [0.5**n for n in range(1, 9)]


def t5_bucket(distance: int, buckets: int, max_distance: int) -> int:
    """Raffel et al.'s relative_position_bucket for a causal model, for one distance."""
    exact = buckets // 2
    if distance < exact:
        return distance
    share = math.log(distance / exact) / math.log(max_distance / exact)
    return min(exact + int(share * (buckets - exact)), buckets - 1)


@pytest.mark.parametrize(("buckets", "max_distance", "length"), [(32, 128, 300), (8, 16, 40)])
def test_t5_bias(buckets: int, max_distance: int, length: int) -> None:
    encoding = build(EncodingSpec("t", kind="t5_bias", params={"buckets": buckets, "max_distance": max_distance}), 16)
    table = torch.randn(2, buckets, MODEL.heads, generator=torch.Generator().manual_seed(0))
    bias = encoding.bias({f"{PREFIX}table": table}, torch.arange(length), MODEL)
    assert bias is not None
    for i in range(0, length, 7):
        for j in range(i + 1):
            expected = table[:, t5_bucket(i - j, buckets, max_distance)]
            assert torch.equal(bias[:, :, i, j], expected)


def test_t5_buckets_are_those_of_transformers() -> None:
    from transformers.models.t5 import modeling_t5 as modeling

    relative = -torch.arange(500)[None]  # memory - query
    theirs = modeling.T5Attention._relative_position_bucket(relative, False, 32, 128)[0]
    assert torch.equal(bucket(torch.arange(500), 32, 128), theirs)


def test_fire() -> None:
    """The paper's section 3 for single pairs: psi(x) = log(cx + 1), a network of one hidden relu layer."""
    encoding = build(KINDS["fire"], 16)
    generator = torch.Generator().manual_seed(7)
    own = [{n: torch.randn(s, generator=generator) for n, s in encoding.shapes(MODEL).items()} for _ in range(2)]
    weights = {f"{PREFIX}{n}": torch.stack([own[0][n], own[1][n]]) for n in own[0]}
    bias = encoding.bias(weights, torch.arange(20), MODEL)
    assert bias is not None
    for k, w in enumerate(own):
        c, threshold = abs(w["c"].item()), abs(w["scale"].item() * 6.0)
        for i in range(20):
            for j in range(i + 1):
                progress = math.log(c * (i - j) + 1) / math.log(c * max(threshold, i + 1) + 1)
                hidden = torch.relu(progress * w["hidden.weight"][0] + w["hidden.bias"])
                expected = hidden @ w["out.weight"] + w["out.bias"]
                torch.testing.assert_close(bias[k, :, i, j], expected, rtol=1e-4, atol=1e-5)


def test_sinusoidal() -> None:
    table = build(KINDS["sinusoidal"], 16).embedding({}, torch.arange(30), MODEL)
    assert table is not None
    for t in range(30):
        for i in range(MODEL.d_model // 2):
            angle = t / 10_000 ** (2 * i / MODEL.d_model)
            assert table[0, t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[0, t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_learned_positions_are_rows_of_the_table_and_end_with_it() -> None:
    encoding = build(KINDS["learned"], 16)
    table = torch.randn(3, 40, MODEL.d_model)
    found = encoding.embedding({f"{PREFIX}table": table}, torch.arange(25), MODEL)
    assert found is not None
    assert torch.equal(found, table[:, :25])
    with pytest.raises(BadValue, match=r"params\.max_length=40: .*max_length=41"):
        encoding.embedding({f"{PREFIX}table": table}, torch.arange(41), MODEL)


def test_randomized_positions() -> None:
    encoding = build(KINDS["randomized"], 16)
    draws = [encoding.training_positions(17, stream(1, "positions", step)) for step in range(200)]
    for drawn in draws:
        assert drawn is not None
        assert drawn.shape == (17,)
        assert (drawn.diff() > 0).all()  # sorted, none twice
        assert drawn.min() >= 0
        assert drawn.max() < 64
    seen = torch.cat([d for d in draws if d is not None]).bincount(minlength=64)
    assert (seen > 20).all()  # 53 are expected for each position
    assert torch.equal(encoding.positions(33), encoding.positions(33))
    with pytest.raises(BadValue, match="max_position=64"):
        encoding.positions(65)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_alone_as_among_others(kind: str) -> None:
    me, other = of(kind), of(kind, seed=4)
    alone, among = trained(me), trained(other, me)
    for mine, theirs in zip(alone.progress[0].history, among.progress[1].history, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
    for name, weight in alone.population.params.items():
        torch.testing.assert_close(among.population.params[name][1], weight[0], rtol=1e-4, atol=1e-5)
    start = member_parameters(MODEL, 12, build(KINDS[kind], 16), me.seed)
    plain = member_parameters(MODEL, 12, build(EncodingSpec(), 16), me.seed)
    assert all(torch.equal(start[name], plain[name]) for name in plain)  # the others start as without the encoding
    for name in set(start) - set(plain):
        assert not torch.equal(alone.population.params[name][0], start[name]), f"{name} was not trained"


@pytest.mark.parametrize("kind", sampled(KINDS, {"fire", "randomized", "pope", "ssmax", "mixed", "fox"}))
def test_every_kind_resumes_to_the_bit(kind: str) -> None:
    whole, half = trained(of(kind)), trained(of(kind), stop=5)
    resumed = Trainer(population(of(kind)), no_validation, StopAt(-1))
    resumed.load([half.state(0)])
    resumed.run()
    assert all(torch.equal(resumed.population.params[n], w) for n, w in whole.population.params.items())


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_generating_with_the_cache_is_generating_without(kind: str) -> None:
    """Greedy generation that runs the whole sequence again for every token writes the same."""
    spec, encoding, length = of(kind), build(KINDS[kind], 16), 24
    params = {name: weight.detach() for name, weight in population(spec).params.items()}
    params["final_norm"] = params["final_norm"] * 3
    truth = torch.from_numpy(generate(spec.task, data(spec)[:5, :4].numpy(), length))
    positions = measured_positions([encoding], params, MODEL, length + 1, length, torch.device("cpu"))
    written = torch.cat([torch.full((5, 1), 11), truth[:, :4].long()], dim=1)  # BOS and the seed
    for now in range(5, length + 1):
        logits = forward(params, MODEL, written[None], positions.rows(slice(0, now)))
        written = torch.cat([written, logits[0, :, -1:].argmax(-1)], dim=1)
    (free,) = measure(params, MODEL, spec.task, [Evaluation(0, encoding, truth)], AccuracyMode.free_running)
    expected = (written[:, 5:] == truth[:, 4:]).double().mean(0)
    np.testing.assert_allclose(free.accuracy[4:], expected.numpy(), atol=1e-12)


def test_structures_that_cannot_share_a_population_are_kept_apart() -> None:
    keys = {kind: population_key(of(kind)) for kind in KINDS}
    assert keys["randomized"] == population_key(member())
    assert len(set(keys.values())) == len(KINDS)
    with pytest.raises(ValueError, match="structures"):
        Population([of("alibi"), of("nope")], [data(of("alibi"))] * 2)


def test_randomized_positions_do_not_disturb_their_companions() -> None:
    alone, mixed = trained(member()), trained(of("randomized"), member())
    for name, weight in alone.population.params.items():
        torch.testing.assert_close(mixed.population.params[name][1], weight[0], rtol=1e-4, atol=1e-5)


def test_what_does_not_rotate_takes_neither_scaling_nor_resonance() -> None:
    for changes in ({"resonance": True}, {"scaling": "yarn"}):
        with pytest.raises(BadValue, match="does not rotate"):
            build(replace(KINDS["alibi"], **changes), 16)
    with pytest.raises(BadValue, match="did you mean alibi"):
        build(EncodingSpec("a", kind="alibbi"), 16)


def test_a_class_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom models.encodings.base import Encoding\n"
        "@dataclass(frozen=True)\nclass Mine(Encoding):\n    strength: float = 1.0\n"
    )
    found = build(EncodingSpec("mine", kind=f"{file}:Mine", params={"strength": 2}), 16)
    assert getattr(found, "strength") == 2.0  # noqa: B009
    with pytest.raises(BadValue, match=r"cannot be imported .*there is no file"):
        build(EncodingSpec("mine", kind=f"{tmp_path / 'absent.py'}:Mine"), 16)
    with pytest.raises(BadValue, match="is not a subclass"):
        build(EncodingSpec("mine", scaling=f"{file}:Mine"), 16)


def test_model_without_positions_counts_what_its_encoding_adds() -> None:
    shapes = build(KINDS["t5_bias"], 64).shapes(ModelSpec())
    assert shapes == {"table": (8, 8)}
    full = build(EncodingSpec("t5", kind="t5_bias"), 64).shapes(ModelSpec())
    assert math.prod(full["table"]) == 256  # what the released model carries without reading it


def test_a_rotary_encoding_with_a_bias_of_its_own_keeps_to_itself(tmp_path: Path) -> None:
    file = tmp_path / "both.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom models.encodings.rotary import Rotary\n"
        "from models.encodings.kinds.alibi import ALiBi\n"
        "@dataclass(frozen=True)\nclass Both(Rotary):\n    bias = ALiBi.bias\n"
    )
    both = member(encoding=EncodingSpec("both", kind=f"{file}:Both"))
    assert population_key(both) != population_key(member())
    alone = trained(both)
    assert alone.progress[0].history[0]["train_loss"] != trained(member()).progress[0].history[0]["train_loss"]


def test_a_rotary_encoding_says_itself_whether_it_only_rotates(tmp_path: Path) -> None:
    file = tmp_path / "says.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom models.encodings.rotary import Rotary\n"
        "from models.encodings.kinds.alibi import ALiBi\n"
        "@dataclass(frozen=True)\nclass Silent(Rotary):\n    pass\n"
        "@dataclass(frozen=True)\nclass Says(Rotary):\n    only_rotates = True\n"
        "@dataclass(frozen=True)\nclass Errs(Says):\n    only_rotates = True\n    bias = ALiBi.bias\n"
    )
    silent, says, errs = (EncodingSpec(name, kind=f"{file}:{name}") for name in ("Silent", "Says", "Errs"))
    assert population_key(member(encoding=says)) == population_key(member())
    assert population_key(member(encoding=silent)) != population_key(member())
    try_out(build(silent, 16), MODEL, [17])
    try_out(build(says, 16), MODEL, [17])
    with pytest.raises(BadValue, match="pe=Errs: gives the decoder more than a rotation; declare only_rotates = False"):
        try_out(build(errs, 16), MODEL, [17])


def test_only_encodings_that_rotate_may_draw_their_training_positions(tmp_path: Path) -> None:
    file = tmp_path / "drawn.py"
    file.write_text(
        "from dataclasses import dataclass\nimport torch\nfrom models.encodings.kinds.sinusoidal import Sinusoidal\n"
        "@dataclass(frozen=True)\nclass Drawn(Sinusoidal):\n    def training_positions(self, length, generator):\n"
        "        return torch.randperm(99, generator=generator)[:length]\n"
    )
    with pytest.raises(BadValue, match="draws training positions"):
        population(member(encoding=EncodingSpec("drawn", kind=f"{file}:Drawn")))
