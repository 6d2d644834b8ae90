"""The league as tables: for readers, with what its order can and cannot say, and its numbers for a CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conf import names
from conf.league import FAMILIES
from eval.evidence.cells import differences_table
from eval.evidence.figures.panels import profile
from eval.evidence.league.prediction_tables import ceilings_note, never_learned, predictions_table
from eval.evidence.league.standings import ALPHA, Entry, League, Place, resonance
from eval.evidence.statistics import Summary
from eval.evidence.table import Cell, Column, Document, Table, cells
from eval.evidence.table1 import provenance
from eval.evidence.verdict.tables import difference_cell

KNOWN = 0.5
"""An encoding has learned a task when its mean ID accuracy is at least this share of the best encoding's on it."""


def document(league: League) -> Document:
    """The league, what theory predicted of it, and what differs from the paper."""
    further = (predictions_table(league), differences_table(league.collection))
    return [league_table(league), *(table for table in further if table)]


def league_table(league: League) -> Table:
    """A row a protocol and encoding, by rank; for each task ID and OOD accuracy and the number of seeds."""
    columns = [
        Column("Protocol"), Column("Rank", number=True), Column("Encoding"),
        Column("Mean OOD", number=True, decimals=2), Column("p to first", number=True, decimals=3),
    ]  # fmt: skip
    shown = ("epochs",) * league.equal_id + ("predicted",) * _predicts(league)
    for task in map(names.task, league.tasks):
        columns += [
            Column("ID", number=True, decimals=2, group=task),
            Column("OOD ± std", number=True, decimals=2, group=task),
            Column("n", number=True, group=task),
            *(Column(name.capitalize(), number=name == "epochs", group=task) for name in shown),
        ]
    rows = tuple(
        (
            *cells(protocol, entry.rank, names.encoding(entry.pe), entry.mean, entry.p),
            *(cell for task in league.tasks for cell in _place(entry.places[task], shown)),
        )
        for protocol, entries in league.entries.items()
        for entry in entries
    )
    return Table(tuple(columns), rows, title=title(league), caption=caption(league), notes=notes(league))


def title(league: League) -> str:
    """`The league`, of which family where it is not the paper's, and whether at equal ID accuracy."""
    named = "The league" if league.family == next(iter(FAMILIES)) else f"The league, {FAMILIES[league.family]}"
    return f"{named}, at equal ID accuracy" if league.equal_id else named


def _predicts(league: League) -> bool:
    places = (place for entries in league.entries.values() for entry in entries for place in entry.places.values())
    return any(place.prediction for place in places)


def file_names(league: League) -> dict[str, str]:
    """Protocol -> name of its figure's file: `league-paper`, `league-hidden-paper`, `equal-id-paper`."""
    head = "equal-id" if league.equal_id else "league"
    part = "" if league.family == next(iter(FAMILIES)) else f"-{league.family}"
    return {protocol: f"{head}{part}-{protocol}" for protocol in league.protocols}


def numbers(leagues: Sequence[League]) -> Table:
    """A row a protocol, encoding and task: league.csv."""
    keys = (
        "profile", "profile_label", "protocol", "rank", "pe", "mean_ood_percent", "p_to_first", "task",
        "id_accuracy_percent", "id_std_points", "ood_accuracy_percent", "ood_std_points", "n", "n_diverged", "seeds",
        "family", "epochs", "learned", "ceiling_id_percent", "ceiling_ood_percent", "predicted", "rule", "verdict",
    )  # fmt: skip
    places = [
        (league, protocol, entry, task, place)
        for league in leagues
        for protocol, entries in league.entries.items()
        for entry in entries
        for task, place in entry.places.items()
    ]
    rows = [
        cells(
            league.collection.profile, league.collection.label, protocol, entry.rank, entry.pe, entry.mean, entry.p,
            task, *_mean_and_std(place.id), *_mean_and_std(place.ood), len(place.ood_accuracy), len(place.diverged),
            " ".join(map(str, place.ood_accuracy)), league.family, place.epochs, place.learned,
            league.ceilings[task].id, league.ceilings[task].ood, *_told(place),
        )
        for league, protocol, entry, task, place in places
    ]  # fmt: skip
    return Table(tuple(map(Column, keys)), tuple(rows))


def _told(place: Place) -> tuple[str | None, ...]:
    made = place.prediction
    return (made.rule.predicts, made.rule.name, made.verdict) if made else (None, None, None)


def _place(place: Place, shown: Sequence[str]) -> tuple[Cell, ...]:
    ood = place.ood
    spread = f"{ood.mean:.2f} ± {ood.std:.2f}" if ood and ood.n > 1 else None
    return (
        Cell(place.id.mean if place.id else None),
        Cell(ood.mean if ood else None, spread),
        Cell(len(place.ood_accuracy), place.n_text),
        *(Cell(place.epochs) if name == "epochs" else Cell(_verdict(place)) for name in shown),
    )


def _verdict(place: Place) -> str | None:
    return place.prediction.text if place.prediction else None


