"""How long a training step takes, compared with other implementations that are timed alternately in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.bench_products import Reach, wait
from models.encodings import Rotary, build
from models.memory import Peak, free_bytes, release, resident_bytes, smaller, step_bytes
from models.plain import Layer, PlainDecoder, PlainTraining
from models.population import Population
from models.precision import allowed
from models.spec import MemberSpec, Precision
from models.streams import stream
from models.transformer import model_inputs
from posgen.errors import BadValue
from posgen.resources import dominant, size

LARGE = 1e11
"""Above this many operations in a member's step, two members of the plain implementation are timed instead of four."""


@dataclass(frozen=True)
class StepTimes:
    """Median seconds for one step of all members.

    `together`: as one population; `plain`: by the plain implementation; `one_by_one`: as populations of one, one after
    another (None for a single member); `products`: the step's matrix products alone, with the best kernel for each.
    `tokens` is the number in a step of all members, `peak` bytes of memory (None: not known).
    """

    together: float
    plain: float
    one_by_one: float | None
    products: float
    tokens: int
    peak: int | None

    @property
    def speed_up(self) -> float:
        """Speed-up of the population over the plain implementation, which trains member by member in fp32."""
        return self.plain / self.together

    @property
    def over_one_by_one(self) -> float | None:
        """Speed-up of one population over populations of one."""
        return self.one_by_one / self.together if self.one_by_one else None

    @property
    def utilisation(self) -> float:
        """Operations per second of the step, as a fraction of what the best kernels reach on its products: both do the
        same operations, so the ratio of the rates is that of the times."""
        return self.products / self.together

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of training, all members together."""
        return self.tokens / self.together


def check_memory(spec: MemberSpec, members: int, device: str) -> None:
    """Raise BadValue, with the numbers, where so many members cannot be timed for want of memory: they stand in it as
    one population and once more one by one, beside some of the plain implementation."""

    def needed(one: MemberSpec) -> int:
        copies = members * (2 if members > 1 else 1) + min(members, 4)
        return copies * resident_bytes(one) + 2 * step_bytes(one)

    place = torch.device(device)
    free = free_bytes(place)
    if free is None or needed(spec) <= free:
        return
    alone = 2 * resident_bytes(spec) + 2 * step_bytes(spec)
    key, value = dominant(needed, smaller(spec)) if alone > free else ("population", members)
    several = f"{members} members at a time need" if members > 1 else "a training needs"
    remedy = f"{several} about {size(needed(spec))} of memory and {size(free)} are free: use a smaller value"
    raise BadValue(key, value, remedy)


def step_times(
    specs: Sequence[MemberSpec], rounds: int, device: str, compiled: bool, ticked: Callable[[], None]
) -> StepTimes:
    """Time a step of members of one shape on random tokens, `rounds` times after a warm-up round. `ticked` is called
    after each of these 1 + `rounds`."""
    release(torch.device(device))  # so that the peak does not count memory of earlier work
    with Peak(torch.device(device)) as peak:
        whole = probe(specs, device, compiled)
        tokens = whole.batch(0, 0)
        whole.step(tokens)
        wait(device)
    singles = [probe([spec], device, compiled) for spec in specs] if len(specs) > 1 else []
    reach = Reach(whole)
    few = min(len(specs), 2 if reach.operations / len(specs) > LARGE else 4)
    plain = [plain_training(whole, member) for member in range(few)]
    inputs, targets = plain_batch(whole, tokens[0])

    def one_by_one() -> None:
        for member, single in enumerate(singles):
            single.step(tokens[member : member + 1])

    def plainly() -> None:
        with allowed(Precision.fp32, whole.device):
            for training in plain:
                training.step(inputs, targets)

    works: dict[str, Callable[[], object]] = {"together": lambda: whole.step(tokens), "plain": plainly}
    if singles:
        works["one_by_one"] = one_by_one
    seconds_of: dict[str, list[float]] = {name: [] for name in works}
    # In turn within each round: a change of the machine's speed hits all of them alike.
    for round_ in range(rounds + 1):
        for name, work in works.items():
            wait(device)
            before = time.perf_counter()
            work()
            wait(device)
            if round_:  # not the warm-up
                seconds_of[name].append(time.perf_counter() - before)
        reach.time(counted=round_ > 0)
        ticked()
    times = {name: statistics.median(seconds) for name, seconds in seconds_of.items()}
    return StepTimes(
        together=times["together"],
        plain=times["plain"] * len(specs) / few,
        one_by_one=times.get("one_by_one"),
        products=reach.seconds,
        tokens=len(specs) * specs[0].optim.batch_size * specs[0].data.train_length,
        peak=peak.bytes,
    )


def probe(specs: Sequence[MemberSpec], device: str = "cpu", compiled: bool = False) -> Population:
    """The members as a population on one batch of random tokens: the steps of a run without its data set."""
    spec = specs[0]
    size = (spec.optim.batch_size, spec.data.train_length)
    tokens = torch.randint(0, spec.task.modulus, size, generator=stream(0, "probe"), dtype=torch.int32)
    short = [replace(s, data=replace(s.data, train_size=spec.optim.batch_size)) for s in specs]
    return Population(short, [tokens] * len(short), device, compiled)


def plain_training(population: Population, member: int) -> PlainTraining:
    """A member of the population in the plain implementation, with the same sizes, weights, dropout probability and
    AdamW, in fp32, on the same device. It rotates by the member's angles (by zero where its encoding does not rotate,
    which takes as long), and leaves out what the encoding gives besides: a bias, windows, gates, an embedding."""
    spec, model = population.members[member], population.model
    decoder = PlainDecoder(
        spec.task.vocabulary, model.layers, model.d_model, model.heads, model.head_dim, model.d_ff, model.dropout
    )
    decoder.take({name: weight[member] for name, weight in population.params.items()})
    for layer in decoder.layers if model.freeze_ffn else ():
        assert isinstance(layer, Layer)
        for part in (layer.norm2, layer.wi, layer.wo):
            part.requires_grad_(False)
    positions, encoding = population.positions, build(spec.train_encoding, model.head_dim)
    angles = torch.zeros(positions.inputs, model.head_dim // 2)
    if isinstance(encoding, Rotary) and not encoding.polar:
        angles = encoding.angles(encoding.positions(positions.length)[: positions.inputs], positions.length)
    unpredicted = spec.task.prefix_length - (0 if model.bos else 1)
    return PlainTraining(
        decoder.to(population.device), angles.to(population.device), unpredicted, spec.optim.lr, spec.optim.weight_decay
    )


def plain_batch(population: Population, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets [B, T] of a plain step on one member's `tokens` [B, L]: T = L with BOS in front of the inputs,
    else L - 1."""
    bos = population.members[0].task.bos if population.model.bos else None
    inputs = model_inputs(tokens[None], bos)[0]
    return inputs, tokens[:, -inputs.shape[1] :]
