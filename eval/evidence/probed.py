"""Records of what else is measured on trained members (eval.store.probes), as cells of a collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eval.evidence.cells import Cell, Collection
from eval.store.kinds import PosGenRecord


def as_cells(records: Sequence[PosGenRecord], protocols: Iterable[str]) -> Collection:
    """The records of ONE profile as cells of these protocols, by which what differs from the paper is found."""
    # Settings are all that is read of these records, and those of all kinds hold them alike.
    cells: dict[tuple[str, str, str], list[Any]] = {}
    chosen = tuple(protocols)
    for record in records:
        for protocol in record.protocols:
            if protocol in chosen:
                cells.setdefault((protocol, record.task, record.pe), []).append(record)
    first = records[0]
    finished = {place: Cell(tuple(members)) for place, members in cells.items()}
    return Collection(first.profile, first.training.label, first.accuracy_mode, chosen, finished)
