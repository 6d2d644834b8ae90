"""Which prefixes go to train, validation and test: ledger row 1 of the differences between the paper and its code."""

from __future__ import annotations

import math
from itertools import chain, combinations, islice

import numpy as np

from posgen.errors import BadValue, require
from posgen.generate import given_tokens, token_dtype
from posgen.permutation import permuted, slots_of
from posgen.spec import Answers, DataSpec, Splits, Task

SPLITS = ("train", "validation", "test")


def draw(task: Task, data: DataSpec) -> dict[str, np.ndarray]:
    """How the sequences of "train", "validation" and "test" begin: [size, `Task.drawn_length`].

    With hidden answers a sequence follows from no part of itself, and an answer from two tokens, all of which pairs a
    training should see. What must not happen is that a sequence is tested that was trained on: the beginnings that are
    drawn are as long as the seed and as `posgen.spec.DRAWN`, and no two splits share one.

    `disjoint` (the paper): seeded random prefixes, all distinct, no prefix in two splits. A split does not change when
    another one's size does, as long as train_size + 2 max(validation_size, test_size) prefixes exist; a
    smaller split is the beginning of a larger one.

    `released` (the authors' code): the sorted combinations of far + near tokens out of range(modulus), in
    lexicographic order and over again from the first when they run out; train takes rows from 0, validation from 0 as
    well, test from validation_size. The splits overlap, and the seed plays no part.

    Raises `BadValue` when there are too few distinct prefixes, and for `released` where tokens have to be independent:
    sorted combinations are not.
    """
    check_splits(task, data)
    return _released(task, data) if data.splits is Splits.released else _disjoint(task, data)


def check_length(task: Task, data: DataSpec) -> None:
    """Raise `BadValue("train_length", ...)` unless training sequences are long enough to have something to learn."""
    least, prefix = task.shortest, task.prefix_length
    remedy = f"use more than {given_tokens(task, prefix)}, or nothing is generated"
    if least > prefix + 1:
        remedy = f"use at least {least}: with {task.answers.value} answers shorter sequences ask nothing or are few"
    require(data.train_length >= least, "train_length", data.train_length, remedy)


def check_splits(task: Task, data: DataSpec) -> None:
    """Raise `BadValue("splits", ...)` for `released` where tokens have to be independent."""
    splits, allowed = data.splits, data.splits is not Splits.released or task.answers is Answers.fed_back
    remedy = f"sorted prefixes are not random, and {task.answers.value} answers need random tokens; use disjoint, as"
    remedy += " the protocols paper and zero_shot do"
    require(allowed, "splits", splits.value, remedy)


def _disjoint(task: Task, data: DataSpec) -> dict[str, np.ndarray]:
    available = slots_of(task.modulus, task.drawn_length)
    wanted = data.train_size + data.validation_size + data.test_size
    if wanted > available:
        raise BadValue("train_size", data.train_size, _too_few(task, data, available, wanted))
    slots = np.concatenate([np.arange(s.start, s.stop, s.step) for s in _slots(data, available)])
    prefixes = permuted(slots, task.modulus, task.drawn_length, data.seed)
    ends = np.cumsum([data.train_size, data.validation_size])
    return dict(zip(SPLITS, np.split(prefixes, ends), strict=True))


def _slots(data: DataSpec, available: int) -> tuple[range, range, range]:
    """Slots of the shuffle for each split. Train grows from the front, the other two alternate from the back: none of
    the three moves when the size of another one changes."""
    train = range(data.train_size)
    if data.train_size + 2 * max(data.validation_size, data.test_size) <= available:
        validation = range(available - 1, available - 1 - 2 * data.validation_size, -2)
        test = range(available - 2, available - 2 - 2 * data.test_size, -2)
    else:  # too few prefixes for alternating: one after the other
        validation = range(available - 1, available - 1 - data.validation_size, -1)
        test = range(validation.stop, validation.stop - data.test_size, -1)
    return train, validation, test


def _too_few(task: Task, data: DataSpec, available: int, wanted: int) -> str:
    """The remedy, with sizes that use every prefix in about the asked proportions."""
    problem = (
        f"train, validation and test ask for {wanted} distinct prefixes, "
        f"but {_power(task)} = {task.modulus}^{task.drawn_length} = {available}"
    )
    if available < len(SPLITS):
        return f"{problem}; raise modulus, far or near"
    spare, asked = available - 3, wanted - 3
    validation = 1 + spare * (data.validation_size - 1) // asked
    test = 1 + spare * (data.test_size - 1) // asked
    sizes = f"train_size={available - validation - test} validation_size={validation} test_size={test}"
    return f"{problem}; the largest possible sizes are {sizes}, or raise modulus, far or near"


def _power(task: Task) -> str:
    """What the number of prefixes is called in a message."""
    if task.drawn_length != task.prefix_length:
        return "modulus^(tokens drawn)"
    parts = "far+gap+near" if task.gap else "far+near"
    return f"modulus^(2({parts}))" if task.is_interleaved else f"modulus^({parts})"


def _released(task: Task, data: DataSpec) -> dict[str, np.ndarray]:
    width, unique = task.prefix_length, math.comb(task.modulus, task.prefix_length)
    if unique == 0:
        remedy = f"needs far + near = {width} different tokens, modulus {task.modulus} has fewer; use splits=disjoint"
        raise BadValue("splits", data.splits.value, remedy)
    # as many as are asked for; where those are all, the index below starts over
    rows = min(unique, max(data.train_size, data.validation_size + data.test_size))
    in_order = chain.from_iterable(islice(combinations(range(task.modulus), width), rows))
    table = np.fromiter(in_order, token_dtype(task.modulus), rows * width).reshape(rows, width)
    return {
        "train": table[np.arange(data.train_size) % rows],
        "validation": table[np.arange(data.validation_size) % rows],
        "test": table[np.arange(data.validation_size, data.validation_size + data.test_size) % rows],
    }
