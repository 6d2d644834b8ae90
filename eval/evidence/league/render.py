"""The league as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math

from conf import names
from eval.evidence.league.standings import Entry, League
from eval.evidence.league.words import caption, notes
from eval.evidence.statistics import Summary

MISSING = "—"


def markdown(league: League) -> str:
    """A GitHub table with the caption above it and the notes below it, all protocols one below the other."""
    head = ["Protocol", "Rank", "Encoding", "Mean OOD", "p to first"]
    head += [f"{names.task(task)} {column}" for task in league.tasks for column in ("ID", "OOD ± std", "n")]
    align = ["---", "---:", "---", *["---:"] * (len(head) - 3)]
    body = [_texts(protocol, entry, league.tasks) for protocol, several in league.entries.items() for entry in several]
    lines = [f"| {' | '.join(line)} |" for line in (head, align, *body)]
    return "\n".join(
        [f"**The league.** {caption(league)}", "", *lines, "", *(f"- {note}" for note in notes(league)), ""]
    )


def tidy_csv(league: League) -> str:
    """One line a protocol, encoding and task; numbers with six decimals, an empty field where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((
        "profile", "profile_label", "protocol", "rank", "pe", "mean_ood_percent", "p_to_first", "task",
        "id_accuracy_percent", "id_std_points", "ood_accuracy_percent", "ood_std_points", "n", "n_diverged", "seeds",
    ))  # fmt: skip
    collection = league.collection
    for protocol, entries in league.entries.items():
        for entry in entries:
            for task in league.tasks:
                place = entry.places[task]
                writer.writerow((
                    collection.profile, collection.label, protocol, entry.rank, entry.pe, _six(entry.mean),
                    _six(entry.p), task, *_mean_and_std(place.id), *_mean_and_std(place.ood), len(place.ood_accuracy),
                    len(place.diverged), " ".join(map(str, place.ood_accuracy)),
                ))  # fmt: skip
    return out.getvalue()


def _texts(protocol: str, entry: Entry, tasks: tuple[str, ...]) -> list[str]:
    texts = [protocol, MISSING if entry.rank is None else str(entry.rank), names.encoding(entry.pe)]
    texts += [MISSING if entry.mean is None else f"{entry.mean:.2f}", MISSING if entry.p is None else f"{entry.p:.3f}"]
    for task in tasks:
        place = entry.places[task]
        within, beyond = place.id, place.ood
        texts += [
            MISSING if within is None else f"{within.mean:.2f}",
            MISSING if beyond is None else f"{beyond.mean:.2f}" + f" ± {beyond.std:.2f}" * (beyond.n > 1),
            place.n_text,
        ]
    return texts


def _mean_and_std(found: Summary | None) -> tuple[str, str]:
    return ("", "") if found is None else (_six(found.mean), _six(found.std))


def _six(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"
