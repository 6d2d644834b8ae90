"""Scales of the attention logits: their numbers, what training shares, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eval.measuring.metrics import Evaluation, measure
from models.encodings import build
from models.encodings.logit_scale import LogitScaling
from models.population import Population
from models.spec import AccuracyMode, EncodingSpec, LogitScale
from posgen.errors import BadValue
from posgen.generate import generate
from tests.models.test_encoding_kinds import KINDS
from tests.models.test_population import DATA, MODEL, data, member, population, trained

LOG_N = EncodingSpec("log_n", logit_scale=LogitScale.log_n, logit_length=DATA.train_length, trained_as="rope")


def test_log_n_is_one_up_to_the_length_and_grows_beyond() -> None:
    scale = LogitScaling(LogitScale.log_n, 64).scale({}, torch.arange(1, 4097)[None])
    assert scale.shape == (1, 1, 1, 4096)
    assert scale[0, 0, 0, :64].tolist() == [1.0] * 64
    assert scale[0, 0, 0, 64:].tolist() == pytest.approx([math.log(n) / math.log(64) for n in range(65, 4097)])
    assert scale[0, 0, 0, 4095].item() == 2.0  # 4096 = 64^2
    for length in (3, 37, 1000):
        seen = torch.arange(1, length + 1)[None]
        assert LogitScaling(LogitScale.log_n, length).scale({}, seen).unique().tolist() == [1.0]


def test_ssmax_starts_with_a_mean_of_one() -> None:
    fixed = LogitScaling(LogitScale.ssmax_fixed, 64)
    scale = fixed.scale({}, torch.arange(1, 65)[None]).double()
    assert scale.mean().item() == pytest.approx(1.0, rel=1e-6)
    assert scale[0, 0, 0, 0].item() == 0.0  # one key: nothing to choose
    assert LogitScaling(LogitScale.ssmax, 1024).start() == pytest.approx(0.168, abs=5e-4)
    own = LogitScaling(LogitScale.ssmax, s=0.43)
    assert own.shapes(MODEL) == {"logit_scale": (2, 2)}
    assert own.initialise(MODEL)["logit_scale"].tolist() == [[pytest.approx(0.43)] * 2] * 2


@torch.no_grad()
def test_within_the_training_length_log_n_changes_no_bit() -> None:
    """Of every kind, teacher-forced and free-running, with a BOS in front: 16 tokens are L = 16 keys."""
    for kind in ("rope", "alibi", "pope", "randomized", "learned"):
        spec = member(encoding=KINDS.get(kind, EncodingSpec()))
        weights = {name: weight.detach() for name, weight in population(spec).params.items()}
        weights["final_norm"] = weights["final_norm"] * 3
        plain = build(spec.train_encoding, 16)
        scaled = build(replace(spec.train_encoding, logit_scale=LogitScale.log_n, logit_length=16), 16)
        for mode in AccuracyMode:
            for length, equal in ((16, True), (32, False)):
                tokens = torch.from_numpy(generate(spec.task, data(spec)[:6, :4].numpy(), length))
                both = [Evaluation(0, plain, tokens), Evaluation(0, scaled, tokens)]
                one, other = measure(weights, MODEL, spec.task, both, mode)
                np.testing.assert_array_equal(one.accuracy[:16], other.accuracy[:16])
                np.testing.assert_array_equal(one.loss[:16], other.loss[:16])
                if not equal and mode is AccuracyMode.teacher_forced:
                    assert (one.loss[17:] != other.loss[17:]).any()


def test_training_with_log_n_is_training_without() -> None:
    plain, scaled = trained(member()), trained(member(encoding=LOG_N))
    for name, weight in plain.population.params.items():
        assert torch.equal(scaled.population.params[name], weight)


def test_scales_that_act_while_training_train_beside_others() -> None:
    shorter = member(encoding=replace(LOG_N, logit_length=4))
    fixed = member(encoding=EncodingSpec("f", logit_scale=LogitScale.ssmax_fixed, logit_length=16))
    mixed = trained(member(), shorter, fixed)
    for place, alone in enumerate((trained(member()), trained(shorter), trained(fixed))):
        for name, weight in alone.population.params.items():
            torch.testing.assert_close(mixed.population.params[name][place], weight[0], rtol=1e-4, atol=1e-5)
    ends = [mixed.population.params["embedding"][i] for i in range(3)]
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_trained_scales_keep_to_themselves_but_not_from_other_frequencies() -> None:
    ssmax = KINDS["ssmax"]
    yarn = replace(ssmax, scaling="yarn", params={"factor": 2.0, "ramp_length": 16}, logit_s=0.5)
    mixed = trained(member(encoding=ssmax), member(encoding=yarn))
    for place, spec in enumerate((ssmax, yarn)):
        alone = trained(member(encoding=spec))
        for name, weight in alone.population.params.items():
            torch.testing.assert_close(mixed.population.params[name][place], weight[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="structures"):
        Population([member(), member(encoding=ssmax)], [data(member())] * 2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"logit_length": 64}, "logit_length=64: does nothing without logit_scale"),
        ({"logit_scale": LogitScale.log_n, "logit_length": 1}, "logit_length=1: use the training length"),
        ({"logit_scale": LogitScale.log_n, "logit_length": 64, "logit_s": 1.0}, "logit_s=1.0: does nothing without"),
        ({"logit_scale": LogitScale.ssmax, "logit_s": 0.0}, "logit_s=0.0: use a number above 0"),
        ({"logit_scale": LogitScale.log_n}, "logit_length=None: give the training length"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint):
        build(EncodingSpec("e", **changes), 16)


def test_identities_stay_what_they_were() -> None:
    """Of RoPE, written down before there was a scale; and what an encoding trains as is no part of it."""
    assert EncodingSpec().key == "a9c065405f11"
    assert replace(EncodingSpec(), trained_as="rope").key == EncodingSpec().key
    assert LOG_N.key != EncodingSpec().key
