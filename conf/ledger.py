"""What `posgen sweep --ledger` trains: a preset, and the same with one row of the ledger at a time set otherwise.

A cell that a row cannot act on (the ramp of YaRN on RoPE, say) comes out as the very training and test of its base:
conf.plan merges the two, and the record of the base counts for both protocols. Nothing lists such cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from conf.paper import table1_names
from eval.ledger.rows import BASES, Ledger, load_ledger
from posgen.errors import BadValue, nearest


def ledger() -> Ledger:
    """The ledger of conf/ledger.yaml."""
    return load_ledger(files("conf") / "ledger.yaml")


def directions(word: str) -> tuple[str, ...]:
    """`paper`, `released` or `both` as presets; BadValue for another word."""
    if word not in (*BASES, "both"):
        raise BadValue("direction", word, nearest(word, [*BASES, "both"]))
    return BASES if word == "both" else (word,)


def places(
    tasks: Sequence[str], pes: Sequence[str], rows: Sequence[int] | None, bases: Sequence[str]
) -> list[tuple[str, str, str]]:
    """(task, pe, protocol) of every base and every variant of the rows (None: all of them), for conf.plan.plan_places.

    Without `pes` they are Table 1's, and for a row that acts on others these as well. Raises BadValue for a number that
    is no row, and for rows that leave no choice in any of the bases.
    """
    book = ledger()
    numbers = [row.number for row in book.rows]
    for number in rows or ():
        if number not in numbers:
            raise BadValue("rows", number, f"the ledger has the rows {', '.join(map(str, numbers))}")
    chosen = [row for row in book.rows if rows is None or row.number in rows]
    if not any(row.variants(base) for row in chosen for base in bases):
        told = ",".join(str(row.number) for row in chosen)
        raise BadValue("rows", told, f"the text says nothing that preset {bases[0]} could be set to; --direction paper")
    asked: dict[tuple[str, str, str], None] = {}
    for task in tasks:
        for base in bases:
            for row in chosen:
                for pe in pes or [*table1_names()[1], *row.encodings]:
                    asked |= {(task, pe, base): None}
                    asked |= {(task, pe, variant.protocol): None for variant in row.variants(base)}
    return list(asked)
