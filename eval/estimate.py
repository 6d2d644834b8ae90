"""What a sweep will take, before it starts: populations, memory, and time from a few real steps on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from eval.metrics import Job, measure
from eval.plan import PlannedMember
from models.bench import probe
from models.encodings import build
from models.parameters import parameter_count
from models.population import Population, population_key, total_steps
from models.spec import MemberSpec

# Sequences of the probe that times a validation; the time of one grows with their number.
SEQUENCES = 8
STEPS = 2


@dataclass(frozen=True)
class Estimate:
    """One population. `seconds` covers training, validation and test on this machine as it is now; `bytes` what the
    weights, gradients, moments, chosen checkpoints and the activations of a step need."""

    members: int
    weights: int
    steps: int
    bytes: int
    seconds: float


def estimate(plan: Sequence[PlannedMember], device: str, ticked: Callable[[], None] = lambda: None) -> list[Estimate]:
    """The populations of a plan, in the order of a sweep. Runs `STEPS` real steps and a small validation of each."""
    groups: dict[str, list[MemberSpec]] = {}
    for member in plan:
        groups.setdefault(population_key(member.spec), []).append(member.spec)
    found = []
    for specs in groups.values():
        found.append(_population(specs, device))
        ticked()
    return found


def populations(plan: Sequence[PlannedMember]) -> int:
    """How many populations a plan trains."""
    return len({population_key(member.spec) for member in plan})


def _population(specs: Sequence[MemberSpec], device: str) -> Estimate:
    spec, jobs = specs[0], sum(len(s.test_encodings) for s in specs)
    some = specs[: max(1, 2 * torch.get_num_threads())]  # enough to keep every core busy
    population = probe(some, device)
    step = _fastest(lambda: population.step(population.batch(0, 0)), STEPS, device) / len(some)
    sequence = _measuring(population, some, device)
    rounds = -(-spec.optim.epochs // spec.optim.validate_every)
    weights = parameter_count(spec.model, spec.task.vocabulary)
    weights += sum(
        torch.Size(s).numel() for s in build(spec.train_encoding, spec.model.head_dim).shapes(spec.model).values()
    )
    return Estimate(
        members=len(specs),
        weights=weights,
        steps=total_steps(spec),
        bytes=_bytes(population, len(specs), jobs, weights),
        seconds=total_steps(spec) * len(specs) * step
        + jobs * sequence * (rounds * spec.data.validation_size + spec.data.test_size),
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
        _wait(device)
        before = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - before)
    return min(times)


def _wait(device: str) -> None:
    """A GPU computes on while Python goes ahead."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _bytes(population: Population, members: int, jobs: int, weights: int) -> int:
    """Weights, gradients and two moments of every member, a chosen checkpoint a job, and what a step keeps."""
    model, batch = population.model, population.optim.batch_size
    tokens = batch * population.positions.inputs
    inner = model.heads * model.head_dim
    # Kept for the backward pass: five vectors of d_model, q, k and v twice, the hidden layer, and with dropout each
    # mask and the attention probabilities.
    layer = 5 * model.d_model + 6 * inner + model.d_ff
    if model.dropout:
        layer += 3 * model.d_model + 2 * model.d_ff + 2 * model.heads * population.positions.inputs
    largest = max(chunk.stop - chunk.start for chunk in population.chunks(batch))
    at_once = min(members, largest * torch.get_num_threads() if population.device.type == "cpu" else members)
    return 4 * (members * 4 * weights + jobs * weights + at_once * tokens * (model.layers * layer + 4 * model.d_model))
