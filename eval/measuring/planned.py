"""What is to be trained, and which entries of tables it fills: planned by eval.running.plan, trained by a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.spec import AccuracyMode, MemberSpec


@dataclass(frozen=True)
class Target:
    """An entry of a table (Table 1, the ledger, the league) that a member fills. `test_encoding` is one of
    the labels of the member's spec, `accuracy` the value of an AccuracyMode."""

    protocol: str
    pe: str
    test_encoding: str
    accuracy: str = AccuracyMode.teacher_forced.value


@dataclass(frozen=True)
class PlannedMember:
    """One training, the entries of tables it fills, and the full resolved configuration as plain containers."""

    spec: MemberSpec
    targets: tuple[Target, ...]
    config: dict[str, Any]


def count(members: int) -> str:
    """`1 member`, `36 members`."""
    return f"{members} member{'s' if members > 1 else ''}"
