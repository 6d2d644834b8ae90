"""The effective lengths as terminal table, Markdown and CSV. eval.evidence.lengths.effective owns the numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from conf import names
from eval.evidence.lengths.effective import Lengths, Reach, Row

MISSING = "—"


def header(lengths: Lengths) -> list[str]:
    """The columns of the table; those of accuracy are named by their length."""
    columns = ["Protocol", "Task", "Encoding", "Scaling", "Effective length", "Lowest to highest", "n"]
    return columns + [f"% at {end}" for end in _shown(lengths)]


def cells(lengths: Lengths, row: Row) -> list[str]:
    """One row of the table as text."""
    first = min(row.series.at, default=0)
    last = max(row.series.at, default=0)
    ordered = sorted(row.reaches, key=lambda one: (one.length or 0, one.open))
    ends = [reach_text(one, first) for one in ordered]
    spread = ends[0] if len(set(ends)) == 1 else f"{ends[0]} to {ends[-1]}"
    accuracy = dict(zip(row.series.at, row.series.mean, strict=True))
    return [
        row.protocol, names.task(row.task), names.encoding(row.pe), row.scaling(lengths.train_length),
        mean_text(row.reaches, first, last), spread, str(len(row.reaches)),
        *(f"{100 * accuracy[end]:.2f}" if end in accuracy else MISSING for end in _shown(lengths)),
    ]  # fmt: skip


def reach_text(one: Reach, first: int) -> str:
    """`640`; `<64` when the first window, which ends there, is below the threshold; `≥4096` when none is."""
    if one.length is None:
        return f"<{first}"
    return f"≥{one.length}" if one.open else str(one.length)


def mean_text(reaches: Sequence[Reach], first: int, last: int) -> str:
    """Mean over seeds. With seeds that only a bound is known of it is that bound; a dash when some are bounded from
    above and some from below."""
    below, above = any(one.length is None for one in reaches), any(one.open for one in reaches)
    if not reaches or (below and above):
        return MISSING
    mean = sum(first if one.length is None else one.length for one in reaches) / len(reaches)
    return f"{'<' if below else '≥' if above else ''}{mean:.0f}"


def markdown(lengths: Lengths) -> str:
    """A GitHub table with the caption above it and the notes below it."""
    head = header(lengths)
    align = ["---"] * 4 + ["---:"] * (len(head) - 4)
    lines = [f"| {' | '.join(line)} |" for line in (head, align, *(cells(lengths, row) for row in lengths.rows))]
    notes = [f"- {note}" for note in lengths.notes]
    return "\n".join([f"**Effective length.** {lengths.caption}", "", *lines, "", *notes, ""])


def tidy_csv(lengths: Lengths) -> str:
    """One line a row, seed-wise lengths joined by blanks in the order of the seeds; accuracies as fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    shown = _shown(lengths)
    writer.writerow((
        "profile", "profile_label", "protocol", "task", "pe", "form", "fitted_to", "threshold", "window", "sequences",
        "seeds", "effective_lengths", *(f"accuracy_at_{end}" for end in shown),
    ))  # fmt: skip
    for row in lengths.rows:
        accuracy = dict(zip(row.series.at, row.series.mean, strict=True))
        first = min(row.series.at, default=0)
        writer.writerow((
            lengths.profile, lengths.label, row.protocol, row.task, row.pe, row.form, row.fitted_to, lengths.threshold,
            lengths.window, lengths.sequences, " ".join(str(one.seed) for one in row.reaches),
            " ".join(reach_text(one, first) for one in row.reaches),
            *(f"{accuracy[end]:.6f}" if end in accuracy else None for end in shown),
        ))  # fmt: skip
    return out.getvalue()


def _shown(lengths: Lengths) -> list[int]:
    """The training length doubled again and again: enough to see a decay, few enough for a table."""
    longest = max((end for row in lengths.rows for end in row.series.at), default=0)
    ends = {end for row in lengths.rows for end in row.series.at}
    doubled, end = [], lengths.train_length
    while end <= longest:
        doubled.append(end)
        end *= 2
    return [end for end in doubled if end in ends]
