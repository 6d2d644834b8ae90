"""Plain tables for the terminal: columns lined up, nothing cut off, so that they can be piped."""

from __future__ import annotations

from collections.abc import Sequence

MISSING = "—"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, every column as wide as its widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def percent(fraction: float | None) -> str:
    """A fraction in percent with two decimals; a dash when there is none."""
    return MISSING if fraction is None else f"{100 * fraction:.2f}"


def nats(loss: float | None) -> str:
    """A loss with four decimals; a dash when there is none."""
    return MISSING if loss is None else f"{loss:.4f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use: `40 seconds`, `12 minutes`, `5.2 hours`, `3.1 days`."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if unit == "minutes" else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
