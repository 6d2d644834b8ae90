"""The effective lengths as tables: for readers, and as numbers for a CSV."""

from __future__ import annotations

from collections.abc import Sequence

from conf import names
from eval.evidence.cells import differences_table
from eval.evidence.figures.panels import profile
from eval.evidence.lengths.effective import Lengths, Reach, Row
from eval.evidence.table import MISSING, Cell, Column, Document, Table, cells


def document(lengths: Lengths) -> Document:
    """The effective lengths, then what differs from the paper."""
    differences = differences_table(lengths.collection)
    return [lengths_table(lengths), *([differences] if differences else [])]


def lengths_table(lengths: Lengths) -> Table:
    """A row a cell and form of scaling: its effective length over seeds, and its accuracy at some lengths."""
    columns = (
        *map(Column, ("Protocol", "Task", "Encoding", "Scaling")),
        *(Column(title, number=True) for title in ("Effective length", "Lowest to highest", "n")),
        *(Column(f"% at {end}", number=True, decimals=2) for end in _shown(lengths)),
    )
    rows = tuple(_line(lengths, row) for row in lengths.rows)
    return Table(columns, rows, title="Effective length", caption=caption(lengths), notes=notes(lengths))


def numbers(lengths: Lengths) -> Table:
    """A row a cell and form of scaling, its seeds' lengths joined by blanks in the order of the seeds, accuracies as
    fractions: lengths.csv."""
    keys = (
        "profile", "profile_label", "protocol", "task", "pe", "form", "fitted_to", "threshold", "window", "sequences",
        "seeds", "effective_lengths", *(f"accuracy_at_{end}" for end in _shown(lengths)),
    )  # fmt: skip
    rows = []
    for row in lengths.rows:
        first, accuracy = min(row.series.at, default=0), _by_end(row)
        rows.append(cells(
            lengths.collection.profile, lengths.collection.label, row.protocol, row.task, row.pe, row.form,
            row.fitted_to, lengths.threshold, lengths.window, lengths.sequences,
            " ".join(str(reach.seed) for reach in row.reaches),
            " ".join(reach_text(reach, first) for reach in row.reaches),
            *(accuracy.get(end) for end in _shown(lengths)),
        ))  # fmt: skip
    return Table(tuple(map(Column, keys)), tuple(rows))


def _line(lengths: Lengths, row: Row) -> tuple[Cell, ...]:
    first, accuracy = min(row.series.at, default=0), _by_end(row)
    ordered = sorted(row.reaches, key=lambda reach: (reach.length or 0, reach.open))
    ends = [reach_text(reach, first) for reach in ordered]
    spread = ends[0] if len(set(ends)) == 1 else f"{ends[0]} to {ends[-1]}"
    percents = [100 * accuracy[end] if end in accuracy else None for end in _shown(lengths)]
    return cells(
        row.protocol, names.task(row.task), names.encoding(row.pe), row.scaling(lengths.train_length),
        Cell(mean(row.reaches, first), mean_text(row.reaches, first)), Cell(ordered[0].length or 0, spread),
        len(row.reaches), *percents,
    )  # fmt: skip


def _by_end(row: Row) -> dict[int, float]:
    return dict(zip(row.series.at, row.series.mean, strict=True))


def reach_text(reach: Reach, first: int) -> str:
    """`640`; `<64` when the first window, which ends there, is below the threshold; `≥4096` when none is."""
    if reach.length is None:
        return f"<{first}"
    return f"≥{reach.length}" if reach.open else str(reach.length)


def mean(reaches: Sequence[Reach], first: int) -> float | None:
    """Mean over seeds, with the bound for those of which only a bound is known. None when some are bounded from above
    and some from below."""
    below, above = any(reach.length is None for reach in reaches), any(reach.open for reach in reaches)
    if not reaches or (below and above):
        return None
    return sum(first if reach.length is None else reach.length for reach in reaches) / len(reaches)


def mean_text(reaches: Sequence[Reach], first: int) -> str:
    """`224`; `<171` or `≥1515` when it is a bound, because only a bound is known of some seeds."""
    length = mean(reaches, first)
    if length is None:
        return MISSING
    below, above = any(reach.length is None for reach in reaches), any(reach.open for reach in reaches)
    return f"{'<' if below else '≥' if above else ''}{length:.0f}"


def caption(lengths: Lengths) -> str:
    """What an effective length is, and of which profile these are."""
    return (
        f"How far an encoding holds: up to its effective length, in tokens, token accuracy is at least "
        f"{100 * lengths.threshold:g} %. Trained on {lengths.train_length} tokens. {profile(lengths.collection)}"
    )


def notes(lengths: Lengths) -> tuple[str, ...]:
    """What the numbers need to be read."""
    width, threshold = lengths.window, f"{100 * lengths.threshold:g} %"
    return (
        *(f"Protocol {names.protocol(protocol)}." for protocol in lengths.protocols),
        f"The effective length is the end of the last window of {width} tokens before the first one whose accuracy "
        f"(teacher-forced) is below {threshold}. <n: below it already in the first window, which ends at n. ≥n: in no "
        f"window up to n, the longest measured. A mean over such seeds is a bound; {MISSING}: both kinds occur.",
        f"% at n: accuracy over the {width} tokens before n, mean over seeds, from the first {lengths.sequences} test "
        "sequences.",
        "Scaling: none where an encoding has no factor s; else one s at all lengths, or s = n/L, fitted at each length "
        "n by the protocol's own rule. Nothing is trained again: s changes at test time only.",
        "A decoder looks back only, so that one long measurement shows every shorter length; an encoding whose "
        "positions depend on the length of the sequence is measured at each length alone.",
    )


def _shown(lengths: Lengths) -> list[int]:
    """The training length doubled again and again: enough to see a decay, few enough for a table."""
    ends = {end for row in lengths.rows for end in row.series.at}
    doubled, end = [], lengths.train_length
    while end <= max(ends, default=0):
        doubled.append(end)
        end *= 2
    return [end for end in doubled if end in ends]
