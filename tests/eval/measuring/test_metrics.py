"""Accuracies and losses against a plain decoder and loops over single tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from eval.measuring import passes
from eval.measuring.batches import BUDGET
from eval.measuring.metrics import Evaluation, Scores, measure
from models.encodings import build
from models.parameters import initialise, stacked
from models.plain import PlainDecoder
from models.spec import AccuracyMode, EncodingSpec, ModelSpec
from posgen.generate import generate
from posgen.spec import Task

MODEL = ModelSpec(layers=2, d_model=32, heads=2, head_dim=16, d_ff=64)
TASK = Task("cot", "cot", 7)
LENGTH, TRAIN, PREFIX, BOS = 24, 12, 4, 11
ENCODINGS = (EncodingSpec("rope"), EncodingSpec("pi", "pi", params={"factor": 2.0}))


@pytest.fixture(scope="module")
def params() -> dict[str, torch.Tensor]:
    found = stacked([initialise(MODEL, TASK.vocabulary, seed) for seed in (1, 2)])
    # Sharper logits than at initialisation, so that argmax and loss say something.
    return {**found, "final_norm": found["final_norm"] * 3}


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    prefixes = np.random.default_rng(3).integers(0, 7, (10, PREFIX)).astype(np.uint8)
    return torch.from_numpy(generate(TASK, prefixes, LENGTH))


def oracle(params: dict[str, torch.Tensor], member: int, divide: float) -> tuple[PlainDecoder, torch.Tensor]:
    """The plain decoder with a member's weights, and its angles [T + 1, 8] from RoPE's definition."""
    decoder = PlainDecoder(12, 2, 32, 2, 16, 64)
    decoder.take({name: weight[member] for name, weight in params.items()})
    inv_freq = 10_000.0 ** (-torch.arange(0, 16, 2).double() / 16)
    return decoder, torch.arange(LENGTH + 1).double()[:, None] / divide * inv_freq


JOBS = [(0, 0), (1, 0), (1, 1)]  # (member, encoding)


@torch.no_grad()
def test_teacher_forced(params: dict[str, torch.Tensor], tokens: torch.Tensor) -> None:
    jobs = [Evaluation(m, build(ENCODINGS[e], 16), tokens) for m, e in JOBS]
    for (member, encoding), found in zip(JOBS, measure(params, MODEL, TASK, jobs), strict=True):
        decoder, angles = oracle(params, member, (1.0, 2.0)[encoding])
        right, nats = np.zeros(LENGTH), np.zeros(LENGTH)
        for sequence in tokens.long():
            for position in range(PREFIX, LENGTH):
                ids = torch.cat([torch.tensor([BOS]), sequence[:position]])  # only what comes before
                log_probability = decoder(ids[None], angles[: len(ids)])[0, -1].log_softmax(-1)
                right[position] += int(log_probability.argmax()) == int(sequence[position])
                nats[position] -= float(log_probability[sequence[position]])
        np.testing.assert_allclose(found.accuracy[PREFIX:], right[PREFIX:] / 10, atol=1e-12)
        np.testing.assert_allclose(found.loss[PREFIX:], nats[PREFIX:] / 10, rtol=2e-5)
        assert np.isnan(found.accuracy[:PREFIX]).all()
        assert np.isnan(found.loss[:PREFIX]).all()
        summary = found.summary(TASK, TRAIN)
        assert summary["id_accuracy"] == pytest.approx(right[PREFIX:TRAIN].sum() / (10 * (TRAIN - PREFIX)))
        assert summary["ood_accuracy"] == pytest.approx(right[TRAIN:].sum() / (10 * (LENGTH - TRAIN)))
        assert summary["loss"] == pytest.approx(nats.sum() / (10 * (LENGTH - PREFIX)), rel=2e-5)


@torch.no_grad()
def test_free_running(params: dict[str, torch.Tensor], tokens: torch.Tensor) -> None:
    jobs = [Evaluation(m, build(ENCODINGS[e], 16), tokens) for m, e in JOBS]
    for (member, encoding), found in zip(
        JOBS, measure(params, MODEL, TASK, jobs, AccuracyMode.free_running), strict=True
    ):
        decoder, angles = oracle(params, member, (1.0, 2.0)[encoding])
        right = np.zeros(LENGTH)
        for sequence in tokens.long():
            written = [BOS, *sequence[:PREFIX].tolist()]
            for position in range(PREFIX, LENGTH):  # without a cache: the whole prefix again for every token
                written.append(int(decoder(torch.tensor([written]), angles[: len(written)])[0, -1].argmax()))
                right[position] += written[-1] == int(sequence[position])
        np.testing.assert_allclose(found.accuracy[PREFIX:], right[PREFIX:] / 10, atol=1e-12)
        assert found.summary(TASK, TRAIN)["loss"] is None


def test_without_bos_the_first_token_stands_at_position_0(
    params: dict[str, torch.Tensor], tokens: torch.Tensor
) -> None:
    job = Evaluation(0, build(ENCODINGS[0], 16), tokens)
    (found,) = measure(params, replace(MODEL, bos=False), TASK, [job])
    decoder, angles = oracle(params, 0, 1.0)
    logits = decoder(tokens.long(), angles[:LENGTH]).detach()
    expected = (logits[:, PREFIX - 1 : -1].argmax(-1) == tokens[:, PREFIX:]).double().mean(0)
    np.testing.assert_allclose(found.accuracy[PREFIX:], expected.numpy(), atol=1e-12)


def test_a_number_that_is_not_finite_is_none_and_no_position_is_none() -> None:
    accuracy, loss = np.full(6, 0.5), np.array([np.nan, np.nan, 1.0, np.inf, 1.0, 1.0])
    summary = Scores(accuracy, loss).summary(Task(far=1, near=1), 6)
    assert summary == {"id_accuracy": 0.5, "ood_accuracy": None, "loss": None, "id_loss": None, "ood_loss": None}
    assert not math.isnan(Scores(accuracy, loss).summary(Task(far=1, near=1), 4)["ood_loss"] or 0.0)


@pytest.mark.parametrize("pe", [EncodingSpec("rope"), EncodingSpec("sinusoidal", kind="sinusoidal")])
@pytest.mark.parametrize("bos", [True, False])
def test_a_sequence_in_pieces_scores_as_the_whole(
    params: dict[str, torch.Tensor], tokens: torch.Tensor, pe: EncodingSpec, bos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, model = [Evaluation(1, build(pe, 16), tokens)], replace(MODEL, bos=bos)
    (whole,) = measure(params, model, TASK, job)
    monkeypatch.setitem(passes.WHOLE, "cpu", 7)
    monkeypatch.setitem(passes.MASK, "cpu", 30)
    sizes = [piece.stop - piece.start for piece in passes.pieces(LENGTH, torch.device("cpu"))]
    assert sum(sizes) == LENGTH
    assert sizes[0] == 5  # 5 x 5 pairs are below 30
    assert sizes[-1] == 1
    (pieces,) = measure(params, model, TASK, job)
    np.testing.assert_allclose(pieces.accuracy, whole.accuracy, atol=1e-12)
    np.testing.assert_allclose(pieces.loss, whole.loss, rtol=2e-5)


@pytest.mark.parametrize("mode", list(AccuracyMode))
@pytest.mark.parametrize("whole", [10_000, 7])
def test_progress_adds_up_to_the_whole(
    params: dict[str, torch.Tensor],
    tokens: torch.Tensor,
    mode: AccuracyMode,
    whole: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within a measurement, and again where memory ran out on the way and it began anew."""
    monkeypatch.setitem(passes.WHOLE, "cpu", whole)
    monkeypatch.setattr("eval.measuring.batches.BUDGET", type(BUDGET)())
    jobs = [Evaluation(m, build(ENCODINGS[e], 16), tokens) for m, e in JOBS]
    told: list[float] = []
    measure(params, MODEL, TASK, jobs, mode, ticked=told.append)
    assert sum(told) == pytest.approx(1.0)
    assert min(told) > 0
    if mode is AccuracyMode.free_running or whole == 7:
        assert len(told) > len(JOBS)
