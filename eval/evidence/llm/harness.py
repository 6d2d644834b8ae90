"""Tables of standard tasks, one for each model: a row for each task, length, metric and encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.evidence.table import Cell, Column, Table, cells
from eval.store.lm_kinds import HarnessRecord
from models.lm.ropes import title

_COLUMNS = (
    Column("Task", "task"),
    Column("Length", "length", number=True),
    Column("Metric", "metric"),
    Column("Encoding", "encoding"),
    Column("Value", "value", number=True, decimals=4),
    Column("Std. error", "stderr", number=True, decimals=4),
    Column("Samples", "samples", number=True),
    Column("Limit", "limit", number=True),
)


def tables(records: Sequence[HarnessRecord]) -> list[Table]:
    """One for each model, in the order in which they first appear."""
    return [table(group) for group in _by_model(records)]


def numbers(records: Sequence[HarnessRecord]) -> Table:
    """Every record as a row of numbers, those of one model below each other."""
    columns = (Column("model"), Column("dtype"), Column("factor"), *_COLUMNS)
    rows = tuple(
        (*cells(record.model, record.dtype, record.factor), *_row(record))
        for group in _by_model(records)
        for record in _ordered(group)
    )
    return Table(columns, rows)


def table(records: Sequence[HarnessRecord]) -> Table:
    """All records of one model, in the order of tasks and lengths given."""
    rows = tuple(_row(record) for record in _ordered(records))
    models = dict.fromkeys(f"{record.model}, {record.dtype}" for record in records)
    factors = sorted({record.factor for record in records if record.encoding not in ("none", "resonance")})
    scaled = f", s = {', '.join(f'{factor:g}' for factor in factors)}" if factors else ""
    versions = ", ".join(dict.fromkeys(record.protocol["harness"].replace("_", "-") for record in records))
    trained = ", ".join(dict.fromkeys(str(record.train_length) for record in records))
    caption = f"{'; '.join(models)}; trained on {trained} tokens{scaled}. By {versions}, without a chat template."
    return Table(_COLUMNS, rows, title="Standard tasks", caption=caption, notes=tuple(dict.fromkeys(_notes(records))))


def _by_model(records: Sequence[HarnessRecord]) -> list[list[HarnessRecord]]:
    groups: dict[str, list[HarnessRecord]] = {}
    for record in records:
        groups.setdefault(record.model_key, []).append(record)
    return list(groups.values())


def _row(record: HarnessRecord) -> tuple[Cell, ...]:
    return cells(
        record.task, record.length, record.metric, Cell(record.encoding, title(record.encoding)), record.value,
        record.stderr, record.samples, record.protocol["limit"],
    )  # fmt: skip


def _ordered(records: Sequence[HarnessRecord]) -> list[HarnessRecord]:
    """Encodings of one task, length and metric below each other, all in the order in which they first appear."""
    places = {place: i for i, place in enumerate(dict.fromkeys((r.task, r.length, r.metric) for r in records))}
    return sorted(records, key=lambda record: places[record.task, record.length, record.metric])


def _notes(records: Sequence[HarnessRecord]) -> Iterable[str]:
    limits = sorted({r.protocol["limit"] for r in records if r.protocol["limit"] is not None})
    if limits:
        yield f"Limit: only the first {', '.join(map(str, limits))} samples of a task were asked."
    if any(record.metric == "contained" for record in records):
        yield "contained: share of the strings asked for that the answer contains, upper or lower case."
    if any(record.stderr == 0.0 for record in records):
        yield "A standard error of 0 says that all samples scored alike, not that the value is exact."
    asked: dict[tuple[str, int | None], set[str]] = {}
    for record in records:
        asked.setdefault((record.task, record.length), set()).add(record.samples_hash)
    for (task, length), hashes in asked.items():
        if len(hashes) > 1:
            where = task if length is None else f"{task} at {length}"
            yield f"{where}: not all encodings were asked the same samples; measure them in one run with --fresh."
    for record in records:
        if record.longest >= record.protocol["max_length"]:
            where = f"{record.task}, {title(record.encoding)}"
            yield f"{where}: some prompts filled the context of {record.longest} tokens and may be cut."
