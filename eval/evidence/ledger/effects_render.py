"""The effects of the ledger's rows as terminal tables, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from conf import names
from conf.ledger import written
from eval.evidence.ledger.effects import ALL, Effect, Effects, cell_name, columns, pooled, title
from eval.evidence.ledger.words import caption, interval, notes, number

if TYPE_CHECKING:
    from rich.console import Console

Emphasis = Callable[[str], str]
_Table = tuple[str, list[str], list[list[str]]]


def terminal(effects: Effects, console: Console) -> None:
    """Print a table a base and task, then how to read them."""
    from rich import box
    from rich.table import Table

    for heading, heads, rows in _tables(effects, lambda text: f"*{text}"):
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=heading)
        for at, head in enumerate(heads):
            grid.add_column(head, justify="right" if at else "left")
        for row in rows:
            grid.add_row(*row)
        console.print(grid)
    for line in (caption(effects), *notes(effects)):
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def markdown(effects: Effects) -> str:
    """The whole document: caption, a GitHub table a base and task, notes."""
    lines = [f"**Effects of the ledger's rows.** {caption(effects)}"]
    for heading, heads, rows in _tables(effects, lambda text: f"**{text}**"):
        align = ["---", *["---:"] * (len(heads) - 1)]
        lines += ["", f"**{heading}.**", ""]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (heads, align)]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(effects)), ""])


def tidy_csv(effects: Effects) -> str:
    """One line an effect, then one a mean (pe `mean`, task `all` where it goes over the tasks too); points with six
    decimals, an empty field where there is no number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        (
            "profile", "profile_label", "base", "number", "topic", "switch", "value", "protocol", "task", "pe", "kind",
            "base_ood_accuracy_percent", "change_points", "low", "high", "confidence", "decided", "n", "seeds",
            "diverged_seeds",
        )
    )  # fmt: skip
    for one in (*effects.effects, *(mean for base in effects.bases for mean in pooled(effects, base))):
        variant = one.variant
        writer.writerow(
            (
                effects.collection.profile, effects.collection.label, variant.base, variant.row.number,
                variant.row.topic, variant.key, written(variant.value), variant.protocol, one.task, one.pe,
                one.kind.value, *map(_rounded, (one.base_percent, one.points, one.low, one.high)), effects.confidence,
                one.decided, len(one.seeds), " ".join(map(str, one.seeds)), " ".join(map(str, one.diverged)),
            )
        )  # fmt: skip
    return out.getvalue()


def _tables(effects: Effects, strong: Emphasis) -> Iterator[_Table]:
    """(heading, heads, rows): the means of a base, then a table a task, rows of the ledger down and encodings across;
    one a base for the encodings that only a few rows have."""
    for base in effects.bases:
        means = pooled(effects, base)
        yield f"Base {base}, mean over the encodings that a row acts on", *_grid(means, strong, _mean_head)
        main, *others = encoding_groups(effects.of(base))
        for task in dict.fromkeys(one.task for one in main):
            own = [one for one in main if one.task == task]
            yield f"Base {base}, {names.task(task)}", *_grid(own, strong, lambda task, pe: names.encoding(pe))
        for group in others:
            yield f"Base {base}, other encodings", *_grid(group, strong, cell_name)


def _mean_head(task: str, pe: str) -> str:
    return "All tasks" if task == ALL else names.task(task)


def _grid(
    found: Sequence[Effect], strong: Emphasis, head: Callable[[str, str], str]
) -> tuple[list[str], list[list[str]]]:
    places, by_row = columns(found), dict[str, dict[tuple[str, str], str]]()
    for one in found:
        by_row.setdefault(title(one.variant), {})[one.task, one.pe] = _text(one, strong)
    rows = [[name, *(cells[place] for place in places)] for name, cells in by_row.items()]
    return ["Row", *(head(*place) for place in places)], rows


def encoding_groups(found: Sequence[Effect]) -> list[list[Effect]]:
    """The effects parted by which rows their encoding has: those of every row first, then the others."""
    rows_of: dict[str, list[str]] = {}
    for one in found:
        rows_of.setdefault(one.pe, []).append(one.variant.protocol)
    groups: dict[tuple[str, ...], list[Effect]] = {}
    for one in found:
        groups.setdefault(tuple(dict.fromkeys(rows_of[one.pe])), []).append(one)
    return list(groups.values())


def _text(effect: Effect, strong: Emphasis) -> str:
    value = strong(number(effect)) if effect.decided else number(effect)
    return f"{value} {interval(effect)}".strip()


def _rounded(value: float | None) -> float | None:
    """Six decimals: more than any test set resolves, and free of binary dust."""
    return None if value is None else round(value, 6) + 0.0
