"""What the figures with a panel a task have in common: a mean and its band, remarks below, title, caption, legend."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conf import names
from eval.evidence.cells import Collection, differences
from eval.evidence.figures.bands import Series, seeds_text
from eval.evidence.figures.style import SETTINGS, SMALL, settle, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_WIDTH = 2.3  # inches; three panels span both columns of a page at their natural size
BAND = "band: lowest to highest seed"
_TITLE_CHARACTERS, _REMARK_CHARACTERS = 100, 30  # a line; a panel is no wider
_TOGETHER = 8  # encodings in one panel, beyond which curves hide each other
ROW_HEIGHT = 2.3  # inches
BESIDE = 1.3  # inches that a legend beside a row takes


def title(collection: Collection, protocol: str, series: Iterable[Series]) -> str:
    """Protocol, seeds, profile and, when the sizes are not the paper's, that; the profile's label in lines below."""
    return setting(collection, f"Protocol {protocol}, mean of {seeds_text(series)}")


def title_without_sizes(collection: Collection, protocol: str, series: Iterable[Series]) -> str:
    """`title` for what has no published size to compare with."""
    head = f"Protocol {protocol}, mean of {seeds_text(series)}, profile {collection.profile}"
    return "\n".join([head, *textwrap.wrap(collection.label, _TITLE_CHARACTERS)])


def caption_of(collection: Collection, what: str, series: Iterable[Series], protocol: str) -> str:
    """`caption` for what has no published size to compare with."""
    drawn = f"Line: mean of {seeds_text(series)}; {BAND}."
    return f"{what} {drawn} Protocol {protocol}. Profile {labelled(collection)}."


def setting(collection: Collection, what: str) -> str:
    """`what`, then the profile, whether its sizes are the paper's, and its label."""
    _, resized = differences(collection)
    sizes = " (sizes are not the paper's)" if resized else ""
    head = f"{what}, profile {collection.profile}{sizes}"
    return "\n".join([head, *textwrap.wrap(collection.label, _TITLE_CHARACTERS)])


def caption(collection: Collection, what: str, series: Iterable[Series], protocol: str) -> str:
    """Under a figure: `what` it shows, what its lines and bands are, and of which protocol and profile."""
    drawn = f"Line: mean of {seeds_text(series)}; {BAND}."
    return f"{what} {drawn} Protocol {protocol}. {profile(collection)}"


def notes(protocol: str) -> tuple[str, ...]:
    """What a caption leaves out: what the protocol means."""
    return (f"Protocol {names.protocol(protocol)}.",)


def profile(collection: Collection) -> str:
    """A sentence for captions: `Profile quick (its label); sizes are not the paper's.`"""
    _, resized = differences(collection)
    sizes = "; sizes are not the paper's" if resized else ""
    return f"Profile {labelled(collection)}{sizes}."


def labelled(collection: Collection) -> str:
    """`quick (its label)`."""
    return f"{collection.profile} ({collection.label})" if collection.label else collection.profile


def remarks(series: Sequence[Series]) -> list[str]:
    """What a panel would otherwise hide, as lines: curves that are missing, seeds that diverged."""
    missing = ", ".join(names.encoding(curve.pe) for curve in series if not curve.at)
    lines = textwrap.wrap(f"missing: {missing}", _REMARK_CHARACTERS) if missing else []
    return lines + [
        f"{names.encoding(curve.pe)}: {curve.diverged} of {curve.diverged + len(curve.seeds)} diverged"
        for curve in series
        if curve.diverged
    ]


def below(panel: Axes, axis: str, lines: Sequence[str] = ()) -> None:
    """The name of the x axis and, under it, where they hide no curve, remarks."""
    panel.set_xlabel("\n".join([axis, *lines]), fontsize=SMALL + 0.5)


def draw(
    panel: Axes, curve: Series, look: tuple[str, Any], scale: float = 1.0, step: int = 1, width: float = 1.5
) -> None:
    """Mean and band of a series, its values times `scale`, `width` in points. With a `step` of 2 every second point
    is joined, so that two curves appear; a single point gets a mark."""
    colour, dashes = look
    for start in range(step):
        at, mean, low, high = (part[start::step] for part in (curve.at, curve.mean, curve.low, curve.high))
        if not at:
            continue
        lowest, middle, highest = ([scale * value for value in part] for part in (low, mean, high))
        panel.fill_between(at, lowest, highest, color=colour, alpha=0.18, linewidth=0)
        panel.plot(
            at, middle, color=colour, linestyle=dashes, linewidth=width,
            marker="o" if len(at) == 1 else None, markersize=3,
        )  # fmt: skip


def groups(series: Iterable[Series]) -> list[list[str]]:
    """The encodings in groups that one panel can show, pairs of plain and Resonance kept together."""
    pairs: dict[str, list[str]] = {}
    for pe in dict.fromkeys(curve.pe for curve in series):
        pairs.setdefault(names.plain(pe), []).append(pe)
    rows: list[list[str]] = [[]]
    for pair in pairs.values():
        if rows[-1] and len(rows[-1]) + len(pair) > _TOGETHER:
            rows.append([])
        rows[-1] += pair
    return rows


def legend(figure: Figure, drawn_as: Mapping[str, tuple[str, Any]], others: Sequence[Any]) -> None:
    """Below all panels: encodings, then `others`, filled column by column, so that the two of a pair stand together."""
    handles = [*_lines(drawn_as), *others]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, (len(handles) + 1) // 2), frameon=False,
        handlelength=2.6, fontsize=SMALL + 0.5, columnspacing=1.2,
    )  # fmt: skip


def legend_beside(panel: Axes, drawn_as: Mapping[str, tuple[str, Any]]) -> None:
    """The encodings of one row of panels, to the right of its last one."""
    panel.legend(
        handles=_lines(drawn_as), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, handlelength=2.6,
        fontsize=SMALL - 0.5,
    )  # fmt: skip


def _lines(drawn_as: Mapping[str, tuple[str, Any]]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=1.7, label=names.encoding(pe))
        for pe, (colour, dashes) in drawn_as.items()
    ]


def band_mark() -> Any:
    """The legend's entry for bands."""
    from matplotlib.patches import Patch

    return Patch(facecolor="0.8", label=BAND)


def by_task(
    series: Sequence[Series],
    tasks: Sequence[str],
    y: str,
    paint: Callable[[Axes, str, Sequence[str], Mapping[str, Any]], None],
    marks: Callable[[], Sequence[Any]],
    heading: str,
    around: float,
) -> Figure:
    """A figure with a panel a task, and a row for every group of encodings (`groups`). `paint` draws a panel: its task,
    the encodings of its row, and how these look. `marks`: makes what stands in the legend beside the encodings, in
    the figure's own style; `around`: inches above and below the rows."""
    import matplotlib
    from matplotlib.figure import Figure

    parts = groups(series)
    with matplotlib.rc_context(SETTINGS):
        in_rows = len(parts) > 1
        size = (PANEL_WIDTH * max(3, len(tasks)) + BESIDE * in_rows, ROW_HEIGHT * len(parts) + around)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(len(parts), len(tasks), squeeze=False, sharey=True)
        for line, (part, row) in enumerate(zip(parts, grid, strict=True)):
            drawn_as = styles(part)
            for panel, task in zip(row, tasks, strict=True):
                panel.set_title(names.task(task) if line == 0 else "")
                paint(panel, task, part, drawn_as)
            row[0].set_ylabel(y)
            if in_rows:
                legend_beside(row[-1], drawn_as)
        legend(drawn, {} if in_rows else styles(parts[0]), marks())
        drawn.suptitle(heading, fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn
