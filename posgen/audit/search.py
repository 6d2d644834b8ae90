"""The audit itself: the smallest sets that determine an answer, and the best accuracy that any few tokens allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np

from posgen.audit.asked import Asked, Source
from posgen.errors import BadValue

Ticked = Callable[[float], None]
"""Called with the number of sets that were just looked at."""
Classes = Mapping[str, Collection[int]]
"""Name -> positions of the predictions that are looked at together."""
FAR, LARGEST = "far", 3
"""The name of a far token in a set, and the largest sets whose accuracies are listed."""


@dataclass(frozen=True)
class Answered:
    """What is known about one prediction. Sets are of positions.

    `smallest`: every set of the least size that determines the answer, of the window and the far tokens; empty where
    they all together do not. `fewest_without_far`: the least size of such a set without a far token, None where there
    is none. `windows`: best accuracy from the last w tokens, w = 1, 2, ...; `with_far`: from these and the far tokens;
    `without_far`: from these but the far tokens. `without`: from every earlier token but one argument, in the
    arguments' order.
    """

    asked: Asked
    smallest: tuple[tuple[int, ...], ...]
    fewest_without_far: int | None
    windows: tuple[Fraction, ...]
    with_far: tuple[Fraction, ...]
    without_far: tuple[Fraction, ...]
    without: tuple[Fraction, ...]


@dataclass(frozen=True)
class SmallSet:
    """A set of places: numbers are distances before the answer, `far` (`far1`, `far2`, ...) are far tokens. `accuracy`:
    of every prediction, by position, from the tokens of the set that exist there; `one_function`: of every class of
    positions the best mean of a function that is the same at all of them, None where that is too large to count."""

    places: tuple[int | str, ...]
    accuracy: Mapping[int, Fraction]
    one_function: Mapping[str, Fraction | None]


@dataclass(frozen=True)
class Audit:
    """Everything found about a source of tokens."""

    source: Source
    classes: Classes
    window: int
    answered: tuple[Answered, ...]
    sets: tuple[SmallSet, ...]


def places(asked: Asked, window: int) -> dict[int, int | str]:
    """Position -> its name, of the last `window` tokens (their distance) and of far tokens before them."""
    named: dict[int, int | str] = {position: asked.position - position for position in asked.last(window)}
    for position, name in zip(asked.far, far_names(len(asked.far)), strict=True):
        named.setdefault(position, name)
    return named


def far_names(count: int) -> tuple[str, ...]:
    """The names of the far tokens: `far`, or `far1`, `far2`, ..."""
    return (FAR,) if count == 1 else tuple(f"{FAR}{number}" for number in range(1, count + 1))


def audit(source: Source, classes: Classes, window: int, ticked: Ticked) -> Audit:
    """Everything about every prediction; `ticked` is told of `sets_looked_at` in all."""
    answered = []
    for asked in source.asked:
        answered.append(_answered(source, asked, window))
        ticked(_sets_of(asked, window))
    return Audit(source, classes, window, tuple(answered), tuple(_small_sets(source, classes, window, ticked)))


def sets_looked_at(asked: Sequence[Asked], window: int) -> int:
    """How many sets `audit` may have to look at. A smallest one has at most as many tokens as h has arguments, or as
    the window has where those are not all in it."""
    return sum(_sets_of(each, window) for each in asked) + _small_count(asked, window)


def _sets_of(asked: Asked, window: int) -> int:
    candidates = len(places(asked, window))
    inside = set(asked.near) <= set(asked.last(window))
    sizes = range((min(candidates, len(asked.arguments)) if inside else candidates) + 1)
    searches = 2 if asked.far else 1  # with far tokens, and without
    return searches * sum(comb(candidates, size) for size in sizes) + 3 * window + len(asked.arguments)


def _answered(source: Source, asked: Asked, window: int) -> Answered:
    lasts = [asked.last(count) for count in range(1, window + 1)]
    everything = range(asked.position)
    candidates = tuple(places(asked, window))
    smallest = _smallest(source, asked, candidates)
    near = [known for known in smallest if not set(known) & set(asked.far)]
    if not near and smallest:
        near = list(_smallest(source, asked, tuple(p for p in candidates if p not in asked.far)))
    return Answered(
        asked,
        smallest,
        len(near[0]) if near else None,
        tuple(source.accuracy(asked, last) for last in lasts),
        tuple(source.accuracy(asked, tuple(dict.fromkeys((*asked.far, *last)))) for last in lasts),
        tuple(source.accuracy(asked, tuple(p for p in last if p not in asked.far)) for last in lasts),
        tuple(source.accuracy(asked, tuple(p for p in everything if p != a)) for a in asked.arguments),
    )


def _smallest(source: Source, asked: Asked, candidates: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Every determining set of the least size, by size: the first size at which there is one ends the search."""
    if not source.determined(asked, candidates):
        return ()
    for size in range(len(candidates) + 1):
        if sets := tuple(known for known in combinations(candidates, size) if source.determined(asked, known)):
            return sets
    raise AssertionError("all candidates together determine the answer")


