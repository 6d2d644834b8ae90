"""What is to be trained, and which entries of tables it fills: eval.running.plan makes it, a sweep takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.spec import AccuracyMode, EncodingSpec, MemberSpec


@dataclass(frozen=True)
class Cell:
    """An entry of a table (Table 1, the ledger, the league) that a member fills. `test_encoding` is one of
    `encoding_labels(spec.test_encodings)`, `accuracy` the value of an AccuracyMode."""

    protocol: str
    pe: str
    test_encoding: str
    accuracy: str = AccuracyMode.teacher_forced.value


@dataclass(frozen=True)
class PlannedMember:
    """One training, the cells it fills, and the full resolved configuration as plain containers."""

    spec: MemberSpec
    cells: tuple[Cell, ...]
    config: dict[str, Any]


def encoding_labels(encodings: Sequence[EncodingSpec]) -> tuple[str, ...]:
    """How encodings are called among each other: by name, or `name~key` where two of them share the name."""
    names = [encoding.name for encoding in encodings]
    return tuple(e.name if names.count(e.name) == 1 else f"{e.name}~{e.key}" for e in encodings)


def count(members: int) -> str:
    """`1 member`, `36 members`."""
    return f"{members} member{'s' if members > 1 else ''}"
