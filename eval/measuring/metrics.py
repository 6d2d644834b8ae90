"""Accuracy and loss of trained members at every position, and their summaries (ID, OOD) as the paper counts them.

An evaluation is (member's weights, test encoding, sequences); those of one shape run side by side in one forward pass.
Counted is per position, summed over sequences: figures need the positions, and every summary is a mean over a range of
them. All sequences have the same length, so that mean equals the mean over all tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.measuring import passes
from eval.measuring.passes import Ticked
from models.encodings import Encoding
from models.fusing import fused
from models.memory import ran_out, release
from models.positions import measured_positions
from models.precision import allowed
from models.spec import AccuracyMode, ModelSpec
from models.workers import checkpoint, parallel
from posgen.spec import Task


class Budget:
    """How many tokens one forward pass takes: on a CPU its activations stay near the cache, on a GPU they fill it.
    Where memory runs out the passes are made smaller, for all threads of the process."""

    def __init__(self) -> None:
        self._tokens = dict(passes.WHOLE)
        self._lock = threading.Lock()

    def tokens(self, device: torch.device) -> int:
        return self._tokens[device.type]

    def halve(self, device: torch.device, tried: int) -> None:
        """After a pass of `tried` tokens ran out of memory. Threads that run out together halve once: each names what
        it tried."""
        with self._lock:
            self._tokens[device.type] = min(self._tokens[device.type], max(1, tried // 2))


BUDGET = Budget()


@dataclass(frozen=True)
class Scores:
    """Of one evaluation: token accuracy and mean loss (nats) at each position [L'], NaN for the seed tokens, which are
    given and not predicted.

    Free-running scores have no loss (NaN throughout): after a wrong token the model no longer sees the true sequence.
    """

    accuracy: np.ndarray
    loss: np.ndarray

    def summary(self, prefix_length: int, train_length: int) -> dict[str, float | None]:
        """id_* over tokens prefix..L-1 (4..63 in the paper), ood_* over L..L'-1 (64..255), loss over all generated."""
        seen, new = slice(prefix_length, train_length), slice(train_length, None)
        return {
            "id_accuracy": _mean(self.accuracy[seen]),
            "ood_accuracy": _mean(self.accuracy[new]),
            "loss": _mean(self.loss[prefix_length:]),
            "id_loss": _mean(self.loss[seen]),
            "ood_loss": _mean(self.loss[new]),
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
    """What to evaluate: `member` is the slice of the weights, `tokens` are integer sequences [N, L']."""

    member: int
    encoding: Encoding
    tokens: Tensor


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

    `params` is a population's [P, ...]; `task` gives the vocabulary and the length of the seed, which all share.
    `compiled`: torch.compile fuses the teacher-forced pass (it pays on a GPU, where many passes have one shape).
    `ticked`: told as it goes what share of all evaluations was done, from any thread.
    """
    device = params["embedding"].device
    while True:
        size, watched = BUDGET.tokens(device), _Watched(ticked)
        try:
            with allowed(model.precision, device):
                return _measure(params, model, task, evaluations, mode, size, compiled, watched)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or size <= evaluations[0].tokens.shape[1]:
                raise  # one sequence at a time already
        # Outside of `except`: there the traceback would keep the failed pass's tensors alive.
        ticked(-watched.done)  # it is done again
        BUDGET.halve(device, size)
        release(device)


class _Watched:
    """Adds up what is told to `ticked`."""

    def __init__(self, ticked: Ticked) -> None:
        self.ticked, self.done, self._lock = ticked, 0.0, threading.Lock()

    def __call__(self, share: float) -> None:
        with self._lock:
            self.done += share
        self.ticked(share)


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

    @torch.no_grad()  # here, not around `parallel`: the setting belongs to a thread
    def run(part: Sequence[Evaluation]) -> list[Scores]:
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

            if mode is AccuracyMode.free_running:
                hits, nats = passes.free_running(weights, model, tokens, given, bos, positions, told)
            elif passes.in_pieces(device, length, positions.bias is not None, positions.by_pair):
                hits, nats = passes.teacher_forced_in_pieces(weights, model, tokens, given, bos, positions, told)
            else:
                hits, nats = whole(weights, model, tokens, given, bos, positions)
                told(1.0)
            checkpoint()
            correct += hits.double().cpu()
            loss += nats.double().cpu()
        correct, loss = correct / rows, loss / rows
        if mode is AccuracyMode.teacher_forced:
            # The argmax of NaN logits is some token, which may be the right one: no loss, no accuracy either.
            correct[~loss.isfinite()] = float("nan")
        correct[:, : task.prefix_length] = loss[:, : task.prefix_length] = float("nan")
        return [Scores(c.numpy(), n.numpy()) for c, n in zip(correct, loss, strict=True)]

    # Only encodings of one structure stack into one pass (a rotation and an attention bias do not): sort, run, unsort.
    alike: dict[str, list[int]] = {}
    for i, evaluation in enumerate(evaluations):
        alike.setdefault(evaluation.encoding.structure(), []).append(i)
    parts = [indices[i : i + at_once] for indices in alike.values() for i in range(0, len(indices), at_once)]
    scored = parallel(lambda part: run([evaluations[i] for i in part]), parts, device)
    by_index = dict(zip((i for part in parts for i in part), (s for scores in scored for s in scores), strict=True))
    return [by_index[i] for i in range(len(evaluations))]
