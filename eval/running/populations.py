"""Which members of a plan train side by side, which share one training, in how many rounds where memory does not hold
them all; and what a sweep will take, before it starts: memory, and time from a few real steps on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from eval.measuring.metrics import Job, measure
from eval.measuring.planned import PlannedMember
from models import memory
from models.bench import probe, wait
from models.encodings import build
from models.population import Population, population_key, total_steps
from models.spec import MemberSpec

TOGETHER = 16
"""Trainings of a population on a CPU, where more side by side are no faster: several processes can share a sweep."""


def populations(plan: Sequence[PlannedMember], device: str) -> list[list[PlannedMember]]:
    """Members of equal shapes together, in the order of the plan but for those of one trajectory, which stay together;
    a group that exceeds the memory, or on a CPU `TOGETHER`, in equal parts.

    Who trains beside whom changes no number, so the division may differ from machine to machine.
    """
    groups: dict[str, dict[str, list[PlannedMember]]] = {}
    for member in plan:
        group = groups.setdefault(population_key(member.spec), {})
        group.setdefault(member.spec.trajectory, []).append(member)
    found = []
    for group in groups.values():
        shared = list(group.values())
        at_least = -(-len(shared) // TOGETHER) if torch.device(device).type == "cpu" else 1
        parts = memory.divided(len(shared), max(at_least, rounds(shared, device)))
        found += [[member for members in shared[part] for member in members] for part in parts]
    return found


def trained(members: Sequence[MemberSpec]) -> list[MemberSpec]:
    """The first member of each trajectory: what a population trains to serve them all."""
    first: dict[str, MemberSpec] = {}
    for spec in members:
        first.setdefault(spec.trajectory, spec)
    return list(first.values())


def rounds(group: Sequence[Sequence[PlannedMember]], device: str) -> int:
    """Into how many populations a group of equal shapes must be divided: by the device's memory for what a training
    holds throughout (and the step of one), and by the host's for the chosen checkpoints of those that it serves."""
    spec, place = group[0][0].spec, torch.device(device)
    each, kept = memory.resident_bytes(spec), max(sum(memory.checkpoint_bytes(m.spec) for m in ms) for ms in group)
    host = torch.device("cpu")
    if place.type == "cpu":
        return memory.parts(len(group), each + kept, memory.step_bytes(spec), memory.free_bytes(host))
    return max(
        memory.parts(len(group), each, memory.step_bytes(spec), memory.free_bytes(place)),
        memory.parts(len(group), kept, 0, memory.free_bytes(host)),
    )


# Sequences of the probe that times a validation; the time of one grows with their number.
SEQUENCES = 8
STEPS = 2


@dataclass(frozen=True)
class Estimate:
    """One population: `trainings` of them serve `members`. `seconds` covers training, validation and test on this
    machine as it is now; `bytes` what the weights, gradients, moments, chosen checkpoints and the activations of a step
    need; `passes` how many chunks of members a step goes through."""

    members: int
    trainings: int
    weights: int
    steps: int
    passes: int
    bytes: int
    seconds: float


def estimate(
    groups: Sequence[Sequence[PlannedMember]],
    device: str,
    compiled: bool = False,
    ticked: Callable[[], None] = lambda: None,
    until: int | None = None,
) -> list[Estimate]:
    """What each population of `populations` takes, without the time that compiling takes. Runs `STEPS` real steps and a
    small validation of each. `until`: the epoch at which they stop for now."""
    found = []
    for group in groups:
        found.append(_population([member.spec for member in group], device, compiled, until))
        memory.release(torch.device(device))
        ticked()
    return found


def _population(specs: Sequence[MemberSpec], device: str, compiled: bool, until: int | None) -> Estimate:
    spec, leading = specs[0], trained(specs)
    validated = len({(s.trajectory, e.key) for s in specs for e in s.test_encodings})
    tested = sum(len(s.test_encodings) for s in specs)
    # On a CPU enough to keep every core busy; a GPU is filled by what fits.
    enough = 2 * torch.get_num_threads() if device == "cpu" else len(leading)
    some = leading[: max(1, enough)]
    population = probe(some, device, compiled)
    step = _fastest(lambda: population.step(population.batch(0, 0)), STEPS, device) / len(some)
    sequence = _measuring(population, some, device)
    epochs = until or spec.optim.epochs
    steps = total_steps(spec) * epochs // spec.optim.epochs
    rounds = -(-epochs // spec.optim.validate_every)
    chunks = population.chunks()
    largest = max(chunk.stop - chunk.start for chunk in chunks)
    at_once = min(len(leading), largest * (torch.get_num_threads() if device == "cpu" else 1))
    return Estimate(
        members=len(specs),
        trainings=len(leading),
        weights=memory.weight_count(spec),
        steps=steps,
        passes=1 if device == "cpu" else len(chunks),
        bytes=sum(map(memory.resident_bytes, leading))
        + sum(map(memory.checkpoint_bytes, specs))
        + at_once * memory.step_bytes(spec),
        seconds=steps * len(leading) * step
        + sequence * (validated * rounds * spec.data.validation_size + tested * spec.data.test_size),
    )


def _measuring(population: Population, specs: Sequence[MemberSpec], device: str) -> float:
    """Seconds that one sequence of one job takes to measure at the test length."""
    spec = specs[0]
    tokens = torch.zeros(SEQUENCES, spec.data.test_length, dtype=torch.int32)
    jobs = [Job(i, build(s.test_encodings[0], s.model.head_dim), tokens) for i, s in enumerate(specs)]
    seconds = _fastest(lambda: measure(population.params, spec.model, spec.task, jobs), 1, device)
    return seconds / (len(jobs) * SEQUENCES)


def _fastest(work: Callable[[], object], rounds: int, device: str) -> float:
    """Seconds of the fastest round after one that is not counted: what the machine can do when it is left alone."""
    work()
    times = []
    for _ in range(rounds):
        wait(device)
        before = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - before)
    return min(times)
