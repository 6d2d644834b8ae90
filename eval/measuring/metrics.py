"""Accuracy and loss of trained members at every position, and their summaries (ID, OOD) as the paper counts them.

An evaluation is (member's weights, test encoding, sequences); those of one shape run side by side in one forward pass.
Counted is per position, summed over sequences: figures need the positions, and every summary is a mean over a range of
them. All sequences have the same length, so that mean equals the mean over all tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.measuring import passes
from eval.measuring.batches import in_fitting_passes, side_by_side
from eval.measuring.passes import Ticked
from models.encodings import Encoding
from models.fusing import fused
from models.positions import measured_positions
from models.spec import AccuracyMode, ModelSpec
from models.workers import checkpoint
from posgen.answers import scored_positions
from posgen.spec import Answers, Task


@dataclass(frozen=True)
class Scores:
    """Of one evaluation: token accuracy and mean loss (nats) at each position [L'], NaN where the task asks nothing:
    for the seed tokens, which are given, and for fresh tokens between answers.

    Free-running scores have no loss (NaN throughout): after a wrong token the model no longer sees the true sequence.
    """

    accuracy: np.ndarray
    loss: np.ndarray

    def summary(self, task: Task, train_length: int) -> dict[str, float | None]:
        """id_* over answers up to L-1 (4..63 in the paper), ood_* over L..L'-1 (64..255), loss over all of them."""
        asked = scored_positions(task, len(self.accuracy))
        first_new = sum(position < train_length for position in asked)
        accuracy, loss = (values[asked.start :: asked.step] for values in (self.accuracy, self.loss))
        return {
            "id_accuracy": _mean(accuracy[:first_new]),
            "ood_accuracy": _mean(accuracy[first_new:]),
            "loss": _mean(loss),
            "id_loss": _mean(loss[:first_new]),
            "ood_loss": _mean(loss[first_new:]),
        }

    def binned_loss(self, width: int) -> list[float | None]:
        """Mean losses over bins of `width` positions; the first has the predicted ones alone, without the seed tokens
        that NaN stands for. None where one of them is not finite."""
        first = int(np.isnan(self.loss).argmin())
        starts = range(0, len(self.loss), width)
        return [_mean(self.loss[max(start, first) : start + width]) for start in starts]


MOST_BINS = 128


def bin_width(train_length: int, length: int) -> int:
    """The smallest width that divides the training length, so that no bin lies on both sides of it, and makes at most
    `MOST_BINS` of a sequence: 32 for 256 -> 4,096. The training length where that makes more."""
    widths = (width for width in range(1, train_length) if train_length % width == 0)
    return next((width for width in widths if -(-length // width) <= MOST_BINS), train_length)


def _mean(values: np.ndarray) -> float | None:
    """None without positions, or with a value that is not finite: dropping those (nanmean) would flatter the rest."""
    return float(values.mean()) if values.size and np.isfinite(values).all() else None


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate: `member` is the slice of the weights, `tokens` are integer sequences [N, L'], and `answers` the
    labels of a task that has them (posgen.answers.labels), [N, L'] as well."""

    member: int
    encoding: Encoding
    tokens: Tensor
    answers: Tensor | None = None


def measure(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    task: Task,
    evaluations: Sequence[Evaluation],
    mode: AccuracyMode = AccuracyMode.teacher_forced,
    compiled: bool = False,
    ticked: Ticked = passes.nothing,
) -> list[Scores]:
    """Scores of every evaluation, in order. All must have equally many sequences of one length. An encoding that trains
    weights is measured with those of its member, so the member must have been trained with it.

    `params` is a population's [P, ...]; `task` gives the vocabulary and the scored positions, which all share.
    `compiled`: torch.compile fuses the teacher-forced pass (it pays on a GPU, where many passes have one shape).
    `ticked`: told as it goes what share of all evaluations was done, from any thread.
    """

    def work(budget: int, watched: Ticked) -> list[Scores]:
        return _measure(params, model, task, evaluations, mode, budget, compiled, watched)

    device, length = params["embedding"].device, evaluations[0].tokens.shape[1]
    return in_fitting_passes(work, length, model.precision, device, ticked)


def _measure(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    task: Task,
    evaluations: Sequence[Evaluation],
    mode: AccuracyMode,
    budget: int,
    compiled: bool,
    ticked: Ticked,
) -> list[Scores]:
    """With passes of at most `budget` tokens."""
    device = params["embedding"].device
    rows, length = evaluations[0].tokens.shape
    bos, shift = (task.bos if model.bos else None), int(model.bos)
    # First as many sequences of one evaluation as the budget takes; what is left of it takes further evaluations.
    sequences = max(1, min(rows, budget // length))
    at_once = max(1, budget // (sequences * length))
    whole = fused(passes.teacher_forced) if compiled else passes.teacher_forced
    # No answer that nobody reads can lead the model astray: with hidden answers both modes are one.
    running = mode is AccuracyMode.free_running and task.answers is not Answers.hidden
    asked = scored_positions(task, length)

    @torch.no_grad()  # here, not around `parallel`: the setting belongs to a thread
    def run(indices: Sequence[int]) -> list[Scores]:
        part = [evaluations[i] for i in indices]
        members = torch.tensor([evaluation.member for evaluation in part], device=device)
        weights = {name: weight.detach()[members] for name, weight in params.items()}
        encodings = [evaluation.encoding for evaluation in part]
        # The last token is only predicted, never fed: length - 1 inputs, and one more for a BOS in front.
        positions = measured_positions(encodings, weights, model, length + shift, length - 1 + shift, device)
        # Passes are added up in float64: in float32 the sum over thousands of sequences would round.
        correct = torch.zeros(len(part), length, dtype=torch.float64)
        loss = torch.zeros(len(part), length, dtype=torch.float64)
        for n in range(0, rows, sequences):
            tokens = torch.stack([e.tokens[n : n + sequences] for e in part]).to(device).long()
            given, share = task.prefix_length, tokens.shape[0] * tokens.shape[1] / (rows * len(evaluations))

            def told(part_of_pass: float, share: float = share) -> None:
                ticked(share * part_of_pass)

            answers = tokens
            if any(e.answers is not None for e in part):
                own = [e.tokens if e.answers is None else e.answers for e in part]
                answers = torch.stack([a[n : n + sequences] for a in own]).to(device).long()
            if running:
                hits, nats = passes.free_running(weights, model, tokens, answers, given, bos, positions, told)
            elif passes.in_pieces(device, length, positions.bias is not None, positions.by_pair):
                hits, nats = passes.teacher_forced_in_pieces(
                    weights, model, tokens, answers, given, bos, positions, told
                )
            else:
                hits, nats = whole(weights, model, tokens, answers, given, bos, positions)
                told(1.0)
            checkpoint()
            correct += hits.double().cpu()
            loss += nats.double().cpu()
        correct, loss = correct / rows, loss / rows
        if not running:
            # The argmax of NaN logits is some token, which may be the right one: no loss, no accuracy either.
            correct[~loss.isfinite()] = float("nan")
        unasked = torch.ones(length, dtype=torch.bool)
        unasked[asked.start :: asked.step] = False
        correct[:, unasked] = loss[:, unasked] = float("nan")
        return [Scores(c.numpy(), n.numpy()) for c, n in zip(correct, loss, strict=True)]

    return side_by_side(run, [evaluation.encoding.structure() for evaluation in evaluations], at_once, device)
