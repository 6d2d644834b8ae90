"""Training a population to its end: epochs, validation, checkpoint choice, divergence, and a state to resume from."""

from __future__ import annotations

import functools
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
    """A member's results so far. `slot` is the place of its weights in the population, which several members may
    share; `seconds` is its part of the population's wall time."""

    spec: MemberSpec
    slot: int
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)
    diverged_at: dict[str, Any] | None = None
    seconds: float = 0.0


@dataclass
class EpochSums:
    """Sums over the sequences of the running epoch, one entry a slot [P]. They stay on the device: reading them every
    step would make a GPU wait for the CPU. `first_bad`: the first step whose loss was not finite, 0 for none."""

    loss: Tensor
    correct: Tensor
    first_bad: Tensor

    @classmethod
    def none(cls, population: Population) -> EpochSums:
        """Those of an epoch that has not begun."""
        size, device = len(population), population.device
        # float64: an epoch adds thousands of float32 values, and a resumed epoch must end in the same sum.
        zero = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(zero, zero.clone(), torch.zeros(size, dtype=torch.int64, device=device))

    def add(self, result: StepResult, sequences: int, step: int) -> None:
        """Add a step on this many sequences a member; `step` counts from 1."""
        self.loss += result.loss.double() * sequences
        self.correct += result.accuracy.double() * sequences
        bad = ~result.loss.isfinite() & (self.first_bad == 0)
        self.first_bad = torch.where(bad, step, self.first_bad)


Validate = Callable[[Population, Sequence[Progress]], Sequence[Mapping[str, Metrics]]]
"""Measures every member under its test encodings: for each member label -> loss, id_accuracy, ood_accuracy."""


class Watcher:
    """Hooks of a training; the base class watches nothing."""

    def stepped(self, steps: int, result: StepResult) -> None:
        """After every step: the number of steps done, and the step's result. Reading its numbers waits for the GPU."""

    def validated(self, member: Progress) -> None:
        """A new row at the end of the member's history."""

    def diverged(self, member: Progress) -> None:
        """The member leaves the population; `diverged_at` says when and why."""

    def stop(self) -> bool:
        """True: end after this step, resumably."""
        return False


