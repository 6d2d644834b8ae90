"""Output of the commands: aligned tables, files, numbers and durations as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

MISSING = "—"
_SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}


def chosen_formats(text: str, known: Sequence[str]) -> list[str]:
    """The formats that an option names, `all` of those known or a comma list. BadValue for one that is unknown."""
    from conf.overrides import words
    from posgen.errors import BadValue, nearest

    chosen = list(known) if text == "all" else words("format", text)
    for name in chosen:
        if name not in known:
            raise BadValue("format", name, nearest(name, [*known, "all"]))
    return chosen


def show(
    formats: Sequence[str],
    terminal: Callable[[Console], None],
    texts: Mapping[str, Callable[[], str]],
    out: Path | None,
    stem: str,
) -> None:
    """Show a table in the chosen formats: `terminal` on the console; `texts`, by format, in files <stem>.md, .csv,
    .tex or .json below `out`, printed where that is None."""
    from rich.console import Console

    from eval.store.files import write_atomically

    for name in formats:
        if name == "terminal":
            console = Console()
            # Logs and pipes have no width; 160 characters fit the widest table.
            terminal(console if console.is_terminal else Console(width=160))
        elif out is None:
            typer.echo(texts[name](), nl=False)
        else:
            path = out / f"{stem}.{_SUFFIXES[name]}"
            write_atomically(path, texts[name]().encode())
            typer.echo(f"wrote {path}")


def tell_slow_bf16(dtype: str, device: str | None, remedy: str) -> None:
    """One line where `dtype` is bf16 and this CPU computes that in a plain loop; `remedy`: the option for fp32."""
    from models.kernels import bf16_is_slow

    if dtype == "bf16" and bf16_is_slow(device or "cpu"):
        typer.echo(f"posgen: this CPU has no fast bf16 products; {remedy} is several times faster here", err=True)


def save(
    folder: Path, figures: Mapping[str, Figure], texts: Mapping[str, str], chosen: Sequence[str], dpi: int | None = None
) -> None:
    """Write figures, by name without suffix, in every chosen format, and texts by file name. All are rendered before
    the first is written. `dpi`: of PNGs, a screen's by default."""
    from eval.evidence.figures.style import SCREEN_DPI, render
    from eval.store.files import write_atomically

    content = {
        f"{name}.{kind}": render(figure, kind, dpi or SCREEN_DPI) for name, figure in figures.items() for kind in chosen
    }
    content |= {name: text.encode() for name, text in texts.items()}
    for name, data in content.items():
        write_atomically(folder / name, data)
        typer.echo(f"wrote {folder / name}")


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


def size(count: int) -> str:
    """Bytes in a readable unit: `512 B`, `1.5 KiB`, `2.0 GiB`."""
    for power, unit in enumerate(("B", "KiB", "MiB", "GiB")):
        if count < 1024 ** (power + 1):
            return f"{count} B" if power == 0 else f"{count / 1024**power:.1f} {unit}"
    return f"{count / 1024**4:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds in a readable unit: `40 seconds`, `12 minutes`, `5.2 hours`, `3.1 days`."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if unit == "minutes" else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