def _small_places(asked: Sequence[Asked], window: int) -> list[tuple[int | str, ...]]:
    """Every set of at most `LARGEST` places that differ at some position."""
    names = list(dict.fromkeys(name for each in asked for name in places(each, window).values()))
    names.sort(key=lambda name: (isinstance(name, str), name))
    return [chosen for size in range(1, LARGEST + 1) for chosen in combinations(names, size)]


def _small_count(asked: Sequence[Asked], window: int) -> int:
    return len(_small_places(asked, window)) * len(asked)


def _small_sets(source: Source, classes: Classes, window: int, ticked: Ticked) -> Iterator[SmallSet]:
    for chosen in _small_places(source.asked, window):
        known = {each.position: _known(each, chosen) for each in source.asked}
        accuracy = {each.position: source.accuracy(each, known[each.position][1]) for each in source.asked}
        functions = {name: _one_function(source, accuracy, known, positions) for name, positions in classes.items()}
        yield SmallSet(chosen, accuracy, functions)
        ticked(len(source.asked))


def best_function(source: Source, positions: Collection[int], largest: int, window: int) -> Fraction:
    """The best mean accuracy over these answers of one function of at most `largest` of the last `window` tokens and
    the far ones, the same at every position. Raises BadValue where a function is too large to be counted."""
    chance, best = Fraction(1, source.modulus), Fraction(0)
    for chosen in _small_places(source.asked, window):
        if len(chosen) > largest:
            continue
        known = {each.position: _known(each, chosen) for each in source.asked if each.position in positions}
        accuracy = {e.position: source.accuracy(e, known[e.position][1]) for e in source.asked if e.position in known}
        # No function is better than one that may be another at every position.
        if sum(accuracy.values()) <= max(best, chance) * len(accuracy) and best:
            continue
        right = _one_function(source, accuracy, known, positions)
        if right is None:
            raise BadValue("modulus", source.modulus, f"functions of {largest} tokens are too many to count")
        best = max(best, right)
    return best


def _known(asked: Asked, chosen: Sequence[int | str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(which of its positions each place stands for, -1 where there is no such token; the distinct positions)."""
    far = dict(zip(far_names(len(asked.far)), asked.far, strict=True))
    positions = [far.get(place, -1) if isinstance(place, str) else asked.position - place for place in chosen]
    distinct = tuple(dict.fromkeys(position for position in positions if position >= 0))
    return tuple(distinct.index(p) if p >= 0 else -1 for p in positions), distinct


def _one_function(
    source: Source,
    accuracy: Mapping[int, Fraction],
    known: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]],
    positions: Collection[int],
) -> Fraction | None:
    """A function of the tokens sees which of them exist and which coincide, and nothing else of the position. Where the
    tokens say nothing about the answer every function is right with probability 1/m: nothing has to be counted."""
    counted: dict[tuple[int, ...], list[np.ndarray]] = {}
    chance, by_chance = Fraction(1, source.modulus), 0
    for asked in source.asked:
        if asked.position not in positions:
            continue
        if accuracy[asked.position] == chance:
            by_chance += 1
            continue
        pattern, chosen = known[asked.position]
        counts = source.joint(asked, chosen)
        if counts is None:
            return None
        counted.setdefault(pattern, []).append(counts)
    right = (Fraction(int(_added(many).max(axis=1).sum()), int(many[0].sum())) for many in counted.values())
    return sum(right, by_chance * chance) / len(positions)


def _added(many: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of arrays, of which a source gives the same one for many positions."""
    times = Counter(map(id, many))
    by_id = {id(counts): counts for counts in many}
    return sum((times[key] * counts for key, counts in by_id.items()), np.zeros_like(many[0]))
