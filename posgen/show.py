"""PosGen explained: a sequence, and what each of its answers is computed from (Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posgen.answers import SERVED, answers, scored_positions
from posgen.errors import require
from posgen.generate import generate
from posgen.rules import dependencies, rule
from posgen.spec import Answers, Task

# Columns of the picture's left margin.
LABEL = 9
# Tokens that are explained at most: each is a line to read.
LONGEST = 10_000


@dataclass(frozen=True)
class Row:
    """One position. `far` and `near` are the (position, token) pairs that the answer there depends on; both are empty
    where nothing is asked. `answer`: where it is not the token itself."""

    position: int
    token: int
    far: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...]
    answer: int | None = None

    @property
    def is_seed(self) -> bool:
        """Whether nothing is computed here: the token was given or drawn."""
        return not (self.far or self.near)

    @property
    def result(self) -> int:
        """The answer."""
        return self.token if self.answer is None else self.answer


def explain(task: Task, prefix: Sequence[int], length: int) -> list[Row]:
    """The rows of the sequence that continues `prefix` to `length` tokens, seed tokens included.

    Raises `BadValue("prefix", ...)` unless these are as many whole tokens in 0..modulus-1 as the seed has, for a length
    above LONGEST, and as `generate` does.
    """
    require(not task.is_text, "rule", task.rule, "a text has no rule to explain; use recursive, cot or semi_recursive")
    require(length <= LONGEST, "length", length, f"use at most {LONGEST} tokens: each is a line")
    sequence = generate(task, [list(prefix)], length)
    tokens, right = sequence[0].tolist(), answers(task, sequence)[0].tolist()
    asked, hidden = scored_positions(task, length), task.answers is Answers.hidden
    rows = []
    for position, token in enumerate(tokens):
        far, near = dependencies(task, position) if position in asked else ((), ())
        answer = right[position] if hidden and position in asked else None
        far_pairs, near_pairs = (tuple((i, tokens[i]) for i in run) for run in (far, near))
        rows.append(Row(position, token, far_pairs, near_pairs, answer))
    return rows


def render(task: Task, rows: Sequence[Row], width: int = 100) -> str:
    """The rows as plain text: what the task is, a picture where it fits into `width` columns, and every sum.

    The picture has a column for each position, a line for each answer, and in it the tokens that this one depends on,
    at their own places: [far] in brackets, near ones plain, the answer after an equals sign.
    """
    cell = 2 + max(len(str(value)) for row in rows for value in (row.position, row.token, row.result))
    picture = [_picture(task, rows, cell)] if LABEL + cell * len(rows) <= width else []
    return "\n\n".join([_heading(task, rows), *picture, _table(task, rows)]) + "\n"


def _heading(task: Task, rows: Sequence[Row]) -> str:
    h = f"sum mod {task.modulus}" if task.h == "sum_mod" else f"{task.h}, modulus {task.modulus}"
    gap = f", {task.gap} between them not read (the rule's k counts them)" if task.gap else ""
    return (
        f"{task.name}: after a seed of {task.prefix_length} tokens, {_ASKED[task.answers]}\n"
        f"j = {task.far} far, k = {task.near} near{gap}, h = {h}. {rule(task.rule).summary}\n"
        f"{' '.join(str(row.token) for row in rows)}"
    )


_ASKED = {
    Answers.fed_back: "each new token x_l is computed from earlier ones.",
    Answers.hidden: "all tokens u_l are random; the answer y_l is computed from earlier ones and is no token.",
    Answers.interleaved: "tokens alternate: a_s is random, the answer y_s is computed from earlier a and y.",
}


def _name(task: Task, position: int, answer: bool = False) -> str:
    """What the token, or the answer, at a position is called: `x4`, `u4` and `y4`, or `a2` and `y2`."""
    if task.is_interleaved:
        return f"{'ay'[position % 2]}{position // 2}"
    return f"{'x' if task.answers is Answers.fed_back else 'y' if answer else 'u'}{position}"


def _picture(task: Task, rows: Sequence[Row], cell: int) -> str:
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
            name = _name(task, row.position, answer=True)
            lines.append(line(name, far | near | {row.position: f"={row.result} "}))
    return "\n".join(lines)


def _table(task: Task, rows: Sequence[Row]) -> str:
    lines = [("position", "token", "far", "near", "sum" if task.h == "sum_mod" else task.h)]
    for row in rows:
        far, near = (" ".join(f"{_name(task, i)}={token}" for i, token in run) for run in (row.far, row.near))
        given = "seed" if row.position < task.prefix_length else "random"
        lines.append((str(row.position), str(row.token), far, near, given if row.is_seed else _sum(task, row)))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        f"{position:>{widths[0]}}  {token:>{widths[1]}}  {far:<{widths[2]}}  {near:<{widths[3]}}  {total}".rstrip()
        for position, token, far, near, total in lines
    )


def _sum(task: Task, row: Row) -> str:
    served = [SERVED] * (task.far - len(row.far))
    args = [*served, *(token for _, token in (*row.far, *row.near))]
    if task.h != "sum_mod":
        return f"h({', '.join(map(str, args))}) = {row.result}"
    total = sum(args)
    if len(args) == 1:
        return str(row.result)
    reduced = f" = {row.result} mod {task.modulus}" if total != row.result else ""
    return f"{' + '.join(map(str, args))} = {total}{reduced}"
