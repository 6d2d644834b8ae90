"""What a training step and a measured sequence take on this machine: from a few real ones, or, where even these would
take too long or do not fit, from their operations and the rate of one large matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from eval.measuring.cost import as_tested, pass_bytes, pass_operations, read_in_pieces
from eval.measuring.member import Data, scores_of
from eval.measuring.metrics import Evaluation, measure
from eval.measuring.passes import WHOLE, pieces
from models import memory
from models.attention import Cache
from models.bench import probe, wait
from models.bench_products import rate, step_operations
from models.encodings import build
from models.population import Population
from models.positions import measured_positions
from models.precision import allowed
from models.spec import AccuracyMode, EncodingSpec, MemberSpec
from models.transformer import forward
from posgen.plain import digest, plain

SEQUENCES = 8
"""Of the probe that times a validation, whose time is proportional to their number."""
STEPS = 2
"""Timed training steps; the faster one counts."""
PATIENCE = 5.0
"""Seconds that a probe may take by its operations: what is really timed takes a few times as long."""
SHORTEST = 1_024
"""Tokens up to which a sequence is timed as it is; a longer one may be timed on a shorter one."""


class Basis(Enum):
    """What a time comes from."""

    steps = "a few steps"
    shorter = "a few steps and parts of test sequences"
    operations = "operations"


@dataclass(frozen=True)
class Timing:
    """Seconds of a step and of a measured sequence, of one member each; `chunks`: how many a step of all goes through.
    Where they come from operations they are lower limits."""

    step: float
    sequence: float
    chunks: int
    basis: Basis


@dataclass(frozen=True)
class Measuring:
    """A member to be measured again: under an encoding, on so many sequences of a length in tokens."""

    spec: MemberSpec
    encoding: EncodingSpec
    length: int
    sequences: int
    mode: AccuracyMode

    @property
    def operations(self) -> int:
        """Floating-point operations of all sequences."""
        return self.sequences * pass_operations(self.spec, self.length)


QUICK_OPERATIONS, QUICK_POSITIONS = 1e12, 100_000
"""Operations, and positions that are generated one by one, that take a minute or so: no estimate comes before them."""


def takes_long(wanted: Sequence[Measuring]) -> bool:
    """Whether these measurements are worth an estimate."""
    free = [one for one in wanted if one.mode is AccuracyMode.free_running]
    positions = sum(one.length * -(-one.sequences // max(1, WHOLE["cpu"] // one.length)) for one in free)
    return sum(one.operations for one in wanted) >= QUICK_OPERATIONS or positions >= QUICK_POSITIONS


def seconds_a_sequence(one: Measuring, weights: Mapping[str, Tensor], data: Data, device: str) -> float:
    """What a sequence of this measurement takes, from parts of one or from shorter ones. `weights` have no member
    axis."""
    spec, place = as_tested(one.spec), torch.device(device)
    batch = max(1, min(one.sequences, WHOLE["cpu"] // one.length))
    if one.mode is AccuracyMode.free_running:
        return read_on(weights, spec, one.encoding, one.length, 1, device) / batch
    if read_in_pieces(build(one.encoding, spec.model.head_dim), place, one.length):
        return read_on(weights, spec, one.encoding, one.length, piece_of(one.length, place), device)

    def seconds(length: int) -> float:
        asked = data.test(one.spec, length, batch)
        scores_of(weights, spec, one.encoding, asked.first(1), one.mode, device)
        began = time.perf_counter()
        scores_of(weights, spec, one.encoding, asked, one.mode, device)
        return time.perf_counter() - began

    return extrapolated(seconds, lambda n: pass_operations(spec, n), one.length)[0] / batch


def cost_class(members: Sequence[MemberSpec]) -> str:
    """Populations of equal class take equally long a member: sizes, encodings of equal structure, and how many members
    there are."""
    spec = members[0]
    encodings = [build(e, spec.model.head_dim).structure() for e in (spec.train_encoding, *spec.test_encodings[:1])]
    lengths = [spec.data.train_length, spec.data.test_length]
    return digest([spec.task.vocabulary, spec.task.prefix_length, lengths, spec.optim.batch_size, plain(spec.model),
                   encodings, len(members)])  # fmt: skip


def timing(members: Sequence[MemberSpec], device: str, compiled: bool) -> Timing:
    """Of members of one population, on this machine as it is now."""
    spec, speed = members[0], rate(device)
    # On a CPU time is proportional to their number once every core is busy: so many are enough. On a GPU it is not.
    threads = torch.get_num_threads()
    counts = [2 * threads, threads, 1] if device == "cpu" else [len(members)]
    free = memory.free_bytes(torch.device(device))
    for probed in (members[:count] for count in counts):
        needed = sum(map(memory.resident_bytes, probed)) + memory.step_bytes(spec)
        fits = free is None or needed <= memory.SHARE * free
        if fits and len(probed) * step_operations(spec) <= PATIENCE * speed:
            return _timed(probed, len(members), device, compiled, speed)
    sequence = pass_operations(spec, spec.data.test_length) / speed
    return Timing(step_operations(spec) / speed, sequence, 1, Basis.operations)


def _timed(probed: Sequence[MemberSpec], members: int, device: str, compiled: bool, speed: float) -> Timing:
    population = probe(probed, device, compiled)
    step = _fastest(lambda: population.step(population.batch(0, 0)), STEPS, device) / len(probed)
    chunks = max(1, round(len(population.chunks()) * members / len(probed))) if device == "cpu" else 0
    sequence, shorter = _sequence(population, probed, device, speed)
    return Timing(step, sequence, chunks or len(population.chunks()), Basis.shorter if shorter else Basis.steps)


def _sequence(population: Population, specs: Sequence[MemberSpec], device: str, speed: float) -> tuple[float, bool]:
    """(what one sequence of one member takes to measure at the test length, whether only a part of it was timed)."""
    spec, place, free = specs[0], torch.device(device), memory.free_bytes(torch.device(device))
    built = [build(s.test_encodings[0], s.model.head_dim) for s in specs]
    least = len(specs) * pass_operations(spec, min(SHORTEST, spec.data.test_length)) / (PATIENCE * speed)
    sequences = max(1, min(SEQUENCES, int(1 / least)))

    def seconds(length: int) -> float:
        tokens = torch.zeros(sequences, length, dtype=torch.int32)
        evaluations = [Evaluation(at, encoding, tokens) for at, encoding in enumerate(built)]
        return _fastest(lambda: measure(population.params, spec.model, spec.task, evaluations), 1, device)

    def fits(length: int) -> bool:
        needed = len(specs) * pass_bytes(spec, spec.test_encodings[0], length, place)
        return free is None or needed <= memory.SHARE * free

    if read_in_pieces(built[0], place, spec.data.test_length) and fits(spec.data.test_length):
        weights = {name: weight[0].detach() for name, weight in population.params.items()}
        queries = piece_of(spec.data.test_length, place)
        return read_on(weights, spec, spec.test_encodings[0], spec.data.test_length, queries, device), True
    taken, shorter = extrapolated(seconds, lambda n: pass_operations(spec, n), spec.data.test_length, fits)
    return taken / (len(specs) * sequences), shorter


def extrapolated(
    seconds: Callable[[int], float],
    operations: Callable[[int], float],
    length: int,
    fits: Callable[[int], bool] = lambda length: True,
) -> tuple[float, bool]:
    """(seconds of a work at `length`, whether it was timed at shorter ones). Lengths are doubled for as long as that is
    quick and `fits`; beyond, the time grows as a n + b n^2 through the last two, since attention may run at another
    rate than the rest, or as `operations` do where there is one."""
    before, timed = 0.0, min(length, SHORTEST)
    while True:
        taken, further = seconds(timed), min(length, 2 * timed)
        ratio = operations(further) / operations(timed)
        if timed == length:
            return taken, False
        if taken * ratio > PATIENCE / 2 or not fits(further) or further != 2 * timed:
            break
        before, timed = taken, further
    if not before:
        return taken * operations(length) / operations(timed), True
    square = max(0.0, (taken - 2 * before) / (timed**2 / 2))
    linear = max(0.0, taken - square * timed**2) / timed
    return linear * length + square * length**2, True


@torch.no_grad()
def read_on(
    weights: Mapping[str, Tensor], spec: MemberSpec, test: EncodingSpec, length: int, queries: int, device: str
) -> float:
    """Seconds that a member takes to read one sequence of `length` tokens with `queries` of them at a time: as many
    steps as the one in the middle, which sees half of the positions. `weights` have no member axis."""
    model, place = spec.model, torch.device(device)
    params = {name: weight[None].to(place) for name, weight in weights.items()}
    inputs, half = length - 1 + int(model.bos), (length - queries) // 2
    positions = measured_positions([build(test, model.head_dim)], params, model, inputs + 1, inputs, place)
    cache = Cache(inputs)

    def step(at: int, count: int) -> None:
        cache.length = at
        tokens = torch.zeros(1, 1, count, dtype=torch.long, device=place)
        with allowed(model.precision, place):
            forward(params, model, tokens, positions.rows(slice(at, at + count)), cache=cache)

    step(0, 1)
    for kept in (*cache.keys, *cache.values, *cache.far_keys, *cache.forgotten):
        kept.zero_()
    return length / queries * _fastest(lambda: step(half, queries), STEPS, device)


def piece_of(length: int, device: torch.device) -> int:
    """The tokens of the piece in the middle of a sequence that is read in pieces."""
    middle = next(piece for piece in pieces(length, device) if piece.stop > length // 2)
    return middle.stop - middle.start


def _fastest(work: Callable[[], object], rounds: int, device: str) -> float:
    """Seconds of the fastest round after one warm-up: the one least disturbed by whatever else the machine does."""
    work()
    times = []
    for _ in range(rounds):
        wait(device)
        before = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - before)
    return min(times)
