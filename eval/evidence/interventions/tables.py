"""The interventions as tables: for readers by cell, and as numbers for a CSV by cell and by position."""

from __future__ import annotations

from conf import names
from eval.evidence.cells import differences_table
from eval.evidence.figures.panels import profile
from eval.evidence.interventions.shares import AMONG, SIDES, Measured, Shares
from eval.evidence.table import MISSING, Cell, Column, Document, Table, cells
from posgen.spec import Answers

_SIDE = {"id": "ID", "ood": "OOD"}
_AMONG = {"right": "right before", "all": "all"}
TOKEN = {"far": "far token", "near": "last near token"}


def document(measured: Measured) -> Document:
    """The shares, then what differs from the paper."""
    differences = differences_table(measured.collection)
    return [shares_table(measured), *([differences] if differences else [])]


def shares_table(measured: Measured) -> Table:
    """Two rows a cell, among the answers that were right before and among all: what moved, stayed and became another
    wrong one, within the training length (ID) and beyond it (OOD)."""
    columns = [*map(Column, ("Protocol", "Task", "Encoding", "Answers"))]
    for side in SIDES:
        columns += [
            Column("Number", number=True, group=_SIDE[side]),
            Column("Moved %", number=True, decimals=1, group=_SIDE[side]),
            Column("Stayed %", number=True, decimals=1, group=_SIDE[side]),
            Column("Other %", number=True, decimals=1, group=_SIDE[side]),
        ]
    columns.append(Column("n", number=True))
    rows = [
        (
            *cells(row.protocol, names.task(row.task), names.encoding(row.pe), _AMONG[among]),
            *(cell for side in SIDES for cell in _shown(row.shares[side, among])),
            Cell(len(row.seeds)),
        )
        for row in measured.rows
        for among in AMONG
    ]
    title = f"Exchanged tokens: {TOKEN[measured.exchange]}"
    return Table(tuple(columns), tuple(rows), title=title, caption=caption(measured), notes=notes(measured))


def _shown(shares: Shares) -> tuple[Cell, ...]:
    percents = [None if share is None else 100 * share for share in (shares.moved, shares.stayed, shares.other)]
    return cells(shares.answers, Cell(percents[0], _with_range(shares)), *percents[1:])


def _with_range(shares: Shares) -> str:
    """`1.2 (0.4 to 2.0)`; the range where several seeds differ."""
    if shares.moved is None or shares.lowest is None or shares.highest is None:
        return MISSING
    low, mean, high = (f"{100 * share:.1f}" for share in (shares.lowest, shares.moved, shares.highest))
    return mean if low == high else f"{mean} ({low} to {high})"


def numbers(measured: Measured) -> Table:
    """A row a cell, side and kind of answers, shares as fractions: interventions.csv."""
    keys = (
        "profile", "profile_label", "protocol", "task", "pe", "exchange", "sequences", "side", "among", "answers",
        "moved", "stayed", "other", "moved_lowest", "moved_highest", "n", "seeds",
    )  # fmt: skip
    rows = [
        cells(
            measured.collection.profile, measured.collection.label, row.protocol, row.task, row.pe, measured.exchange,
            measured.sequences, side, among, shares.answers, shares.moved, shares.stayed, shares.other, shares.lowest,
            shares.highest, shares.seeds, " ".join(map(str, row.seeds)),
        )
        for row in measured.rows
        for (side, among), shares in row.shares.items()
    ]  # fmt: skip
    return Table(tuple(map(Column, keys)), tuple(rows))


def positions(measured: Measured) -> Table:
    """A row a cell, seed and position of an answer, with the distance to its exchanged token and all counts:
    interventions-positions.csv."""
    counted = ("answers", "moved", "stayed", "right", "right_moved", "right_stayed")
    keys = ("protocol", "task", "pe", "seed", "exchange", "position", "distance", *counted)
    rows = [
        cells(
            row.protocol, row.task, row.pe, record.seed, measured.exchange, at, row.distances[at],
            *(getattr(record.interventions, name)[i] for name in counted),
        )
        for row in measured.rows
        for record in row.records
        for i, at in enumerate(record.interventions.positions)
    ]  # fmt: skip
    return Table(tuple(map(Column, keys)), tuple(rows))


def caption(measured: Measured) -> str:
    """What was done, and of which profile these are."""
    return (
        f"One token of a test sequence, the {TOKEN[measured.exchange]} of the answers looked at, is exchanged for "
        f"another value; all others stay as they were read. {profile(measured.collection)}"
    )


def notes(measured: Measured) -> tuple[str, ...]:
    """What the numbers need to be read."""
    return (
        *(f"Protocol {names.protocol(protocol)}." for protocol in measured.protocols),
        "Moved: to the answer that the rule gives for the changed token. Stayed: as it was, so that the model did not "
        "use that token. Other: another wrong answer. Means over n seeds, in brackets the lowest and the highest seed.",
        f"ID: answers at positions below the training length {measured.train_length}; OOD: beyond. Number: answers of "
        f"all seeds, at {_positions(measured)} of {measured.sequences} test sequences (conf/interventions.yaml).",
        "Right before: the model was right on the unchanged sequence.",
        *_of_fed_back(measured),
    )


def _of_fed_back(measured: Measured) -> tuple[str, ...]:
    tasks = [row.task for row in measured.rows if row.records[0].training.task.answers is Answers.fed_back]
    if not tasks:
        return ()
    named = ", ".join(names.task(task) for task in dict.fromkeys(tasks))
    return (
        f"{named}: answers are fed back, so that most follow from other tokens than the rule's, too: a model can be "
        "right without the far token (docs/interventions.md).",
    )


def _positions(measured: Measured) -> str:
    counts = sorted({len(row.distances) for row in measured.rows})
    return f"{counts[0]} positions" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} positions"
