"""Training a population to its end: epochs, validation, checkpoint choice, divergence, and a state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.population import Population, StepResult, batches_per_epoch, total_steps
from models.spec import MemberSpec, Selection

Metrics = Mapping[str, float | None]
Validate = Callable[[Population], Sequence[Mapping[str, Metrics]]]
"""Measures every member under its test encodings: for each member label -> loss, id_accuracy, ood_accuracy."""

DIVERGED_TIMES_CHANCE = 10.0
"""An epoch whose mean loss exceeds this many times the loss of a uniform guess counts as diverged."""


@dataclass
class Best:
    """The checkpoint chosen so far for one test encoding."""

    epoch: int
    score: float
    params: dict[str, Tensor]


@dataclass
class Progress:
    """What a member has to show so far. `seconds` is its share of the population's wall time."""

    spec: MemberSpec
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)
    diverged_at: dict[str, Any] | None = None
    seconds: float = 0.0


class Watcher:
    """Hooks of a training; the base class watches nothing."""

    def stepped(self, steps: int, result: StepResult) -> None:
        """After every step: steps done, and what the step found. Reading its numbers makes a GPU's queue run dry."""

    def validated(self, member: Progress) -> None:
        """A new row at the end of the member's history."""

    def diverged(self, member: Progress) -> None:
        """The member has left the population; `diverged_at` says when and why."""

    def stop(self) -> bool:
        """True: end after this step, resumably."""
        return False


class Trainer:
    """Drives one population. `progress[i]` belongs to `population.members[i]`; diverged members move to `lost`."""

    _first_bad: Tensor

    def __init__(self, population: Population, validate: Validate, watcher: Watcher) -> None:
        self.population, self.validate, self.watcher = population, validate, watcher
        self.progress = [Progress(spec) for spec in population.members]
        self.lost: list[Progress] = []
        self.per_epoch = batches_per_epoch(population.members[0].data.train_size, population.optim.batch_size)
        self.total = total_steps(population.members[0])
        self._reset_sums()

    @property
    def finished(self) -> bool:
        return not self.progress or self.population.steps >= self.total

    def run(self) -> None:
        """Train until the end, until no member is left, or until the watcher says stop."""
        clock = time.perf_counter()
        while not self.finished:
            epoch, index = divmod(self.population.steps, self.per_epoch)
            tokens = self.population.batch(epoch, index)
            result = self.population.step(tokens)
            self._loss += result.loss.double() * tokens.shape[1]
            self._right += result.accuracy.double() * tokens.shape[1]
            bad = ~result.loss.isfinite() & (self._first_bad == 0)
            self._first_bad = torch.where(bad, self.population.steps, self._first_bad)
            self.watcher.stepped(self.population.steps, result)
            now = time.perf_counter()
            for member in self.progress:
                member.seconds += (now - clock) / len(self.progress)
            clock = now
            if index == self.per_epoch - 1:
                self._end_epoch(epoch + 1)
            if self.watcher.stop():
                return

    def state(self, index: int) -> dict[str, Any]:
        """Everything member `index` needs to go on, as plain containers and tensors (torch.save, weights_only)."""
        member = self.progress[index]
        return {
            **self.population.state(index),
            "history": member.history,
            "best": {k: {"epoch": b.epoch, "score": b.score, "params": b.params} for k, b in member.best.items()},
            "seconds": member.seconds,
            "loss_sum": self._loss[index].item(),
            "right_sum": self._right[index].item(),
            "first_bad": int(self._first_bad[index].item()),
        }

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from saved states, one for each member, all of the same step."""
        self.population.load([dict(s) for s in states])
        for member, state in zip(self.progress, states, strict=True):
            member.history = list(state["history"])
            member.best = {k: Best(**b) for k, b in state["best"].items()}
            member.seconds = state["seconds"]
        self._reset_sums()
        for i, state in enumerate(states):
            self._loss[i], self._right[i] = state["loss_sum"], state["right_sum"]
            self._first_bad[i] = state["first_bad"]

    def _reset_sums(self) -> None:
        size, device = len(self.progress), self.population.device
        self._loss = torch.zeros(size, dtype=torch.float64, device=device)
        self._right = torch.zeros(size, dtype=torch.float64, device=device)
        self._first_bad = torch.zeros(size, dtype=torch.int64, device=device)

    def _end_epoch(self, epoch: int) -> None:
        sequences = self.progress[0].spec.data.train_size
        losses, right = (self._loss / sequences).tolist(), (self._right / sequences).tolist()
        first_bad = self._first_bad.tolist()
        self._reset_sums()
        healthy = []
        for i, member in enumerate(self.progress):
            limit = DIVERGED_TIMES_CHANCE * math.log(member.spec.task.modulus)
            if math.isfinite(losses[i]) and losses[i] <= limit:
                healthy.append(i)
                continue
            finite = math.isfinite(losses[i])
            reason = f"the loss {losses[i]:.1f} is above {limit:.1f}" if finite else "the loss is not finite"
            member.diverged_at = {"epoch": epoch, "step": first_bad[i] or self.population.steps, "reason": reason}
            self.lost.append(member)
            self.watcher.diverged(member)
        if len(healthy) < len(self.progress):
            self.population.keep(healthy)
            self.progress = [self.progress[i] for i in healthy]
            losses, right = [losses[i] for i in healthy], [right[i] for i in healthy]
            self._reset_sums()
        optim = self.population.optim
        if self.progress and (epoch % optim.validate_every == 0 or epoch == optim.epochs):
            self._validate(epoch, losses, right)

    def _validate(self, epoch: int, losses: Sequence[float], right: Sequence[float]) -> None:
        lr = self.population.optimizer.param_groups[0]["lr"]
        for i, (member, found) in enumerate(zip(self.progress, self.validate(self.population), strict=True)):
            member.history.append(
                {
                    "epoch": epoch,
                    "step": self.population.steps,
                    "train_loss": losses[i],
                    "train_accuracy": right[i],
                    "lr": float(lr),
                    "validation": {label: dict(metrics) for label, metrics in found.items()},
                }
            )
            for label, metrics in found.items():
                score = selection_score(member.spec.selection, epoch, metrics)
                if label not in member.best or score > member.best[label].score:
                    member.best[label] = Best(epoch, score, self._weights(i))
            self.watcher.validated(member)

    def _weights(self, member: int) -> dict[str, Tensor]:
        return {name: weight[member].detach().to("cpu", copy=True) for name, weight in self.population.params.items()}


def selection_score(selection: Selection, epoch: int, metrics: Metrics) -> float:
    """What the chosen checkpoint maximises (ledger row 14); the first of equal ones wins. -inf without a number."""
    if selection is Selection.last:
        return float(epoch)
    value = metrics["id_accuracy"] if selection is Selection.first_best_id else metrics["loss"]
    if value is None:
        return -math.inf
    return value if selection is Selection.first_best_id else -value
