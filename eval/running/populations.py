"""Which members of a plan train side by side, which share one training, and in how many rounds where memory does not
hold them all; and an estimate before a sweep starts: memory, and time from a few real steps on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from eval.measuring.cost import validations
from eval.measuring.planned import PlannedMember
from eval.running.timing import Basis, Timing, cost_class, timing
from models import memory
from models.population import population_key, total_steps
from models.spec import MemberSpec

TOGETHER = 16
"""Trainings of a population on a CPU, where more side by side are no faster: several processes can share a sweep."""


def populations(plan: Sequence[PlannedMember], device: str, at_most: int | None = None) -> list[list[PlannedMember]]:
    """Members of equal shapes together, in the order of the plan except that those of one training stay together; a
    group that exceeds the memory or `at_most` trainings (on a CPU never more than `TOGETHER`) in equal parts.

    Who trains beside whom changes no number, so the division may differ from machine to machine.
    """
    # Two keys: equal shapes can be stacked into one tensor; equal trajectories are one and the same training, which
    # must not be split over two populations, or it would be trained twice.
    groups: dict[str, dict[str, list[PlannedMember]]] = {}
    for member in plan:
        group = groups.setdefault(population_key(member.spec), {})
        group.setdefault(member.spec.trajectory, []).append(member)
    result = []
    for group in groups.values():
        trainings = list(group.values())
        limit = min(at_most or len(trainings), TOGETHER if torch.device(device).type == "cpu" else len(trainings))
        at_least = -(-len(trainings) // limit)
        # Equal parts: 22 trainings as 11 and 11 need less memory than as 16 and 6, and take as long.
        parts = memory.divided(len(trainings), max(at_least, rounds(trainings, device)))
        result += [[member for members in trainings[part] for member in members] for part in parts]
    return result


def trained(members: Sequence[MemberSpec]) -> list[MemberSpec]:
    """The first member of each training: what a population trains to serve them all."""
    first: dict[str, MemberSpec] = {}
    for spec in members:
        first.setdefault(spec.trajectory, spec)
    return list(first.values())


def rounds(group: Sequence[Sequence[PlannedMember]], device: str) -> int:
    """Into how many populations a group of equal shapes must be divided: by the device's memory for what a training
    holds throughout (and the step of one), and by the host's for the chosen checkpoints of those that it serves."""
    spec, target, host = group[0][0].spec, torch.device(device), torch.device("cpu")
    resident = memory.resident_bytes(spec)  # of every training, for as long as it runs
    kept = max(sum(memory.checkpoint_bytes(m.spec) for m in members) for members in group)
    # The activations of a step count once, not per training: a population goes through its members in chunks that fit.
    # Where the device is on another machine, that machine divides further if it has to.
    if target.type != "cpu" and not torch.cuda.is_available():
        return 1
    if target.type == "cpu":
        return memory.parts(len(group), resident + kept, memory.step_bytes(spec), memory.free_bytes(host))
    return max(
        memory.parts(len(group), resident, memory.step_bytes(spec), memory.free_bytes(target)),
        memory.parts(len(group), kept, 0, memory.free_bytes(host)),
    )


@dataclass(frozen=True)
class Estimate:
    """One population: so many `trainings` serve so many `members`. `seconds`: training, validation and test on this
    machine as it is now; `bytes`: weights, gradients, moments, chosen checkpoints and the activations of a step;
    `passes`: the chunks of members that a step goes through. `basis`: what the seconds come from."""

    members: int
    trainings: int
    weights: int
    steps: int
    passes: int
    bytes: int
    seconds: float
    basis: Basis


def estimate(
    groups: Sequence[Sequence[PlannedMember]],
    device: str,
    compiled: bool = False,
    ticked: Callable[[], None] = lambda: None,
    until: int | None = None,
    timings: dict[str, Timing] | None = None,
) -> list[Estimate]:
    """What each population of `populations` takes, not counting compilation. `until`: the epoch at which they stop for
    now. `timings` are added to, and used again: populations that differ in seeds and rates alone are timed once."""
    timings, estimates = {} if timings is None else timings, []
    for group in groups:
        estimates.append(_population([member.spec for member in group], device, compiled, until, timings))
        ticked()
    return estimates


def _population(
    specs: Sequence[MemberSpec], device: str, compiled: bool, until: int | None, timings: dict[str, Timing]
) -> Estimate:
    spec, leading = specs[0], trained(specs)
    key = cost_class(leading)
    if key not in timings:
        timings[key] = timing(leading, device, compiled)
        memory.release(torch.device(device))
    timed = timings[key]
    validated = len({(s.trajectory, e.key) for s in specs for e in s.test_encodings})
    tested = sum(len(s.test_encodings) for s in specs)
    epochs = until or spec.optim.epochs
    steps = total_steps(spec) * epochs // spec.optim.epochs
    chunk = -(-len(leading) // timed.chunks)
    at_once = min(len(leading), chunk * (torch.get_num_threads() if device == "cpu" else 1))
    return Estimate(
        members=len(specs),
        trainings=len(leading),
        weights=memory.weight_count(spec),
        steps=steps,
        passes=1 if device == "cpu" else timed.chunks,
        bytes=sum(map(memory.resident_bytes, leading))
        + sum(map(memory.checkpoint_bytes, specs))
        + at_once * memory.step_bytes(spec),
        seconds=steps * len(leading) * timed.step
        + timed.sequence
        * (validated * validations(spec, until) * spec.data.validation_size + tested * spec.data.test_size),
        basis=timed.basis,
    )
