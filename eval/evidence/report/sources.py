"""What a report is made from: the records of a profile, and the choices and published numbers of conf/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conf.ledger import Ledger
from conf.published import Axes, Published
from conf.rules import VerdictRules
from eval.store.records import Record, gather
from posgen.errors import UserError

KINDS = ("", "ledger", "league", "lengths")
"""The folders below a profile's that hold records; the empty one is the profile's own, Table 1's."""


@dataclass(frozen=True)
class Sources:
    """`results` is the folder of all profiles, `threshold` the accuracy (a fraction) of the effective length."""

    results: Path
    profile: str
    published: Mapping[tuple[str, str], Published]
    axes: Mapping[str, Axes]
    rules: VerdictRules
    ledger: Ledger
    threshold: float

    @property
    def places(self) -> list[tuple[str, str]]:
        """(task, pe) in the published order."""
        return list(self.published)

    def path(self, kind: str = "") -> Path:
        """The file of a kind's records."""
        return self.results / self.profile / kind / "records.jsonl"

    def records(self, kind: str = "") -> list[Record]:
        """The records of a kind. UserError when there are none."""
        if kind and not self.path(kind).exists():
            raise UserError(f"There are no records at {self.path(kind).as_posix()}.")
        return gather([self.path(kind)] if kind else [], self.profile, self.results)
