"""The losses of a text in the formats that `table1` and `verdict` offer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conf.rules import VerdictRules
    from eval.evidence.cells import Collection


def show_losses(cells: Collection, formats: Sequence[str], out: Path | None, rules: VerdictRules | None = None) -> None:
    """Losses by encoding and the verdicts on their pairs: losses.md, .csv and .tex below `out`, or printed. `rules`
    None: as declared."""
    from cli.shared.output import show
    from conf.rules import verdict_rules
    from eval.evidence.latex import latex
    from eval.evidence.losses.measured import build
    from eval.evidence.losses.tables import document, numbers
    from eval.evidence.table import Table, csv_text, markdown, terminal

    losses = build(cells, rules or verdict_rules())
    parts = document(losses)

    def as_latex() -> str:
        tables = [part for part in parts if isinstance(part, Table)]
        return "\n".join(latex(part, f"posgen-losses-{number}") for number, part in enumerate(tables, start=1))

    texts = {"markdown": lambda: markdown(parts), "csv": lambda: csv_text(numbers(losses)), "latex": as_latex}
    show(formats, lambda console: terminal(parts, console), texts, out, "losses")
