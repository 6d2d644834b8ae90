"""`posgen figure3`, `figure4`, `positions`, `curves` and `gap`: figures from records alone, one for each protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cli.shared.options import (
    CodeOption,
    OutOption,
    PictureFormatOption,
    RecordedProfileOption,
    RecordedProtocolOption,
    RecordedTasksOption,
    RecordsOption,
    SweepOption,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eval.evidence.cells import Collection
    from eval.evidence.table import Table


class _Drawn(NamedTuple):
    """What one protocol gives: figures and the numbers behind them by file name (the stem), and what is printed."""

    figures: Mapping[str, Figure]
    numbers: Mapping[str, Table]
    words: tuple[str, ...]


Drawer = Callable[["Collection", str, Sequence[tuple[str, str]]], _Drawn]


def figure3(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME[,NAME...]", help="png, svg, pdf, or all.")
    ] = "png,pdf",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw Figure 3 of the paper from records alone: validation loss against epoch, a panel a task.

    Nothing is trained, and it takes seconds. Each protocol becomes figure3-<protocol>.png and .pdf; figure3.csv holds
    the numbers behind them. What the paper claims about its figure is printed as it came out here.

    Example: posgen figure3 --profile quick --protocol paper,zero_shot
    """
    from cli.shared.output import chosen_formats, save
    from cli.shared.records import collection, computed, folder_of
    from conf import published
    from eval.evidence.figures import panels
    from eval.evidence.figures.figure3 import caption, claims, curves, figure, numbers
    from eval.evidence.figures.style import DPI, FORMATS
    from eval.evidence.table import csv_text

    formats = chosen_formats(format, FORMATS)
    cells = computed(collection(records, profile, protocol, sweep))
    places, axes = list(published.table1()), published.figure3()
    by_protocol = {name: curves(cells, name, places) for name in cells.protocols}
    figures = {f"figure3-{name}": figure(cells, series, axes) for name, series in by_protocol.items()}
    text = csv_text(numbers([curve for series in by_protocol.values() for curve in series]))
    save(out or folder_of(records, profile), figures, {"figure3.csv": text}, formats, DPI)
    for name, series in by_protocol.items():
        typer.echo("\n".join(["", caption(cells, series), *panels.notes(name), *claims(series)]))


