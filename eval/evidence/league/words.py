"""What stands above and below a league, from its own numbers: what it can say, what it cannot, where it comes from."""

from __future__ import annotations

from collections.abc import Iterator

from conf import names
from eval.evidence.figures.panels import differs, labelled
from eval.evidence.league.standings import ALPHA, Entry, League, resonance
from eval.evidence.table1 import provenance

KNOWN = 0.5
"""An encoding masters a task when its mean ID accuracy is at least this share of the best encoding's on it."""


def caption(league: League) -> str:
    """What belongs above the table and below the figure."""
    protocols = "; ".join(names.protocol(protocol) for protocol in league.protocols)
    return (
        f"Accuracy in % within the training length (ID) and beyond (OOD), profile {labelled(league.collection)}, "
        f"ranked by the mean OOD accuracy of {_tasks(league)}. {differs(league.collection)} Protocols: "
        f"{protocols}."
    )


def notes(league: League) -> tuple[str, ...]:
    """What this league can and cannot say, a sentence or a few each."""
    return (*_verdicts(league), *_resonance(league), *_wrong_within(league), *_absences(league), _provenance(league))


def _tasks(league: League) -> str:
    return f"{len(league.tasks)} task{'s' * (len(league.tasks) != 1)}"


def _verdicts(league: League) -> Iterator[str]:
    for protocol, entries in league.entries.items():
        ranked = [entry for entry in entries if entry.rank is not None]
        if len(ranked) < 2:
            continue
        others, counts = ranked[1:], {len(p.ood_accuracy) for e in ranked for p in e.places.values()}
        seeds = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(max(counts))
        apart = [names.encoding(entry.pe) for entry in others if entry.p is not None and entry.p < ALPHA]
        unknown = [names.encoding(entry.pe) for entry in others if entry.p is None]
        untold = f" For {len(unknown)} of them no test can be made." if unknown else ""
        told = f": {', '.join(apart)}" if apart else ""
        yield (
            f"What the order is worth under {protocol}, with {seeds} seed{'s' * (seeds != '1')} an encoding: "
            f"{len(apart)} of the {len(others)} others differ{'s' * (len(apart) == 1)} from "
            f"{names.encoding(ranked[0].pe)}, ranked first, by more than seeds explain (paired t over seeds on the "
            f"mean of the tasks, Holm, {100 * ALPHA:g} %){told}.{untold} No other two are compared: no other order "
            "is established by these runs."
        )


def _resonance(league: League) -> Iterator[str]:
    for protocol, entries in league.entries.items():
        found = resonance(entries)
        if found is None:
            continue
        d = found.difference
        interval = f" [{d.low:+.2f}, {d.high:+.2f}]" if d.low is not None and d.high is not None else ""
        pairs = f"{found.pairs} pair{'s' * (found.pairs != 1)}"
        yield (
            f"Resonance - counterpart under {protocol}: {d.mean:+.2f}{interval} points of OOD accuracy, the mean of "
            f"{pairs} and {_tasks(league)} taken within each seed, with 95 % interval (Student's t over seeds). The "
            f"Resonance form has the higher mean in {found.ahead} of {found.places} pairs on a task."
        )


def _wrong_within(league: League) -> Iterator[str]:
    """An encoding that fails within the training length cannot be said to fail, or to hold, beyond it."""
    for protocol, entries in league.entries.items():
        told = []
        for task in league.tasks:
            within = {entry.pe: place.id.mean for entry in entries if (place := entry.places[task]).id}
            best = max(within.values(), default=0.0)
            low = [f"{names.encoding(pe)} ({mean:.1f} %)" for pe, mean in within.items() if mean < KNOWN * best]
            if low:
                told.append(f"{names.task(task)} (best {best:.1f} %): {', '.join(low)}")
        if told:
            yield (
                f"Wrong already within the training length under {protocol} (less than {100 * KNOWN:g} % of the best "
                "encoding's mean ID accuracy), so that OOD accuracy there says nothing of extrapolation: "
                f"{'; '.join(told)}."
            )


def _absences(league: League) -> Iterator[str]:
    for protocol, entries in league.entries.items():
        unranked = [entry for entry in entries if entry.rank is None]
        lost = [f"{names.encoding(entry.pe)} ({_lacks(entry, league.tasks)})" for entry in unranked]
        if lost:
            yield f"Without a rank under {protocol}, because a task is missing: {', '.join(lost)}."
        fallen = [
            f"{names.task(task)} {names.encoding(entry.pe)} (seed {', '.join(map(str, place.diverged))})"
            for entry in entries
            for task, place in entry.places.items()
            if place.diverged
        ]
        if fallen:
            yield f"Diverged under {protocol}, not part of the means: {', '.join(fallen)}."


def _provenance(league: League) -> str:
    moduli = sorted({record.training.task.modulus for record in league.collection.records()})
    chance = " and ".join(f"{100 / modulus:.1f} % (modulus {modulus})" for modulus in moduli)
    return (
        f"Chance is {chance}. ± is the sample standard deviation over seeds in points; n counts seeds. Made by "
        f"{provenance(league.collection)}."
    )


def _lacks(entry: Entry, tasks: tuple[str, ...]) -> str:
    return ", ".join(names.task(task) for task in tasks if not entry.places[task].ood_accuracy)
