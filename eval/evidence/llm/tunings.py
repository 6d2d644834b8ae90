"""How language models were tuned, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from eval.evidence.table import Cell, Column, Table, cells
from eval.store.lm_kinds import AdaptationRecord
from models.lm.names import title

_SHARE = 10  # of a tuning's steps: so many parts; losses of single batches differ too much to be read


def table(records: Sequence[AdaptationRecord]) -> Table:
    """A row a tuning, in the order in which they were made."""
    columns = (
        Column("Model"), Column("Encoding"), Column("Recipe"), Column("Weights"),
        *(Column(name, number=True) for name in ("Steps", "Tokens")),
        *(Column(name, number=True, decimals=4) for name in ("Loss, first tenth", "Loss, last tenth")),
        Column("Batches"),
    )  # fmt: skip
    rows = []
    for record in records:
        part = max(1, len(record.losses) // _SHARE)
        rows.append(cells(
            record.model, f"{title(record.encoding)}, s = {record.factor:g}", record.recipe,
            "LoRA" if record.lora else "all", len(record.losses), Cell(record.tokens, f"{record.tokens:,}"),
            fmean(record.losses[:part]), fmean(record.losses[-part:]), Cell(record.batches, f"`{record.batches}`"),
        ))  # fmt: skip
    note = "Equal batches: the same tokens in the same order. Losses are means over a tenth of the steps, nats a token."
    return Table(columns, tuple(rows), title="Tunings", notes=(note,))
