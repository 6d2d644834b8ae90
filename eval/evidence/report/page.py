"""The page itself: sections of text, tables, pictures and what is missing, as one HTML file without outside parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from eval.evidence.report.svg import source
from eval.evidence.report.tables import HEADING, Prose, Table, blocks, inline, table_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Nothing is fetched and nothing sent, even if a text on the page should ask for it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_TALL = 40  # rows from which a table scrolls in a frame of its own


@dataclass(frozen=True)
class Text:
    """Markdown: paragraphs, lists, and tables with their captions above and their notes below. `measured`: its tables
    hold numbers of the profile, whose label then stands in their captions."""

    markdown: str
    measured: bool = True


@dataclass(frozen=True)
class Picture:
    """A figure. `alt` says what it shows to those who cannot see it, `caption` what it means (Markdown, one line)."""

    figure: Figure
    alt: str
    caption: str


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


Part = Text | Picture | Commands | Missing


@dataclass(frozen=True)
class Section:
    """A section: `key` is its anchor. Parts are pairs (heading or "", part)."""

    key: str
    title: str
    parts: tuple[tuple[str, Part], ...]

    @property
    def missing(self) -> bool:
        """Whether it holds nothing but what is missing."""
        return all(isinstance(part, Missing) for _, part in self.parts)


@dataclass(frozen=True)
class Page:
    """A whole page. `label` names the profile wherever numbers of it stand; `warning` is Markdown or empty."""

    title: str
    label: str
    introduction: str
    warning: str
    sections: tuple[Section, ...]


def html(page: Page) -> str:
    """The page as the text of a file. Equal pages give equal text."""
    style, script = (
        files("eval.evidence.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    title = escape(f"{page.title}: {page.label}")
    warning = f'<div class="warning" role="note">{_prose(page.warning)}</div>' if page.warning else ""
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # An empty icon of its own: browsers would ask the server for one.
        '<link rel="icon" href="data:,">',
        f"<title>{title}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        f"<header>\n<h1>{escape(page.title)}</h1>\n<p>{escape(page.label)}</p>",
        _prose(page.introduction),
        f"{warning}\n</header>",
        '<nav aria-label="Contents">\n<ol>',
        *(_entry(section) for section in page.sections),
        "</ol>\n</nav>",
        "<main>",
        *(line for section in page.sections for line in _section(section, page.label)),
        "</main>",
        f"<script>\n{script}</script>",
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(line for line in lines if line or line is lines[-1])


def _entry(section: Section) -> str:
    gap = ' <span class="gap">(not measured)</span>' if section.missing else ""
    return f'<li><a href="#{escape(section.key)}">{escape(section.title)}</a>{gap}</li>'


def _section(section: Section, label: str) -> Iterator[str]:
    heading = f"{section.key}-title"
    kind = ' class="absent"' if section.missing else ""
    yield f'<section id="{escape(section.key)}"{kind} aria-labelledby="{escape(heading)}">'
    yield f'<h2 id="{escape(heading)}">{escape(section.title)}</h2>'
    for number, (title, part) in enumerate(section.parts, start=1):
        if title:
            # With its part in one frame, so that no page ends with a heading.
            yield f"<div>\n<{HEADING}>{escape(title)}</{HEADING}>"
        yield from _part(part, f"{section.key}-{number}", title or section.title, label)
        if title:
            yield "</div>"
    yield "</section>"


def _part(part: Part, key: str, title: str, label: str) -> Iterator[str]:
    if isinstance(part, Text):
        yield from _text(part.markdown, key, title, label if part.measured else "")
    elif isinstance(part, Picture):
        yield from _picture(part, key, label)
    elif isinstance(part, Commands):
        yield _commands(part.lines)
    else:
        yield '<div class="missing" role="note">'
        yield f"<p><strong>{escape(part.what)}: not measured.</strong> {inline(part.why)}</p>"
        yield "<p>This makes it:</p>"
        yield f"{_commands(part.commands)}\n</div>"


def _text(markdown: str, key: str, title: str, label: str) -> Iterator[str]:
    """A paragraph that stands right above a table is its caption."""
    caption = f"<p>{escape(title)}</p>"
    found = list(blocks(markdown))
    for number, block in enumerate(found):
        following = found[number + 1] if number + 1 < len(found) else None
        if isinstance(block, Prose) and block.paragraph and isinstance(following, Table):
            caption = block.html
        elif isinstance(block, Prose):
            yield block.html
        else:
            anchor = f"{key}-{number}"
            yield f'<figure>\n<figcaption id="{escape(anchor)}">{_labelled(caption, label)}</figcaption>'
            yield _scroll(table_html(block, anchor), anchor, tall=len(block.rows) > _TALL)
            yield "</figure>"


def _picture(part: Picture, key: str, label: str) -> Iterator[str]:
    width, height = (round(96 * inches) for inches in part.figure.get_size_inches())
    # As a picture and not as elements of the page: the ids inside of several figures would be the same.
    anchor = f"{key}-caption"
    image = f'<img src="{source(part.figure)}" width="{width}" height="{height}" alt="{escape(part.alt)}">'
    yield "<figure>"
    yield _scroll(image, anchor)
    yield f'<figcaption id="{escape(anchor)}">{_labelled(f"<p>{inline(part.caption)}</p>", label)}</figcaption>'
    yield "</figure>"


def _scroll(content: str, label: str, tall: bool = False) -> str:
    """A frame that a keyboard can scroll too, where the content is wider than the page, or taller than a screen."""
    kind = "scroll tall" if tall else "scroll"
    return f'<div class="{kind}" role="region" aria-labelledby="{escape(label)}" tabindex="0">\n{content}\n</div>'


def _labelled(caption: str, label: str) -> str:
    """The caption, with the profile's label added where it does not say it."""
    text = escape(label, quote=False)  # as Markdown becomes HTML
    if text.lower() in caption.lower():
        return caption
    before = caption.removesuffix("</p>")
    return f"{before}{'' if before.endswith(('.', '.</strong>')) else '.'} {text[:1].upper()}{text[1:]}.</p>"


def _commands(lines: Sequence[str]) -> str:
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"


def _prose(markdown: str) -> str:
    return "\n".join(block.html for block in blocks(markdown) if isinstance(block, Prose))