def _mean_and_std(sample: Summary | None) -> tuple[float | None, float | None]:
    return (None, None) if sample is None else (sample.mean, sample.std)


def caption(league: League) -> str:
    """What the table shows, and of which profile."""
    return (
        "Accuracy in % within the training length (ID) and beyond it (OOD); encodings are ranked by mean OOD accuracy "
        f"over {_tasks(league)}. {_equal(league)}{profile(league.collection)}"
    )


def _equal(league: League) -> str:
    if not league.equal_id:
        return ""
    return (
        f"A place is that of the fewest epochs with which mean ID accuracy reached {100 * league.rules.share:g} % of "
        "the task's ceiling, so that it does not say how slowly an encoding learns; what did not reach it has no rank. "
    )


def notes(league: League) -> tuple[str, ...]:
    """What this league can and cannot say, a sentence or a few each."""
    return (
        *(f"Protocol {names.protocol(protocol)}." for protocol in league.protocols),
        *(note for protocol, entries in league.entries.items() for note in _significance(protocol, entries)),
        *(note for protocol in league.protocols for note in _resonance(league, protocol)),
        *(() if league.equal_id else (note for p in league.protocols for note in _not_learned(league, p))),
        *never_learned(league),
        *ceilings_note(league),
        *(note for protocol in league.protocols for note in _absences(league, protocol)),
        _provenance(league),
    )


def _tasks(league: League) -> str:
    return _counted(len(league.tasks), "task")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _significance(protocol: str, entries: Sequence[Entry]) -> Iterator[str]:
    ranked = [entry for entry in entries if entry.rank is not None]
    if len(ranked) < 2:
        return
    first, *others = ranked
    counts = sorted({len(place.ood_accuracy) for entry in ranked for place in entry.places.values()})
    seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else _counted(counts[0], "seed")
    apart = [names.encoding(entry.pe) for entry in others if entry.p is not None and entry.p < ALPHA]
    listed = f": {', '.join(apart)}" if apart else ""
    count = sum(entry.p is None for entry in others)
    untested = f" {count} cannot be tested." if count else ""
    yield (
        f"Significance of the ranks under {protocol} ({seeds} per encoding): {len(apart)} of the {len(others)} others "
        f"differ{'s' * (len(apart) == 1)} significantly from {names.encoding(first.pe)}, ranked first (paired t-test "
        f"over seeds on the mean over tasks, Holm-corrected, {100 * ALPHA:g} %){listed}.{untested} Other pairs are not "
        "tested: no other order is established by these runs."
    )


def _resonance(league: League, protocol: str) -> Iterator[str]:
    overall = resonance(league.entries[protocol])
    if overall is None:
        return
    difference = difference_cell(overall.difference, 2).text
    yield (
        f"Resonance minus plain form under {protocol}: {difference} points of OOD accuracy, mean over "
        f"{_counted(overall.pairs, 'pair')} and {_tasks(league)} within each seed, with 95 % interval (Student's t "
        f"over seeds). The Resonance form has the higher mean in {overall.ahead} of {overall.places} pairs on a task."
    )


def _not_learned(league: League, protocol: str) -> Iterator[str]:
    """An encoding that fails within the training length cannot be said to fail, or to hold, beyond it."""
    by_task = []
    for task in league.tasks:
        within = {entry.pe: place.id.mean for entry in league.entries[protocol] if (place := entry.places[task]).id}
        best = max(within.values(), default=0.0)
        low = [f"{names.encoding(pe)} ({mean:.1f} %)" for pe, mean in within.items() if mean < KNOWN * best]
        if low:
            by_task.append(f"{names.task(task)} (best {best:.1f} %): {', '.join(low)}")
    if by_task:
        yield (
            f"Not learned within the training length under {protocol} (mean ID accuracy below {100 * KNOWN:g} % of the "
            f"best encoding's), so OOD accuracy says nothing about extrapolation: {'; '.join(by_task)}."
        )


def _absences(league: League, protocol: str) -> Iterator[str]:
    entries = league.entries[protocol]
    unranked = []
    for entry in entries:
        tasks = [names.task(task) for task, place in entry.places.items() if not place.ood_accuracy]
        if entry.rank is None and tasks:
            unranked.append(f"{names.encoding(entry.pe)} ({', '.join(tasks)})")
    if unranked:
        yield f"No rank under {protocol}, because a task is missing: {', '.join(unranked)}."
    diverged = [
        f"{names.task(task)} {names.encoding(entry.pe)} (seed {', '.join(map(str, place.diverged))})"
        for entry in entries
        for task, place in entry.places.items()
        if place.diverged
    ]
    if diverged:
        yield f"Diverged under {protocol}, not part of the means: {', '.join(diverged)}."


def _provenance(league: League) -> str:
    moduli = sorted({record.training.task.modulus for record in league.collection.records()})
    chance = " and ".join(f"{100 / modulus:.1f} % (modulus {modulus})" for modulus in moduli)
    return (
        f"Chance is {chance}. ± is the sample standard deviation over seeds in points; n counts seeds. Generated by "
        f"{provenance(league.collection)}."
    )