def figure4(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    format: PictureFormatOption = "png,pdf",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw the loss of a language model at every position, trained with each encoding, from the records of a text.

    The paper's Figure 4 shows fine-tuned models of 7B weights; this shows small ones that know no other encoding. Lines
    are means over seeds, bands reach from the lowest to the highest seed; the training length is marked. Each protocol
    becomes figure4-<protocol>.png and .pdf, with its numbers in figure4-<protocol>.csv. Default: profile text.

    \b
    posgen figure4 --profile text_quick
    posgen table1 --profile text_quick      losses, and Resonance against plain
    """
    from cli.shared.output import chosen_formats, save
    from cli.shared.records import collection, folder_of
    from eval.evidence.cells import parted
    from eval.evidence.figures import panels
    from eval.evidence.figures.losses import caption, figure, numbers, rows
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.table import csv_text
    from posgen.errors import UserError

    formats = chosen_formats(format, FORMATS)
    profile = profile if records else profile or "text"
    _, cells = parted(collection(records, profile, protocol, sweep))
    if cells is None:
        raise UserError("none of these records is of a text; run `posgen sweep --profile text_quick`")
    series = {name: rows(cells, name) for name in cells.protocols}
    figures = {f"figure4-{name}": figure(cells, of_one) for name, of_one in series.items()}
    texts = {f"figure4-{name}.csv": csv_text(numbers(of_one)) for name, of_one in series.items()}
    save(out or folder_of(records, profile), figures, texts, formats)
    for name, of_one in series.items():
        print("\n".join(["", caption(cells, of_one), *panels.notes(name)]))


def positions(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    task: RecordedTasksOption = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Error rates on a logarithmic scale instead: errors-<protocol>.png, .csv.")
    ] = False,
    format: PictureFormatOption = "png",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw the accuracy at every position of the test sequences from records alone, a panel a task.

    Lines are means over seeds, bands reach from the lowest to the highest seed; the training length and chance are
    marked. Each protocol becomes positions-<protocol>.png, with its numbers in positions-<protocol>.csv. With --errors,
    1 - accuracy on a logarithmic scale, down to what the test sequences can resolve: rare errors show.

    \b
    posgen positions --profile quick
    posgen positions --profile quick --errors
    posgen positions --protocol paper --task semi_recursive --format svg,pdf --out figures
    """
    from eval.evidence.figures import positions as drawing

    def drawer(cells: Collection, name: str, places: Sequence[tuple[str, str]]) -> _Drawn:
        series, notes = drawing.rows(cells, name, places), drawing.notes(cells, name)
        if not errors:
            figure = drawing.figure(cells, series)
            words = (drawing.caption(cells, series), *notes)
            return _Drawn({"positions": figure}, {"positions": drawing.numbers(series)}, words)
        rates, resolution = drawing.errors(series), drawing.resolution(cells, series)
        words = (drawing.caption(cells, series, "Error rate"), *notes, resolution.note)
        figure = drawing.figure(cells, rates, resolution.floor)
        return _Drawn({"errors": figure}, {"errors": drawing.numbers(rates)}, words)

    _draw(drawer, records, profile, protocol, task, format, out, sweep)


def curves(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    task: RecordedTasksOption = None,
    format: PictureFormatOption = "png",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw learning curves from records alone: training and validation loss, ID and OOD accuracy, a column a task.

    Lines are means over seeds, bands reach from the lowest to the highest seed; chance is marked. Each protocol becomes
    curves-<protocol>.png, with its numbers in curves-<protocol>.csv.

    \b
    posgen curves --profile quick
    posgen curves --protocol zero_shot --task cot --format all --out figures
    """
    from eval.evidence.figures.learning import caption, figure, notes, numbers, rows

    def drawer(cells: Collection, name: str, places: Sequence[tuple[str, str]]) -> _Drawn:
        learning = rows(cells, name, places)
        words = (caption(cells, learning), *notes(learning))
        return _Drawn({"curves": figure(cells, learning)}, {"curves": numbers(learning)}, words)

    _draw(drawer, records, profile, protocol, task, format, out, sweep)


def gap(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    task: RecordedTasksOption = None,
    format: PictureFormatOption = "png",
    out: OutOption = None,
    sweep: SweepOption = None,
    code: CodeOption = None,
) -> None:
    """Draw each rotary encoding's feature gap beside its accuracy by position, and all wavelengths, from records alone.

    gap-<protocol>.png: above, how far the features at a position lie from all trained ones (the paper's eq. 8); below,
    the accuracy there. wavelengths-<protocol>.png: wavelength and largest gap of every feature, with the critical
    feature marked. The gaps of each position stand in gap-<protocol>.csv.

    \b
    posgen gap --profile quick
    posgen gap --protocol paper --format svg --out figures
    """
    from cli.shared.options import trust_named
    from eval.evidence.figures.encodings import draw_features
    from eval.evidence.figures.gap import caption, figure, gaps, notes, numbers, wavelengths_by_encoding
    from eval.evidence.figures.panels import setting
    from eval.evidence.figures.positions import rows

    trust_named(code)

    def drawer(cells: Collection, name: str, places: Sequence[tuple[str, str]]) -> _Drawn:
        by_encoding, series = gaps(cells, name, places), rows(cells, name, places)
        features = wavelengths_by_encoding(cells, name, places)
        figures = {
            "gap": figure(cells, by_encoding, series),
            "wavelengths": draw_features(features, setting(cells, f"Protocol {name}")),
        }
        words = (caption(cells, series), *notes(cells, name, by_encoding))
        return _Drawn(figures, {"gap": numbers(name, by_encoding)}, words)

    _draw(drawer, records, profile, protocol, task, format, out, sweep)


def _draw(
    drawer: Drawer,
    records: list[Path] | None,
    profile: str | None,
    protocol: str | None,
    task: str | None,
    format: str,
    out: Path | None,
    sweep: str | None,
) -> None:
    """Draw every protocol that the options choose; everything is drawn before anything is written."""
    from cli.shared.output import chosen_formats, save
    from cli.shared.records import collection, computed, folder_of, of_tasks
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.table import csv_text

    formats = chosen_formats(format, FORMATS)
    cells, places, ending = of_tasks(computed(collection(records, profile, protocol, sweep)), task)
    drawn = {name: drawer(cells, name, places) for name in cells.protocols}
    figures: dict[str, Figure] = {}
    texts: dict[str, str] = {}
    for name, parts in drawn.items():
        figures |= {f"{stem}-{name}{ending}": figure for stem, figure in parts.figures.items()}
        texts |= {f"{stem}-{name}{ending}.csv": csv_text(table) for stem, table in parts.numbers.items()}
    save(out or folder_of(records, profile), figures, texts, formats)
    for parts in drawn.values():
        print("\n".join(["", *parts.words]))
