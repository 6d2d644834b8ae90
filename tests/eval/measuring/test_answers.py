"""Measuring hidden and interleaved answers against a plain decoder and loops over single positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from eval.measuring import passes
from eval.measuring.metrics import Evaluation, Scores, measure
from models.encodings import build
from models.parameters import initialise, stacked
from models.plain import PlainDecoder
from models.spec import AccuracyMode, EncodingSpec, ModelSpec
from posgen.answers import labels, scored
from posgen.generate import generate
from posgen.spec import Answers, Task

MODEL = ModelSpec(layers=2, d_model=32, heads=2, head_dim=16, d_ff=64)
HIDDEN = Task("mine", "cot", 7, near=1, gap=2, answers=Answers.hidden)
STREAM = replace(HIDDEN, rule="semi_recursive", answers=Answers.interleaved)
LENGTH, TRAIN = 26, 14
ROPE = EncodingSpec("rope")


@pytest.fixture(scope="module")
def params() -> dict[str, torch.Tensor]:
    found = stacked([initialise(MODEL, HIDDEN.vocabulary, seed) for seed in (1, 2)])
    return {**found, "final_norm": found["final_norm"] * 3}  # sharper logits, so that argmax and loss say something


def asked(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    start = np.random.default_rng(3).integers(0, 7, (10, task.drawn_length)).astype(np.uint8)
    tokens = generate(task, start, LENGTH)
    return torch.from_numpy(tokens), torch.from_numpy(labels(task, tokens))


def by_hand(params: dict[str, torch.Tensor], task: Task, running: bool) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy, loss) at each position, NaN where nothing is asked; `running`: the model reads its own answers."""
    decoder = PlainDecoder(12, 2, 32, 2, 16, 64)
    decoder.take({name: weight[1] for name, weight in params.items()})
    angles = torch.arange(LENGTH + 1).double()[:, None] * 10_000.0 ** (-torch.arange(0, 16, 2).double() / 16)
    tokens, right = asked(task)
    accuracy, loss = np.full(LENGTH, np.nan), np.full(LENGTH, np.nan)
    positions = np.flatnonzero(scored(task, LENGTH))
    accuracy[positions] = loss[positions] = 0.0
    for row, label in zip(tokens.tolist(), right.tolist(), strict=True):
        read = [task.bos, *row]
        for position in positions:
            with torch.no_grad():
                logits = decoder(torch.tensor([read[: position + 1]]), angles[: position + 1])[0, -1]
            accuracy[position] += (int(logits.argmax()) == label[position]) / 10
            loss[position] -= float(logits.log_softmax(-1)[label[position]]) / 10
            if running:
                read[position + 1] = int(logits.argmax())
    return accuracy, loss


@pytest.mark.parametrize("task", [HIDDEN, STREAM], ids=["hidden", "interleaved"])
@pytest.mark.parametrize("mode", AccuracyMode)
def test_scores_are_those_of_the_loops(params: dict[str, torch.Tensor], task: Task, mode: AccuracyMode) -> None:
    running = mode is AccuracyMode.free_running and task is STREAM
    (found,) = measure(params, MODEL, task, [Evaluation(1, build(ROPE, 16), *asked(task))], mode)
    accuracy, loss = by_hand(params, task, running)
    np.testing.assert_allclose(found.accuracy, accuracy, atol=1e-9)
    if running:
        assert np.isnan(found.loss).all()
    else:
        np.testing.assert_allclose(found.loss, loss, rtol=2e-5)
    summary, positions = found.summary(task, TRAIN), np.flatnonzero(scored(task, LENGTH))
    assert summary["id_accuracy"] == pytest.approx(accuracy[positions[positions < TRAIN]].mean())
    assert summary["ood_accuracy"] == pytest.approx(accuracy[positions[positions >= TRAIN]].mean())


def test_in_pieces_as_the_whole(params: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    for task in (HIDDEN, STREAM):
        job = [Evaluation(0, build(ROPE, 16), *asked(task))]
        (whole,) = measure(params, MODEL, task, job)
        with monkeypatch.context() as patch:
            patch.setitem(passes.WHOLE, "cpu", 5)
            (parts,) = measure(params, MODEL, task, job)
        np.testing.assert_allclose(parts.accuracy, whole.accuracy)
        np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-4)


def test_tasks_of_both_kinds_are_measured_in_one_call(params: dict[str, torch.Tensor]) -> None:
    fed_back = Task("cot", "cot", 7)
    start = np.random.default_rng(3).integers(0, 7, (10, 4)).astype(np.uint8)
    tokens = torch.from_numpy(generate(fed_back, start, LENGTH))
    rope = build(ROPE, 16)
    jobs = [Evaluation(0, rope, tokens), Evaluation(0, rope, *asked(HIDDEN)), Evaluation(1, rope, tokens)]
    together = measure(params, MODEL, fed_back, jobs)
    for job, found in zip(jobs, together, strict=True):
        (alone,) = measure(params, MODEL, fed_back, [job])
        np.testing.assert_allclose(found.accuracy, alone.accuracy)
        np.testing.assert_allclose(found.loss, alone.loss, rtol=1e-5)


def test_positions_without_an_answer_are_part_of_no_mean() -> None:
    accuracy = np.where(scored(STREAM, LENGTH), 0.5, np.nan)
    accuracy[9] = 1.0
    summary = Scores(accuracy, accuracy).summary(STREAM, TRAIN)
    assert summary["id_accuracy"] == pytest.approx((1.0 + 0.5 + 0.5) / 3)  # positions 9, 11 and 13
    assert summary["ood_accuracy"] == 0.5
