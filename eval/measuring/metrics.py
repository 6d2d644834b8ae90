"""Accuracy and loss of trained members at every position, and their summaries (ID, OOD) as the paper counts them.

A job is (member's weights, test encoding, sequences); jobs of one shape are measured side by side. Every summary is
derived from the per-position arrays: all sequences have the same length, so the mean over positions is the micro mean.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.encodings import Encoding, PositionInputs
from models.fusing import fused
from models.memory import ran_out, release
from models.population import model_inputs
from models.positions import measured_positions
from models.precision import allowed
from models.spec import AccuracyMode, ModelSpec
from models.transformer import Cache, forward
from models.workers import parallel
from posgen.spec import Task


class Budget:
    """How many tokens one forward pass takes: on a CPU its activations stay near the cache, on a GPU they fill it.
    Where memory runs out the passes are made smaller, for all threads of the process."""

    def __init__(self) -> None:
        self._tokens = {"cpu": 8_192, "cuda": 524_288}
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
    """For one job: the share of right tokens and the mean loss (nats) at each position [L']; seed tokens are NaN.

    Free-running scores have no loss (NaN throughout): after a wrong token the true one is no longer what the model saw.
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


def _mean(values: np.ndarray) -> float | None:
    """None when there is no position, or a number that is not finite: a record holds null, never a made-up value."""
    return float(values.mean()) if values.size and np.isfinite(values).all() else None


@dataclass(frozen=True)
class Job:
    """One measurement: which slice of the weights, under which encoding, on which sequences, integer [N, L']."""

    member: int
    encoding: Encoding
    tokens: Tensor


def measure(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    task: Task,
    jobs: Sequence[Job],
    mode: AccuracyMode = AccuracyMode.teacher_forced,
    compiled: bool = False,
) -> list[Scores]:
    """Scores of every job, in order. All jobs must have as many sequences of the same length. An encoding that trains
    weights is measured with those of its own member, so the member must have been trained with it.

    `params` is a population's [P, ...]; `task` gives the vocabulary and the length of the seed, which all jobs share.
    `compiled`: torch.compile fuses the teacher-forced pass (it pays on a GPU, where many passes have one shape).
    """
    device = params["embedding"].device
    while True:
        size = BUDGET.tokens(device)
        try:
            with allowed(model.precision, device):
                return _measure(params, model, task, jobs, mode, size, compiled)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or size <= jobs[0].tokens.shape[1]:
                raise
        BUDGET.halve(device, size)
        release(device)


def _measure(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    task: Task,
    jobs: Sequence[Job],
    mode: AccuracyMode,
    budget: int,
    compiled: bool,
) -> list[Scores]:
    """With passes of at most `budget` tokens."""
    device = params["embedding"].device
    rows, length = jobs[0].tokens.shape
    bos, shift = (task.bos if model.bos else None), int(model.bos)
    sequences = max(1, min(rows, budget // length))
    at_once = max(1, budget // (sequences * length))
    if mode is AccuracyMode.free_running:
        score = _free_running
    else:
        score = fused(_teacher_forced) if compiled else _teacher_forced

    @torch.no_grad()  # within: the setting belongs to a thread
    def run(part: Sequence[Job]) -> list[Scores]:
        members = torch.tensor([job.member for job in part], device=device)
        weights = {name: weight.detach()[members] for name, weight in params.items()}
        encodings = [job.encoding for job in part]
        positions = measured_positions(encodings, weights, model, length + shift, length - 1 + shift, device)
        right = torch.zeros(len(part), length, dtype=torch.float64)
        loss = torch.zeros(len(part), length, dtype=torch.float64)
        for n in range(0, rows, sequences):
            tokens = torch.stack([job.tokens[n : n + sequences] for job in part]).to(device).long()
            hits, nats = score(weights, model, tokens, task.prefix_length, bos, positions)
            right += hits.double().cpu()
            loss += nats.double().cpu()
        right, loss = right / rows, loss / rows
        if mode is AccuracyMode.teacher_forced:
            right[~loss.isfinite()] = float("nan")  # the largest of logits that are no numbers says nothing
        right[:, : task.prefix_length] = loss[:, : task.prefix_length] = float("nan")
        return [Scores(r.numpy(), n.numpy()) for r, n in zip(right, loss, strict=True)]

    alike: dict[str, list[int]] = {}
    for i, job in enumerate(jobs):
        alike.setdefault(job.encoding.structure(), []).append(i)
    parts = [places[i : i + at_once] for places in alike.values() for i in range(0, len(places), at_once)]
    scored = parallel(lambda part: run([jobs[i] for i in part]), parts, device)
    found = dict(zip((i for part in parts for i in part), (s for scores in scored for s in scores), strict=True))
    return [found[i] for i in range(len(jobs))]


def _teacher_forced(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    tokens: Tensor,
    prefix: int,
    bos: int | None,
    positions: PositionInputs,
) -> tuple[Tensor, Tensor]:
    """Right answers and losses [J, L'] summed over sequences, each token predicted after the true ones."""
    shift = int(bos is not None)
    logits = forward(params, model, model_inputs(tokens, bos), positions)[:, :, prefix - 1 + shift :]
    targets = tokens[:, :, prefix:]
    nats = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(targets.shape).sum(1)
    hits = (logits.argmax(-1) == targets).sum(1)
    return F.pad(hits, (prefix, 0)), F.pad(nats, (prefix, 0))


def _free_running(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    tokens: Tensor,
    prefix: int,
    bos: int | None,
    positions: PositionInputs,
) -> tuple[Tensor, Tensor]:
    """Right tokens [J, L'] summed over sequences when the model continues the seed greedily on its own."""
    cache, seen = Cache(), model_inputs(tokens, bos)[:, :, : prefix + int(bos is not None)]
    hits = torch.zeros(tokens.shape[0], tokens.shape[2], device=tokens.device)
    for position in range(prefix, tokens.shape[2]):
        now = slice(cache.length, cache.length + seen.shape[2])
        logits = forward(params, model, seen, positions.rows(now), cache=cache)
        seen = logits[:, :, -1:].argmax(-1)
        hits[:, position] = (seen[:, :, 0] == tokens[:, :, position]).sum(1)
    return hits, torch.full_like(hits, float("nan"))
