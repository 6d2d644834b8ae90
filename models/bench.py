"""How long a training step takes, always as a ratio of two things timed in turn within one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.population import Population, model_inputs
from models.spec import MemberSpec
from models.streams import stream
from models.workers import parallel


@dataclass(frozen=True)
class StepTimes:
    """Medians in seconds for one step of all members: together, one after another, and their matrix products alone."""

    together: float
    one_by_one: float
    products: float
    tokens: int

    @property
    def over_products(self) -> float:
        """1 would mean that everything beside the matrix products is free."""
        return self.together / self.products

    @property
    def over_one_by_one(self) -> float:
        """Below 1: training the members as one population is faster."""
        return self.together / self.one_by_one


def step_times(specs: Sequence[MemberSpec], rounds: int, ticked: Callable[[], None]) -> StepTimes:
    """Time a step of members of one shape on random tokens, `rounds` times after one that is not counted."""
    whole = probe(specs)
    singles = [probe([spec]) for spec in specs]
    products = matrix_products(whole)

    def together() -> None:
        whole.step(whole.batch(0, 0))

    def one_by_one() -> None:
        for single in singles:
            single.step(single.batch(0, 0))

    found: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for work in (together, one_by_one, products):
            before = time.perf_counter()
            work()
            if round_:
                found.setdefault(work.__name__, []).append(time.perf_counter() - before)
        ticked()
    times = {name: statistics.median(seconds) for name, seconds in found.items()}
    return StepTimes(**times, tokens=len(specs) * specs[0].optim.batch_size * specs[0].data.train_length)


def probe(specs: Sequence[MemberSpec], device: str = "cpu") -> Population:
    """The members as a population on one batch of random tokens: the steps of a training without its data set."""
    spec = specs[0]
    size = (spec.optim.batch_size, spec.data.train_length)
    tokens = torch.randint(0, spec.task.modulus, size, generator=stream(0, "probe"), dtype=torch.int32)
    short = [replace(s, data=replace(s.data, train_size=spec.optim.batch_size)) for s in specs]
    return Population(short, [tokens] * len(short), device)


def matrix_products(population: Population) -> Callable[[], None]:
    """The products of one forward and backward pass, same shapes, chunks and threads, on buffers made beforehand."""
    model, batch = population.model, population.optim.batch_size
    length = model_inputs(population.data[0][None, :batch], 0 if model.bos else None).shape[2]
    inner, vocabulary = model.heads * model.head_dim, population.members[0].task.vocabulary
    layer = [
        (model.d_model, 3 * inner),
        (inner, model.d_model),
        (model.d_model, model.d_ff),
        (model.d_ff, model.d_model),
    ]
    dense = layer * model.layers + [(vocabulary, model.d_model), (model.d_model, vocabulary)]

    def buffers(size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(inputs, weights, outputs) of every product of a chunk; attention's are q k^T and p v."""
        rows, heads = batch * length, size * batch * model.heads
        found = [(_filled(size, rows, i), _filled(size, i, o), _filled(size, rows, o)) for i, o in dict.fromkeys(dense)]
        scores = (
            _filled(heads, length, model.head_dim),
            _filled(heads, model.head_dim, length),
            _filled(heads, length, length),
        )
        return [*(found[list(dict.fromkeys(dense)).index(shape)] for shape in dense), *([scores] * 2 * model.layers)]

    sizes = [len(range(*chunk.indices(len(population)))) for chunk in population.chunks(batch)]
    work = {size: buffers(size) for size in set(sizes)}

    def one(size: int) -> None:
        for inputs, weights, outputs in work[size]:
            torch.bmm(inputs, weights)
            torch.bmm(outputs, weights.transpose(1, 2))  # gradient of the inputs
            torch.bmm(inputs.transpose(1, 2), outputs)  # gradient of the weights

    def products() -> None:
        parallel(one, sizes)

    return products


def _filled(*shape: int) -> Tensor:
    return torch.full(shape, 0.1)
