"""`posgen llm tasks`: tables of standard tasks, from records alone."""

from __future__ import annotations

from cli.llm.recorded import RecordsOption, show_recorded
from cli.shared.options import TableFormatOption, TableOutOption
from posgen.places import STANDARD_TASKS


def tasks(records: RecordsOption = None, format: TableFormatOption = "terminal", out: TableOutOption = None) -> None:
    """Draw the tables of standard tasks from records alone, one for each model.

    `posgen llm harness` makes the records.

    \b
    posgen llm tasks
    posgen llm tasks --format all --out results/llm/harness
    """
    from eval.evidence.llm.harness import numbers, tables
    from eval.store.lm_kinds import HarnessRecord

    show_recorded(HarnessRecord, records, STANDARD_TASKS, tables, numbers, format, out, "tasks")
