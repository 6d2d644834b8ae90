"""Markdown, as the tables of this suite are written, to HTML whose tables can be sorted.

What a table says, and how it rounds, is decided once, by the module that writes its Markdown; the page shows that text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_NUMBER = re.compile(r"[\[(]?\s*[<>≤≥≈~]?\s*([+\-−]?\d[\d,]*(?:\.\d+)?(?:e[+\-]?\d+)?)", re.IGNORECASE)
_MISSING = ("", "—", "–", "-")
HEADING = "h3"
"""What every heading of a text becomes: the page's own sections stand above it."""
_KEY_CHARACTERS = 24  # a column that stays in sight while the others scroll: no longer text than this
_LONG = 40  # characters from which a text gets room rather than height
_WIDE = 6  # columns from which a table has to scroll on a phone


@dataclass(frozen=True)
class Cell:
    """A cell: its HTML, and its text without markup."""

    html: str
    text: str

    @property
    def value(self) -> float | None:
        """The number that the cell sorts by: its first, `27.52 ± 4.54` by 27.52. None: it does not begin with one."""
        found = _NUMBER.match(self.text.strip())
        return float(found.group(1).replace(",", "").replace("−", "-")) if found else None

    @property
    def plain(self) -> bool:
        """Whether it holds a number and nothing else."""
        return _NUMBER.fullmatch(self.text.strip()) is not None

    @property
    def missing(self) -> bool:
        """Whether it holds nothing, or the dash that stands for nothing."""
        return self.text.strip() in _MISSING


@dataclass(frozen=True)
class Table:
    """Header and rows of equal length, and which columns hold numbers."""

    header: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[bool, ...]

    @property
    def keys(self) -> int:
        """How many columns, 0 to 2, name the rows of a wide table and stay in sight when it scrolls."""
        if len(self.header) < _WIDE:
            return 0
        columns = list(zip(*self.rows, strict=True))[:2]
        short = [max(len(cell.text) for cell in column) <= _KEY_CHARACTERS for column in columns]
        names = [fits and not number for fits, number in zip(short, self.numeric, strict=False)]
        return len(names) if all(names) else int(names[:1] == [True])


@dataclass(frozen=True)
class Prose:
    """Anything that is no table: HTML that is complete in itself."""

    html: str
    paragraph: bool


def blocks(markdown: str) -> Iterator[Prose | Table]:
    """The blocks of a text in their order.

    Nothing in the text can leave the page or run: HTML shows as it is written, pictures are not fetched, and a link
    is one only to the web.
    """
    parser = _parser()
    for tokens in _groups(parser.parse(markdown)):
        if tokens[0].type == "heading_open":
            tokens[0].tag = tokens[-1].tag = HEADING
        if tokens[0].type == "table_open":
            yield _table(parser, tokens)
        else:
            html = parser.renderer.render(tokens, parser.options, {})
            yield Prose(html.rstrip("\n"), paragraph=tokens[0].type == "paragraph_open")


def inline(text: str) -> str:
    """One line of Markdown as HTML."""
    parser = _parser()
    return str(parser.renderInline(text))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("js-default").disable(["image", "lheading"])
    # A relative link would be resolved from wherever the page was put.
    parser.validateLink = lambda url: url.startswith(("https://", "http://"))  # type: ignore[method-assign]
    return parser


def _groups(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Tokens of one block at the outermost level each."""
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _table(parser: MarkdownIt, tokens: Sequence[Token]) -> Table:
    lines: list[list[Cell]] = []
    right: list[bool] = []
    for token, inner in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "tr_open":
            lines.append([])
        elif token.type in ("th_open", "td_open"):
            assert inner is not None
            html = parser.renderer.render([inner], parser.options, {})
            lines[-1].append(Cell(html, _text(inner)))
            if token.type == "th_open":
                right.append("right" in str(token.attrGet("style") or ""))
    header, *rows = (tuple(line) for line in lines)
    numeric = tuple(aligned or _numbers([row[i] for row in rows]) for i, aligned in enumerate(right))
    return Table(header, tuple(rows), numeric)


def _numbers(cells: Sequence[Cell]) -> bool:
    """Whether every cell that holds something is a number and nothing but a number."""
    held = [cell for cell in cells if not cell.missing]
    return bool(held) and all(cell.plain for cell in held)


def _text(token: Token) -> str:
    return "".join(
        child.content if child.type in ("text", "code_inline") else " " if child.type == "softbreak" else ""
        for child in token.children or ()
    )


def table_html(table: Table, label: str) -> str:
    """A `<table>` that the page's script can sort. `label`: the id of the element that describes it."""
    sticky = f' class="keys-{table.keys}"' if table.keys else ""
    head = "".join(
        f'<th scope="col"{_kind(number)}>{_breakable(cell.html)}</th>'
        for cell, number in zip(table.header, table.numeric, strict=True)
    )
    body = "\n".join(f"<tr>{_row(row, table.numeric)}</tr>" for row in table.rows)
    return (
        f'<table{sticky} aria-labelledby="{escape(label)}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _breakable(html: str) -> str:
    """Names like zero_shot_text may go on in a new line behind each underscore: no column of short numbers is as wide
    as the name above it. What stands inside a tag is left alone."""
    return re.sub(r"_(?![^<]*>)", "_<wbr>", html)


def _row(row: Sequence[Cell], numeric: Sequence[bool]) -> str:
    return "".join(_cell(cell, number) for cell, number in zip(row, numeric, strict=True))


def _cell(cell: Cell, number: bool) -> str:
    value = cell.value if number else None if cell.missing else cell.text.strip()
    sort = "" if value is None else f' data-value="{escape(f"{value:.12g}" if number else str(value))}"'
    return f"<td{_kind(number, len(cell.text) > _LONG)}{sort}>{cell.html}</td>"


def _kind(number: bool, long: bool = False) -> str:
    return ' class="number"' if number else ' class="long"' if long else ""
