"""An audit for programs: a row a fact for a CSV, an object a task for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eval.evidence.audit.tables import argument_names
from eval.evidence.audit.words import Audited, mean, place_name, sentence, smallest_names
from eval.evidence.table import Column, Table, Value, cells
from posgen.plain import identity

_KEYS = ("task", "modulus", "h", "length", "kind", "position", "tokens", "accuracy_percent", "one_function_percent")


def numbers(audits: Sequence[Audited]) -> Table:
    """`kind` of a row: `smallest` (a set that determines the answer), `last`, `last_with_far` and `last_without_far`
    (best accuracy from so many last tokens), `set` (of at most three tokens, over a class of positions) or `without`
    (every earlier token but this argument)."""
    rows = [
        cells(audited.task.name, audited.task.modulus, audited.task.h, audited.length, *fact)
        for audited in audits
        for fact in _facts(audited)
    ]
    return Table(tuple(map(Column, _KEYS)), tuple(rows))


def _facts(audited: Audited) -> Iterator[tuple[Value, ...]]:
    audit = audited.audit
    for each in audit.answered:
        position = each.asked.position
        for chosen in smallest_names(each, audit.window):
            yield "smallest", position, chosen, 100.0, None
        for kind, accuracies in (
            ("last", each.windows), ("last_with_far", each.with_far), ("last_without_far", each.without_far),
        ):  # fmt: skip
            for count, accuracy in enumerate(accuracies, 1):
                yield kind, position, str(count), 100 * float(accuracy), None
        for name, accuracy in zip(argument_names(each), each.without, strict=True):
            yield "without", position, name, 100 * float(accuracy), None
    for one in audit.sets:
        tokens = " ".join(map(place_name, one.places))
        for name, positions in audit.classes.items():
            function = one.one_function[name]
            by_position = 100 * float(mean(one.accuracy[position] for position in positions))
            yield "set", name, tokens, by_position, None if function is None else 100 * float(function)


def as_json(audited: Audited) -> dict[str, Any]:
    """Accuracies are fractions of 1; sets are lists of places (`l-1`, `far`)."""
    audit = audited.audit
    return {
        "task": identity(audited.task),
        "length": audited.length,
        "window": audit.window,
        "method": audit.source.method,
        "sentence": sentence(audited),
        "answers": [
            {
                "position": each.asked.position,
                "smallest": [
                    name[1:-1].split(", ") if name != "{}" else [] for name in smallest_names(each, audit.window)
                ],
                "fewest_without_far": each.fewest_without_far,
                "last": [float(value) for value in each.windows],
                "last_with_far": [float(value) for value in each.with_far],
                "last_without_far": [float(value) for value in each.without_far],
                "without": {name: float(value) for name, value in zip(argument_names(each), each.without, strict=True)},
            }
            for each in audit.answered
        ],
        "sets": [
            {
                "tokens": list(map(place_name, one.places)),
                "by_position": {
                    name: float(mean(one.accuracy[p] for p in positions)) for name, positions in audit.classes.items()
                },
                "one_function": {
                    name: None if value is None else float(value) for name, value in one.one_function.items()
                },
            }
            for one in audit.sets
        ],
    }