class Trainer:
    """Drives one population. `progress` has an entry for every member that it serves; diverged ones move to `lost`."""

    def __init__(
        self, population: Population, validate: Validate, watcher: Watcher, served: Sequence[MemberSpec] | None = None
    ) -> None:
        """`served`: the members to report on. Several may share a trajectory, which is trained once (KeyError for one
        that the population does not train). Without it: the population's own members."""
        self.population, self.validate, self.watcher = population, validate, watcher
        if served:
            slots = {spec.trajectory: slot for slot, spec in enumerate(population.members)}
            self.progress = [Progress(spec, slots[spec.trajectory]) for spec in served]
        else:
            self.progress = [Progress(spec, slot) for slot, spec in enumerate(population.members)]
        self.lost: list[Progress] = []
        self.per_epoch = batches_per_epoch(population.members[0].data.train_size, population.optim.batch_size)
        self.total = total_steps(population.members[0])
        self._sums = EpochSums.none(population)

    @property
    def finished(self) -> bool:
        return not self.progress or self.population.steps >= self.total

    def run(self) -> None:
        """Train until the end, until no member is left, or until the watcher says stop."""
        clock = time.perf_counter()
        while not self.finished:
            # From the count of steps alone, so that a resumed training goes on in the middle of an epoch.
            epoch, index = divmod(self.population.steps, self.per_epoch)
            tokens = self.population.batch(epoch, index)
            result = self.population.step(tokens, self.population.batches.answers(epoch, index))
            self._sums.add(result, tokens.shape[1], self.population.steps)
            self.watcher.stepped(self.population.steps, result)
            # Measurements at the end of an epoch fall into the next step's time. A step is divided evenly among
            # members.
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
        slot = member.slot
        return {
            **self.population.state(slot),
            "history": member.history,
            "best": {k: {"epoch": b.epoch, "score": b.score, "params": b.params} for k, b in member.best.items()},
            "seconds": member.seconds,
            "loss_sum": self._sums.loss[slot].item(),
            "right_sum": self._sums.correct[slot].item(),
            "first_bad": int(self._sums.first_bad[slot].item()),
        }

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from saved states, one for each member, all of the same step."""
        trained = {member.slot: dict(state) for member, state in zip(self.progress, states, strict=True)}
        self.population.load([trained[slot] for slot in range(len(self.population))])
        for member, state in zip(self.progress, states, strict=True):
            member.history = list(state["history"])
            member.best = {k: Best(**b) for k, b in state["best"].items()}
            member.seconds = state["seconds"]
        self._sums = EpochSums.none(self.population)
        for slot, state in trained.items():
            self._sums.loss[slot], self._sums.correct[slot] = state["loss_sum"], state["right_sum"]
            self._sums.first_bad[slot] = state["first_bad"]

    def _end_epoch(self, epoch: int) -> None:
        sequences = self.progress[0].spec.data.train_size
        losses, accuracies = (self._sums.loss / sequences).tolist(), (self._sums.correct / sequences).tolist()
        first_bad = self._sums.first_bad.tolist()
        self._sums = EpochSums.none(self.population)
        healthy = []
        for member in self.progress:
            reason = divergence(losses[member.slot], member.spec.task.modulus)
            if not reason:
                healthy.append(member)
                continue
            step = first_bad[member.slot] or self.population.steps
            member.diverged_at = {"epoch": epoch, "step": step, "reason": reason}
            self.lost.append(member)
            self.watcher.diverged(member)
        if len(healthy) < len(self.progress):
            # Without the lost ones the weights move up in the population, and slots are numbered anew.
            kept = sorted({member.slot for member in healthy})
            self.population.keep(kept)
            self.progress = healthy
            for member in healthy:
                member.slot = kept.index(member.slot)
            losses, accuracies = [losses[slot] for slot in kept], [accuracies[slot] for slot in kept]
            self._sums = EpochSums.none(self.population)  # one entry for each member that is left
        optim = self.population.optim
        if self.progress and (epoch % optim.validate_every == 0 or epoch == optim.epochs):
            self._validate(epoch, losses, accuracies)

    def _validate(self, epoch: int, losses: Sequence[float], accuracies: Sequence[float]) -> None:
        lr = self.population.optimizer.param_groups[0]["lr"]
        weights = functools.cache(self._weights)  # one copy for all who share a slot
        for member, measured in zip(self.progress, self.validate(self.population, self.progress), strict=True):
            member.history.append(
                {
                    "epoch": epoch,
                    "step": self.population.steps,
                    "train_loss": losses[member.slot],
                    "train_accuracy": accuracies[member.slot],
                    "lr": float(lr),
                    "validation": {label: dict(metrics) for label, metrics in measured.items()},
                }
            )
            for label, metrics in measured.items():
                score = selection_score(member.spec.selection, epoch, metrics)
                # Strictly better: among equal scores the first epoch is kept.
                if label not in member.best or score > member.best[label].score:
                    member.best[label] = Best(epoch, score, weights(member.slot))
            self.watcher.validated(member)

    def _weights(self, slot: int) -> dict[str, Tensor]:
        return {name: weight[slot].detach().to("cpu", copy=True) for name, weight in self.population.params.items()}


def divergence(loss: float, modulus: int) -> str:
    """Why an epoch of this mean loss (nats) counts as diverged; empty if it does not."""
    if not math.isfinite(loss):
        return "the loss is not finite"
    limit = DIVERGED_TIMES_CHANCE * math.log(modulus)  # a uniform guess among m tokens costs ln m
    return f"the loss {loss:.1f} is above {limit:.1f}" if loss > limit else ""


def selection_score(selection: Selection, epoch: int, metrics: Metrics) -> float:
    """What the chosen checkpoint maximises (ledger row 14); the first of equal ones wins. -inf without a number."""
    if selection is Selection.last:
        return float(epoch)
    value = metrics[_SELECTED[selection]]
    if value is None:
        return -math.inf
    return value if selection is Selection.first_best_id else -value


_SELECTED = {
    Selection.first_best_id: "id_accuracy",
    Selection.best_loss: "loss",
    Selection.best_id_loss: "id_loss",
}
