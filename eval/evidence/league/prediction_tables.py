"""What theory predicted and what came of it, a rule a row, and the ceilings that it is measured by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from conf import names
from eval.evidence.league.ceilings import WINDOW
from eval.evidence.league.predictions import FAILED, HELD, UNDECIDED
from eval.evidence.league.standings import League
from eval.evidence.table import Cell, Column, Table, cells


def predictions_table(league: League) -> Table | None:
    """For every rule that predicts anything here: how often it held; None without predictions."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for protocol, entries in league.entries.items():
        for entry in entries:
            for place in entry.places.values():
                if made := place.prediction:
                    counts.setdefault((protocol, made.rule.name), Counter())[made.verdict] += 1
    if not counts:
        return None
    columns = (
        Column("Protocol"), Column("Rule"), Column("Predicts"), Column("Held", number=True),
        Column("Failed", number=True), Column("Undecided", number=True), Column("Source"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for protocol in league.protocols:
        for rule in league.rules.rules:
            if found := counts.get((protocol, rule.name)):
                told = (found[verdict] for verdict in (HELD, FAILED, UNDECIDED))
                rows.append(cells(protocol, rule.name.replace("_", " "), rule.predicts, *told, rule.source))
    share, holds = 100 * league.rules.share, 100 * league.rules.holds
    caption = (
        "Each encoding on each task is predicted by the first rule of conf/league.yaml whose facts hold for it. "
        f"`generalises`: OOD accuracy is at least {holds:g} % of the ceiling beyond L, `fails`: it is below; held or "
        f"failed where the {100 * league.rules.confidence:g} % interval over seeds lies on one side, else undecided, "
        f"as where mean ID accuracy is below {share:g} % of the ceiling within L."
    )
    return Table(columns, tuple(rows), title="What theory predicts, and what came of it", caption=caption)


def ceilings_note(league: League) -> Iterator[str]:
    """What each task allows, and how it is known."""
    tops = [
        f"{names.task(task)} {top.id:.2f} % within L and {top.ood:.2f} % beyond"
        + (
            ""
            if top.kind == "task"
            else f" (two of the last {WINDOW} tokens and the far one, one function at every position)"
        )
        for task, top in league.ceilings.items()
    ]
    yield f"Ceilings: {'; '.join(tops)}."


def never_learned(league: League) -> Iterator[str]:
    """Of an equal-ID league: who has no rank, and how long it was trained."""
    if not league.equal_id:
        return
    for protocol, entries in league.entries.items():
        told = [
            f"{names.encoding(entry.pe)} ({names.task(task)}, {place.id.mean:.1f} % after {place.epochs} epochs)"
            for entry in entries
            for task, place in entry.places.items()
            if place.id and not place.learned
        ]
        if told:
            yield (
                f"No rank under {protocol}: {100 * league.rules.share:g} % of the ceiling within L was not reached "
                f"with the epochs measured: {'; '.join(told)}."
            )
