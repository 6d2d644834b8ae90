"""PosGen explained: a sequence, and what each of its tokens is computed from (Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posgen.errors import require
from posgen.generate import generate
from posgen.rules import dependencies, rule
from posgen.spec import Task

# Columns of the picture's left margin.
LABEL = 9
# Tokens that are explained at most: each is a line to read.
LONGEST = 10_000


@dataclass(frozen=True)
class Row:
    """One token. `far` and `near` are the (position, token) pairs it depends on; both are empty in the seed."""

    position: int
    token: int
    far: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...]

    @property
    def is_seed(self) -> bool:
        """Whether the token was given and not computed."""
        return not (self.far or self.near)


def explain(task: Task, prefix: Sequence[int], length: int) -> list[Row]:
    """The rows of the sequence that continues `prefix` to `length` tokens, seed tokens included.

    Raises `BadValue("prefix", ...)` unless it is far + near whole tokens in 0..modulus-1, for a length above LONGEST,
    and as `generate` does.
    """
    require(not task.is_text, "rule", task.rule, "a text has no rule to explain; use recursive, cot or semi_recursive")
    require(length <= LONGEST, "length", length, f"use at most {LONGEST} tokens: each is a line")
    tokens = generate(task, [list(prefix)], length)[0].tolist()
    rows = []
    for position, token in enumerate(tokens):
        far, near = dependencies(task, position) if position >= task.prefix_length else ((), ())
        rows.append(Row(position, token, tuple((i, tokens[i]) for i in far), tuple((i, tokens[i]) for i in near)))
    return rows


def render(task: Task, rows: Sequence[Row], width: int = 100) -> str:
    """The rows as plain text: what the task is, a picture where it fits into `width` columns, and every sum.

    The picture has a column for each position, a line for each new token, and in it the tokens that this one depends
    on, at their own places: [far] in brackets, near ones plain, the new token after an equals sign.
    """
    cell = 2 + max(len(str(value)) for row in rows for value in (row.position, row.token))
    picture = [_picture(rows, cell)] if LABEL + cell * len(rows) <= width else []
    return "\n\n".join([_heading(task, rows), *picture, _table(task, rows)]) + "\n"


def _heading(task: Task, rows: Sequence[Row]) -> str:
    h = f"sum mod {task.modulus}" if task.h == "sum_mod" else f"{task.h}, modulus {task.modulus}"
    return (
        f"{task.name}: after a seed of {task.prefix_length} tokens, each new token x_l is computed from earlier ones.\n"
        f"j = {task.far} far, k = {task.near} near, h = {h}. {rule(task.rule).summary}\n"
        f"{' '.join(str(row.token) for row in rows)}"
    )


def _picture(rows: Sequence[Row], cell: int) -> str:
    def line(label: str, marks: dict[int, str]) -> str:
        cells = "".join(marks.get(row.position, "").rjust(cell) for row in rows)
        return f"{label:<{LABEL}}{cells}".rstrip()

    # a blank after every plain number keeps the digits above each other where others have a bracket
    lines = [
        line("position", {row.position: f"{row.position} " for row in rows}),
        line("sequence", {row.position: f"{row.token} " for row in rows}),
    ]
    for row in rows:
        if not row.is_seed:
            far = {position: f"[{token}]" for position, token in row.far}
            near = {position: f"{token} " for position, token in row.near}
            lines.append(line(f"x{row.position}", far | near | {row.position: f"={row.token} "}))
    return "\n".join(lines)


def _table(task: Task, rows: Sequence[Row]) -> str:
    lines = [("position", "token", "far", "near", "sum" if task.h == "sum_mod" else task.h)]
    for row in rows:
        far, near = (" ".join(f"x{i}={token}" for i, token in run) for run in (row.far, row.near))
        lines.append((str(row.position), str(row.token), far, near, "seed" if row.is_seed else _sum(task, row)))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        f"{position:>{widths[0]}}  {token:>{widths[1]}}  {far:<{widths[2]}}  {near:<{widths[3]}}  {total}".rstrip()
        for position, token, far, near, total in lines
    )


def _sum(task: Task, row: Row) -> str:
    args = [token for _, token in (*row.far, *row.near)]
    if task.h != "sum_mod":
        return f"h({', '.join(map(str, args))}) = {row.token}"
    total = sum(args)
    reduced = f" = {row.token} mod {task.modulus}" if total != row.token else ""
    return f"{' + '.join(map(str, args))} = {total}{reduced}"
