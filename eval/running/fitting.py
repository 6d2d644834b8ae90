"""Whether a sweep fits into this machine: memory, disk and time by arithmetic, before anything is allocated or written.

What is compared is the smallest thing that can run: one training, its tests, and the data sets. Populations of many
trainings are divided until they fit (eval.running.populations), so that only this decides whether there is a way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from eval.measuring.cost import as_tested, pass_bytes, pass_operations, validations
from eval.measuring.planned import PlannedMember, count
from eval.running.job import RunSettings, thread_count
from eval.running.populations import TOGETHER
from eval.running.timing import Measuring
from eval.store.runs import Run
from eval.store.states import FOLDER
from models import memory
from models.bench_products import rate, step_operations
from models.spec import MemberSpec
from posgen import data_size, manifest
from posgen.errors import BadValue
from posgen.plain import digest
from posgen.resources import dominant, free_disk, size

Parts = dict[str, int]
"""Bytes by what they are for."""


def needs(members: Sequence[MemberSpec], device: torch.device, threads: int, data: int) -> dict[torch.device, Parts]:
    """What one training that serves these members takes on each device: on a CPU all is in one place. `data`: bytes of
    the data sets as they come from disk. Of what comes one after the other the largest counts."""
    spec, host = members[0], torch.device("cpu")
    tests = [(member, encoding) for member in members for encoding in member.test_encodings]
    passes = [
        max(
            pass_bytes(member, encoding, member.data.test_length, device),
            pass_bytes(as_tested(member), encoding, member.data.test_length, device, member.accuracy),
        )
        for member, encoding in tests
    ]
    # Every core measures for itself, unless there are fewer measurements than cores.
    at_once = threads if device == host and len(tests) >= threads else 1
    tokens = spec.data.train_size * spec.data.train_length * (1 if spec.task.modulus <= 256 else 4)
    kept = {"weights, gradients and moments": memory.resident_bytes(spec)}
    passing = {
        # Norms and the factor of dropout are multiplied into the weight matrices, which makes a copy of them.
        "activations of a step": 4 * memory.weight_count(spec) + memory.step_bytes(spec),
        "validation and test": at_once * max(passes),
    }
    saved = {"states to save": sum(map(memory.saved_bytes, members))}
    chosen = {"checkpoints": sum(map(memory.checkpoint_bytes, members))}
    if device == host:
        return {host: {**kept, **chosen, "data": data + tokens, **_largest({**passing, **saved})}}
    return {device: {**kept, "data": tokens, **_largest(passing)}, host: {**chosen, **saved, "data": data}}


def _largest(parts: Parts) -> Parts:
    name = max(parts, key=lambda part: parts[part])
    return {name: parts[name]}


def check_fits(members: Sequence[PlannedMember], settings: RunSettings, fresh: bool = False) -> None:
    """Raise BadValue, with the numbers and the setting that matters most, where one of the trainings that are left to
    do cannot fit into the memory of the device or the host, or all of them not onto the disk. `fresh`: what is done
    is to be done again."""
    left = _left(members, settings, fresh)
    if not left:
        return
    _check_memory(left, settings)
    _check_disk(left, settings)


def check_measuring(wanted: Sequence[Measuring], settings: RunSettings, key: str = "length") -> None:
    """Raise BadValue, with the numbers, where one of these measurements cannot fit into memory. `key`: what the length
    was given as."""
    device, threads = torch.device(settings.device), thread_count(settings.threads)
    at_once = threads if device.type == "cpu" and len(wanted) >= threads else 1
    for one in wanted:
        place = as_tested(one.spec)
        # The sequences and, while they are made, their transpose.
        tokens = one.sequences * one.length * (2 if one.spec.task.modulus <= 256 else 8)
        needed = at_once * (pass_bytes(place, one.encoding, one.length, device, one.mode) + tokens)
        free = memory.free_bytes(device)
        if free is not None and needed > free:
            several = f" for {at_once} at a time, one a thread" if at_once > 1 else ""
            remedy = f"use a shorter one{', or --threads 1' if at_once > 1 else ''}"
            raise BadValue(
                key, one.length,
                f"measuring {one.encoding.name} takes about {size(needed)} of memory{several} and {size(free)} are "
                f"free: {remedy}",
            )  # fmt: skip


def _left(members: Sequence[PlannedMember], settings: RunSettings, fresh: bool = False) -> list[MemberSpec]:
    """The members that are not trained yet."""
    return [m.spec for m in members if fresh or not Run(settings.runs_dir, m.spec.run_id).covers(m.spec)]


def _check_memory(left: Sequence[MemberSpec], settings: RunSettings) -> None:
    device, threads = torch.device(settings.device), thread_count(settings.threads)
    sets = _data_sets(left)
    data = sum(map(_held, sets)) + max(data_size.making_bytes(s.task, s.data) - _held(s) for s in sets)
    for training in _costs(left):
        for place, parts in needs(training, device, threads, data).items():
            total, free = sum(parts.values()), memory.free_bytes(place)
            if free is not None and total > free:
                memory.release(place)  # what an earlier population left
                free = memory.free_bytes(place)
            if free is None or total <= free:
                continue

            def alone(spec: MemberSpec, place: torch.device = place) -> int:
                return sum(needs([spec], device, threads, data_size.making_bytes(spec.task, spec.data))[place].values())

            key, value = dominant(alone, memory.smaller(training[0]))
            raise BadValue(key, value, _refusal(parts, free, place))


def _refusal(parts: Mapping[str, int], free: int, place: torch.device) -> str:
    where = "" if place.type == "cpu" else f" on {place}"
    large = sorted(parts, key=lambda name: -parts[name])[:2]
    listed = ", ".join(f"{name} {size(parts[name])}" for name in large)
    return (
        f"a training needs about {size(sum(parts.values()))} of memory ({listed}) and {size(free)} are free{where}: "
        f"use a smaller value{', or a device with more memory' if place.type == 'cpu' else ''}"
    )


def _held(spec: MemberSpec) -> int:
    """A data set in memory; torch computes with uint8 or int32, which is a copy."""
    held = data_size.held_bytes(spec.task, spec.data)
    return held if spec.task.modulus <= 256 else 3 * held


def _data_sets(specs: Sequence[MemberSpec]) -> list[MemberSpec]:
    """A member of each data set."""
    return list({digest([spec.task, spec.data]): spec for spec in specs}.values())


def _costs(specs: Iterable[MemberSpec]) -> list[list[MemberSpec]]:
    """The members of a training of each kind: those that differ in seeds or rates take the same."""
    trainings: dict[str, list[MemberSpec]] = {}
    for spec in specs:
        trainings.setdefault(spec.trajectory, []).append(spec)
    kinds = {}
    for training in trainings.values():
        first = training[0]
        encodings = [first.train_encoding.key, *(e.key for spec in training for e in spec.test_encodings)]
        kinds[digest([first.shape_key, encodings])] = training
    return list(kinds.values())


@dataclass(frozen=True)
class Work:
    """Operations of training members, and of their validations and tests."""

    training: int
    measuring: int

    @property
    def all(self) -> int:
        return self.training + self.measuring


def work(specs: Sequence[MemberSpec], until: int | None = None) -> Work:
    """The operations of these members, up to an epoch where one is given. Free-running tests count as any other."""
    trained, measured = dict[str, int](), dict[tuple[str, str], int]()
    tested = 0
    for spec in specs:
        sequences = spec.data.train_size * (until or spec.optim.epochs)
        trained[spec.trajectory] = step_operations(spec) * sequences // spec.optim.batch_size
        one = pass_operations(spec, spec.data.test_length)
        for encoding in spec.test_encodings:
            place = (spec.trajectory, encoding.key)
            measured[place] = validations(spec, until) * spec.data.validation_size * one
        tested += len(spec.test_encodings) * spec.data.test_size * one
    return Work(sum(trained.values()), sum(measured.values()) + tested)


@dataclass(frozen=True)
class Duration:
    """Seconds that training, and validation and test, take at the least: at the rate of one large matrix product."""

    training: float
    measuring: float


WORTH_TELLING = 300.0
"""Seconds from which on a command says what it takes before it begins."""


def at_least(members: Sequence[PlannedMember], settings: RunSettings) -> Duration | None:
    """How long those of the members take that are left to do, where it is long enough to be told."""
    left = _left(members, settings)
    operations = work(left, settings.until)
    fastest = 1e11 if torch.device(settings.device).type == "cpu" else 1e14
    if operations.all < WORTH_TELLING * fastest / 20:
        return None  # no machine is slow enough to be asked
    speed = rate(settings.device)
    if operations.all < WORTH_TELLING * speed:
        return None
    return Duration(operations.training / speed, operations.measuring / speed)


def _check_disk(left: Sequence[MemberSpec], settings: RunSettings) -> None:
    new = [s for s in _data_sets(left) if not (settings.data_dir / manifest.folder_name(s.task, s.data)).exists()]
    data = sum(data_size.disk_bytes(s.task, s.data) for s in new)
    weights = sum(map(memory.checkpoint_bytes, left))
    # A state is written beside the one before it. Of one population at a time, unless all stop on the way.
    one = torch.device(settings.device).type == "cpu" and settings.until is None
    together = min(len(left), TOGETHER) if one else len(left)
    states = (together + min(len(left), TOGETHER)) * max(map(memory.saved_bytes, left))
    there = sum(file.stat().st_size for file in (settings.runs_dir / FOLDER).glob("*.pt"))  # to be replaced
    runs = weights + max(0, states - there)
    shared = _disk(settings.data_dir) == _disk(settings.runs_dir)
    for key, folder, needed in (
        ("paths.data", settings.data_dir, data),
        ("paths.runs", settings.runs_dir, runs + data * shared),
    ):
        free = free_disk(folder)
        if free is not None and needed > free:
            what = "their data sets" if key == "paths.data" else f"the weights and states of {count(len(left))}"
            raise BadValue(
                key, folder,
                f"{what} need about {size(needed)} of disk and {size(free)} are free: free some, name a folder on "
                "another disk, or fewer or smaller members",
            )  # fmt: skip


def _disk(folder: Path) -> int | None:
    """The file system that a folder is on, or will be."""
    for place in (folder, *folder.absolute().parents):
        if place.exists():
            return os.stat(place).st_dev
    return None
