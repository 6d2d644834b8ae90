"""The page itself: sections of sentences, tables, figures and what is missing, as one HTML file without outside parts.

page.html.j2 is its shape. Everything is escaped; sentences may hold inline Markdown, which can neither leave the page
nor run: HTML in it shows as it is written, and images and links are no such thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from eval.evidence.figures.style import render
from eval.evidence.table import Cell, Column, Table, Words

if TYPE_CHECKING:
    from jinja2 import Template
    from markdown_it import MarkdownIt
    from markupsafe import Markup
    from matplotlib.figure import Figure

TALL = 40
"""Rows from which a table scrolls in a frame of its own."""
_KEY_CHARACTERS = 24  # a column that stays in sight while the others scroll: no longer text than this
_WIDE = 6  # columns from which a table has to scroll on a phone
_LONG = 40  # characters from which a text gets room rather than height

_METADATA = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
_COORDINATES = re.compile(r'( (?:d|x|y)=")([^"]*)')
_DECIMALS = re.compile(r"(\.\d\d)\d+")
_UNESCAPED = " !$'()*+,-./:;=?@_~{}|^"
"""What may stand unescaped both in an attribute and in an address; letters and digits always may."""


@dataclass(frozen=True)
class Picture:
    """A figure. `alt` says what it shows to those who cannot see it, `caption` what it means (Markdown, one line);
    `notes` stand below it."""

    figure: Figure
    alt: str
    caption: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Commands:
    """Lines to type."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """What is not there, why, and the commands that would make it."""

    what: str
    why: str
    commands: tuple[str, ...]


Part = Table | Words | Picture | Commands | Missing


@dataclass(frozen=True)
class Section:
    """A section: `key` is its anchor. Parts are pairs (heading or "", part). `folded`: shown when it is asked for.
    `measured`: its tables hold numbers of the profile, whose label then stands in their captions."""

    key: str
    title: str
    parts: tuple[tuple[str, Part], ...]
    folded: bool = True
    measured: bool = True

    @property
    def missing(self) -> bool:
        """Whether it holds nothing but what is missing."""
        return all(isinstance(part, Missing) for _, part in self.parts)


@dataclass(frozen=True)
class Page:
    """A whole page. `label` names the profile wherever numbers of it stand; the texts are Markdown or empty."""

    title: str
    label: str
    introduction: Words
    warning: str
    sections: tuple[Section, ...]


def html(page: Page) -> str:
    """The page as the text of a file. Equal pages give equal text."""
    return _template().render(page=page)


@cache
def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def read(name: str) -> str:
        return files("eval.evidence.report").joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": inline, "source": source, "kind": _kind, "pixels": lambda i: round(96 * i)}
    environment.globals |= {
        "keys": _keys, "groups": _groups, "sort_value": _sort_value, "labelled": _labelled, "TALL": TALL, "LONG": _LONG,
        "style": _safe(read("page.css")), "script": _safe(read("page.js")),
    }  # fmt: skip
    return environment.get_template("page.html.j2")


def _safe(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)


def inline(text: str) -> Markup:
    """A sentence of Markdown as HTML. Names like zero_shot_text may go on in a new line behind each underscore."""
    html = str(_parser().renderInline(" ".join(text.split())))
    return _safe(re.sub(r"_(?![^<]*>)", "_<wbr>", html))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # No link either: labels and names come from records, which may be somebody else's.
    return MarkdownIt("js-default").disable(["image", "link", "autolink"])


def source(figure: Figure) -> Markup:
    """The figure as the `src` of an `<img>`: an SVG data URI with metadata and comments stripped. Escaping only what
    needs it takes half the bytes of base64."""
    text = _METADATA.sub("", render(figure, "svg").decode())
    # A hundredth of a point is finer than any screen or printer.
    text = _COORDINATES.sub(lambda match: match.group(1) + _DECIMALS.sub(r"\1", match.group(2)), text)
    text = re.sub(r"\s+", " ", text).replace("> <", "><").replace('"', "'").strip()
    return _safe(f"data:image/svg+xml,{quote(text, safe=_UNESCAPED)}")


def _kind(part: Part) -> str:
    return type(part).__name__.lower()


def _keys(table: Table) -> int:
    """How many columns, 0 to 2, name the rows of a wide table and stay in sight when it scrolls."""
    if len(table.columns) < _WIDE:
        return 0
    texts = [table.texts(row) for row in table.rows]
    named = [
        not column.number and max([0, *(len(row[i]) for row in texts)]) <= _KEY_CHARACTERS
        for i, column in enumerate(table.columns[:2])
    ]
    return len(named) if all(named) else int(named[:1] == [True])


def _groups(table: Table) -> list[tuple[str, int]]:
    """(name, columns) of every group in its order; empty where no column has one."""
    if not any(column.group for column in table.columns):
        return []
    return [(name, len(list(members))) for name, members in groupby(table.columns, key=lambda column: column.group)]


def _sort_value(cell: Cell, column: Column) -> str | None:
    """What the cell sorts by; None: it stays last."""
    value: Any = cell.value
    if value is None or value == "":
        return None
    if not column.number:
        return str(column.text(value))
    return f"{float(value):.12g}" if isinstance(value, (int, float)) else None


def _labelled(caption: str, label: str) -> str:
    """The caption, with the profile's label added where it does not say it."""
    if not label or label.lower() in caption.lower():
        return caption
    return f"{caption}{'' if caption.endswith('.') or not caption else '.'} {label[:1].upper()}{label[1:]}.".strip()
