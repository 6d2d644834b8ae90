"""The ledger as terminal table, Markdown and CSV. conf.ledger owns the rows, this file their clothing."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from conf.ledger import BASES, Ledger, Row, Value, written

if TYPE_CHECKING:
    from rich.console import Console

HEADS = ("#", "Topic", "Paper's text", "Released code", "Default", "Switch", "Acts on", "Measured against it")
# How the terminal's columns share what the others leave; 0: as wide as their texts.
_SHARES = {"#": 0, "Topic": 3, "Paper's text": 3, "Released code": 4, "Switch": 0, "Acts on": 0}
_WIDEST = 120  # characters of a terminal line: beyond it a reader loses the line
_NONE = "—"


def terminal(ledger: Ledger, console: Console) -> None:
    """Print the table, its texts broken into lines so that it fits the console (at most 120 characters)."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=0, show_lines=True, width=min(console.width, _WIDEST))
    for head, share in _SHARES.items():
        # What is typed must not be broken, it is short; nothing is ever cut off.
        grid.add_column(head, no_wrap=not share, overflow="fold", ratio=share or None, min_width=4 * share or None)
    for row in ledger.rows:
        switches = "\n".join(f"{one.key}={written(one.default)}" for one in row.switches)
        grid.add_row(str(row.number), row.topic, row.text, row.code, switches, row.acts)
    console.print(grid)
    console.print(_note(ledger), markup=False, highlight=False, soft_wrap=not console.is_terminal)


def markdown(ledger: Ledger) -> str:
    """A GitHub table, a line a row, and below it what the presets are."""
    lines = [HEADS, ["---:", *["---"] * (len(HEADS) - 1)]]
    for row in ledger.rows:
        others = [_others(row, base) for base in BASES]
        lines.append(
            [
                str(row.number), row.topic, row.text, row.code, ", ".join(written(one.default) for one in row.switches),
                ", ".join(f"`protocol.{one.key}`" for one in row.switches), row.acts,
                "; ".join(filter(None, others)) or _NONE,
            ]
        )  # fmt: skip
    table = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return "\n".join([*table, "", f"- {_note(ledger)}", ""])


def tidy_csv(ledger: Ledger) -> str:
    """One line a switch. `text` is empty where the paper is silent, `other` holds further values, blank-separated."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("number", "topic", "paper_text", "released_code", "acts_on", "switch", "default", "text", "code", "other")
    )
    for row in ledger.rows:
        for one in row.switches:
            values = (written(one.default), _all(one.text), written(one.code), _all(one.other))
            writer.writerow((row.number, row.topic, row.text, row.code, row.acts, f"protocol.{one.key}", *values))
    return out.getvalue()


def _others(row: Row, base: str) -> str:
    values = ", ".join(variant.setting for variant in row.variants(base))
    return f"{base}: {values}" if values else ""


def _all(values: tuple[Value, ...]) -> str:
    return " ".join(map(written, values))


def _note(ledger: Ledger) -> str:
    code = {
        name: f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}" for name, rows in ledger.presets.items() if rows
    }
    presets = "; ".join(f"preset {name} has the code's value in {rows}" for name, rows in code.items())
    return (
        f"Default is the value in preset paper; {presets}. The model's own value is written null. Any switch can be "
        "overridden alone: --protocol paper+bos=false, or the setting protocol.bos=false."
    )
