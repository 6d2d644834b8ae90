"""The tokens of a task as a source of the audit, in the form that its h allows, and what does not fit, refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from posgen.answers import answer, scored_positions
from posgen.audit.asked import Asked, Source
from posgen.audit.enumerated import Enumerated, Independent
from posgen.audit.linear import hidden, read
from posgen.audit.search import Classes, sets_looked_at
from posgen.errors import BadValue, require
from posgen.functions import resolve
from posgen.generate import token_dtype
from posgen.permutation import digits
from posgen.resources import free_memory, size
from posgen.rules import dependencies, rule
from posgen.spec import Answers, Task

BLOCK = 65_536
MOST = 2**26
"""Values of all arguments on which an h is called at most, to see whether it is linear, or to enumerate seeds."""
LONGEST = 3_600.0
"""Seconds that an audit may take by its estimate."""
_LENGTH, _WINDOW = 4_096, 64
# Bytes of work a seed takes beside its tokens: classes, pairs and their sorted copies.
_WORK = 64


def source(task: Task, length: int) -> Source:
    """The tokens of all sequences of `length` tokens: by linear algebra where h is linear, else by enumeration. Fresh
    tokens and seeds are uniform and independent.

    Raises BadValue for a text, a length without an answer, and an h whose values cannot be enumerated.
    """
    require(not task.is_text, "rule", task.rule, "a text has no rule to audit; use recursive, cot or semi_recursive")
    first = task.prefix_length + (2 if task.is_interleaved else 1)
    remedy = f"use {first} to {_LENGTH} tokens: the first {task.prefix_length} are given"
    require(first <= length <= _LENGTH, "length", length, remedy)
    asked = tuple(Asked(position, *dependencies(task, position)) for position in scored_positions(task, length))
    coefficients = linear_coefficients(task)
    if coefficients is not None:
        make = hidden if task.answers is Answers.hidden else read
        return make(task.modulus, asked, coefficients, length)
    return _independent(task, asked) if task.answers is Answers.hidden else _enumerated(task, asked, length)


def classes(task: Task, asked: Sequence[Asked]) -> Classes:
    """All answers, and where the rule makes neighbouring ones different problems, every second one apart."""
    positions = [each.position for each in asked]
    whole: dict[str, list[int]] = {"all l": positions}
    if rule(task.rule).period == 1:
        return whole
    unit, width = ("s", 2) if task.is_interleaved else ("l", 1)  # a step of interleaved answers is two tokens
    apart = {
        f"{parity} {unit}": [position for position in positions if position // width % 2 == rest]
        for rest, parity in enumerate(("even", "odd"))
    }
    return whole | {name: some for name, some in apart.items() if some}


def linear_coefficients(task: Task) -> tuple[int, ...] | None:
    """The c of an h(x) = c_0 + c_1 x_1 + ... mod m, far arguments first and without c_0; None for an h that is not so.
    Proved on all arguments, but for the sum, which is linear by its definition.

    Raises BadValue where there are more than `MOST` arguments.
    """
    h, m, width = resolve(task.h), task.modulus, task.far + task.near
    if task.h == "sum_mod":
        return (1,) * width
    remedy = (
        f"whether it is linear, and what it gives, takes its {m}^{width} = {float(m) ** width:.1e} values, and at most "
        f"{MOST:.1e} are enumerated; use a smaller modulus, far or near"
    )
    require(m**width <= MOST, "h", task.h, remedy)
    units = np.vstack([np.zeros(width, np.int64), np.eye(width, dtype=np.int64)])
    constant, *others = h(units, m).astype(np.int64).tolist()
    coefficients = [(other - constant) % m for other in others]
    for arguments in _all_arguments(m, width):
        predicted = (constant + arguments @ np.array(coefficients)) % m
        if not np.array_equal(h(arguments, m), predicted):
            return None
    return tuple(coefficients)


def _all_arguments(modulus: int, width: int) -> Iterator[np.ndarray]:
    """int64 [N, width], every combination of tokens once."""
    for start in range(0, modulus**width, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, modulus**width), dtype=np.uint64)
        yield digits(numbers, modulus, width).T.astype(np.int64)


def _independent(task: Task, asked: tuple[Asked, ...]) -> Independent:
    values = np.concatenate(list(_all_arguments(task.modulus, task.far + task.near)))
    return Independent(task.modulus, asked, values.T, resolve(task.h)(values, task.modulus))


def _enumerated(task: Task, asked: tuple[Asked, ...], length: int) -> Enumerated:
    m, h, computed = task.modulus, resolve(task.h), {each.position for each in asked}
    free = [position for position in range(length) if position not in computed]
    seeds = m ** len(free)
    need, room = float(seeds) * (length * token_dtype(m).itemsize + _WORK), free_memory()
    free_room = "" if room is None else f"; {size(room)} are free"
    remedy = (
        f"it is not linear, and enumerating {m}^{len(free)} = {float(seeds):.1e} seeds takes {size(need)} (at most "
        f"{MOST:.1e} seeds{free_room}); use a smaller modulus, far, near or length"
    )
    require(seeds <= MOST and (room is None or need <= room), "h", task.h, remedy)
    tokens = np.empty((length, seeds), token_dtype(m))
    for start in range(0, seeds, BLOCK):
        block = tokens[:, start : start + BLOCK]
        block[free] = digits(np.arange(start, start + block.shape[1], dtype=np.uint64), m, len(free))
        for each in asked:
            block[each.position] = answer(task, h, block, each.position)
    return Enumerated(m, asked, tokens, {position: tokens[position] for position in computed})


def estimate(source: Source, window: int) -> float:
    """Seconds that `audit` takes at most, from a few of its sets timed. Raises BadValue above `LONGEST`."""
    require(1 <= window <= _WINDOW, "window", window, f"use 1 to {_WINDOW} tokens")
    last = source.asked[-1]
    positions = last.last(window)
    some = [positions[start : start + 3] for start in range(0, len(positions), 2)]
    seconds = _timed(lambda: [source.accuracy(last, known) for known in some]) / len(some)
    whole = seconds * sets_looked_at(source.asked, window)
    if whole > LONGEST:
        remedy = f"looking at every set would take up to {_hours(whole)}; use a smaller window or length"
        raise BadValue("window", window, remedy)
    return whole


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 48:
        return f"{hours:.1f} hours"
    return f"{hours / 24:.0f} days" if hours < 24 * 700 else f"{hours / 24 / 365.25:.2g} years"
