"""How long a training step takes, always as a ratio of things timed in turn within one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.memory import Peak
from models.population import Population, model_inputs
from models.precision import allowed, product
from models.spec import MemberSpec, ModelSpec, Precision
from models.streams import stream
from models.workers import parallel


@dataclass(frozen=True)
class StepTimes:
    """Medians in seconds for one step of all members: together, one after another (None for one member), and their
    matrix products alone. `operations` are floating-point operations of those products, `rate` the operations a second
    that the device reached on large square matrices in the same run, `peak` bytes of memory (None: not known)."""

    together: float
    one_by_one: float | None
    products: float
    tokens: int
    operations: int
    rate: float
    peak: int | None

    @property
    def over_products(self) -> float:
        """1 would mean that everything beside the matrix products is free."""
        return self.together / self.products

    @property
    def over_one_by_one(self) -> float | None:
        """Below 1: training the members as one population is faster."""
        return self.together / self.one_by_one if self.one_by_one else None

    @property
    def of_rate(self) -> float:
        """The share of the device's rate on large matrices that the step makes use of."""
        return self.operations / self.together / self.rate


def step_times(
    specs: Sequence[MemberSpec], rounds: int, device: str, compiled: bool, ticked: Callable[[], None]
) -> StepTimes:
    """Time a step of members of one shape on random tokens, `rounds` times after one that is not counted."""
    with Peak(torch.device(device)) as peak:
        whole = probe(specs, device, compiled)
        tokens = whole.batch(0, 0)
        whole.step(tokens)
        wait(device)
    singles = [probe([spec], device, compiled) for spec in specs] if len(specs) > 1 else []
    alone, operations = matrix_products(whole)
    works: dict[str, Callable[[], object]] = {
        "together": lambda: whole.step(tokens),
        "products": alone,
        "square": _square(device, whole.model.precision),
    }
    if singles:
        works["one_by_one"] = lambda: [single.step(single.batch(0, 0)) for single in singles]
    found: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for name, work in works.items():
            wait(device)
            before = time.perf_counter()
            work()
            wait(device)
            if round_:
                found.setdefault(name, []).append(time.perf_counter() - before)
        ticked()
    times = {name: statistics.median(seconds) for name, seconds in found.items()}
    return StepTimes(
        together=times["together"],
        one_by_one=times.get("one_by_one"),
        products=times["products"],
        tokens=len(specs) * specs[0].optim.batch_size * specs[0].data.train_length,
        operations=operations,
        rate=2 * SIDE[torch.device(device).type] ** 3 / times["square"],
        peak=peak.bytes,
    )


def probe(specs: Sequence[MemberSpec], device: str = "cpu", compiled: bool = False) -> Population:
    """The members as a population on one batch of random tokens: the steps of a training without its data set."""
    spec = specs[0]
    size = (spec.optim.batch_size, spec.data.train_length)
    tokens = torch.randint(0, spec.task.modulus, size, generator=stream(0, "probe"), dtype=torch.int32)
    short = [replace(s, data=replace(s.data, train_size=spec.optim.batch_size)) for s in specs]
    return Population(short, [tokens] * len(short), device, compiled)


def matrix_products(population: Population) -> tuple[Callable[[], None], int]:
    """The products of one forward and backward pass, same shapes, chunks, threads and precision, on buffers made
    beforehand; and their floating-point operations (two for each multiplication with its addition)."""
    model, batch = population.model, population.optim.batch_size
    tokens = population.data[:1, :batch].to(torch.int64)
    length = model_inputs(tokens, 0 if model.bos else None).shape[2]
    sizes = [chunk.stop - chunk.start for chunk in population.chunks()]
    shapes = _shapes(model, batch, length, population.members[0].task.vocabulary)
    precision, device = model.precision, population.device
    work = {
        size: [_buffers(size * n, rows, i, o, precision, device) for n, rows, i, o in shapes] for size in set(sizes)
    }

    def one(size: int) -> None:
        for inputs, weights, outputs in work[size]:
            product(inputs, weights, precision)
            product(outputs, weights.transpose(1, 2), precision)  # gradient of the inputs
            product(inputs.transpose(1, 2), outputs, precision)  # gradient of the weights

    def products() -> None:
        with allowed(precision, device):
            parallel(one, sizes, device)

    return products, sum(6 * len(population) * n * rows * i * o for n, rows, i, o in shapes)


def _shapes(model: ModelSpec, batch: int, length: int, vocabulary: int) -> list[tuple[int, int, int, int]]:
    """(how many, rows, inputs, outputs) of every product of a member's forward pass; attention's are q k^T and p v."""
    inner, rows, heads = model.heads * model.head_dim, batch * length, batch * model.heads
    layer = [
        (1, rows, model.d_model, 3 * inner),
        (heads, length, model.head_dim, length),
        (heads, length, length, model.head_dim),
        (1, rows, inner, model.d_model),
        (1, rows, model.d_model, model.d_ff),
        (1, rows, model.d_ff, model.d_model),
    ]
    return [*layer * model.layers, (1, rows, vocabulary, model.d_model), (1, rows, model.d_model, vocabulary)]


def _buffers(
    count: int, rows: int, i: int, o: int, precision: Precision, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """(inputs, weights, outputs), in the type that the products take."""
    inputs, weights, outputs = (_random(count, *side, precision, device) for side in ((rows, i), (i, o), (rows, o)))
    return inputs, weights, outputs


def _random(count: int, rows: int, columns: int, precision: Precision, device: torch.device) -> Tensor:
    """Not a constant, on which a GPU draws less power and runs faster than it would."""
    filled = torch.randn(count, rows, columns, device=device)
    return filled.to(torch.bfloat16) if precision is Precision.bf16 else filled


SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product shows what a device can do."""


def _square(device: str, precision: Precision) -> Callable[[], object]:
    place = torch.device(device)
    a = _random(1, SIDE[place.type], SIDE[place.type], precision, place)

    def work() -> None:
        with allowed(precision, place):
            torch.bmm(a, a)

    return work


def wait(device: str) -> None:
    """A GPU computes on while Python goes ahead."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
