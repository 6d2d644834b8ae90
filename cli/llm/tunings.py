"""`posgen llm tunings`: how models were tuned, from records alone."""

from __future__ import annotations

from cli.llm.recorded import RecordsOption, show_recorded
from cli.shared.options import TableFormatOption, TableOutOption
from posgen.places import TUNING


def tunings(records: RecordsOption = None, format: TableFormatOption = "terminal", out: TableOutOption = None) -> None:
    """Draw the table of tuned models from records alone.

    `posgen llm finetune` makes the records.

    \b
    posgen llm tunings
    posgen llm tunings --records results/llm/tuning.jsonl --format csv
    """
    from eval.evidence.llm.tunings import table
    from eval.store.lm_kinds import AdaptationRecord

    show_recorded(AdaptationRecord, records, TUNING, lambda stored: [table(stored)], table, format, out, "tunings")
