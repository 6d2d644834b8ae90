"""What the league and the ledger ask for: more places than a user would name one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conf.ledger import ledger
from conf.overrides import choices
from conf.published import table1_names
from conf.schema import ProfileSpec
from eval.measuring.planned import PlannedMember
from eval.running.plan import plan
from posgen.errors import BadValue, UserError

LEAGUE_PROTOCOLS = ("paper",)
"""Of the league unless others are named: under `paper` every encoding trains with itself."""


def plan_league(
    tasks: Sequence[str],
    pes: Sequence[str],
    seeds: Sequence[int] | None,
    protocols: Sequence[str] | None,
    profile: str,
    overrides: Sequence[str],
    changed_profile: ProfileSpec,
    ticked: Callable[[], None] = lambda: None,
) -> tuple[list[PlannedMember], dict[str, UserError]]:
    """(members, encodings that cannot be trained with these settings, and why). Without `pes`: all of conf/pe;
    protocols None: `LEAGUE_PROTOCOLS`.

    An encoding that was named is never left out, and neither is anything when all would be: then the first error is
    raised, as by `plan`.
    """
    protocols = protocols or LEAGUE_PROTOCOLS
    trainable: list[str] = []
    left_out: dict[str, UserError] = {}
    for pe in pes or choices("pe"):
        try:
            plan(tasks[:1], [pe], seeds, protocols, profile, overrides, changed_profile)
        except UserError as error:
            if pes:
                raise
            left_out[pe] = error
        else:
            trainable.append(pe)
    if not trainable:
        raise next(iter(left_out.values()))
    return plan(tasks, trainable, seeds, protocols, profile, overrides, changed_profile, ticked), left_out


def ledger_places(
    tasks: Sequence[str], pes: Sequence[str], rows: Sequence[int] | None, bases: Sequence[str]
) -> list[tuple[str, str, str]]:
    """(task, pe, protocol) of every base and every variant of the rows (None: all of them), for `plan_places`.

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
        listed = ",".join(str(row.number) for row in chosen)
        remedy = f"the text says nothing that preset {bases[0]} could be set to; --direction paper"
        raise BadValue("rows", listed, remedy)
    places: dict[tuple[str, str, str], None] = {}  # an ordered set: rows share their base
    for task in tasks:
        for base in bases:
            for row in chosen:
                for pe in pes or [*table1_names()[1], *row.encodings]:
                    places |= {(task, pe, base): None}
                    places |= {(task, pe, variant.protocol): None for variant in row.variants(base)}
    return list(places)
