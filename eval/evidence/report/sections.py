"""The sections of the page, each from the records that it needs, or with the commands that would make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from eval.evidence.cells import Collection, collect
from eval.evidence.figures.panels import differs
from eval.evidence.report import alt
from eval.evidence.report.again import Again
from eval.evidence.report.page import Missing, Part, Picture, Section, Text
from eval.evidence.report.sources import Sources
from posgen.errors import UserError

Parts = Iterator[tuple[str, Part]]


def of_the_table(sources: Sources, collection: Collection, again: Again) -> Iterator[Section]:
    """What the records of Table 1 show."""
    pictures: tuple[tuple[str, str, Callable[[Sources, Collection, str], Part]], ...] = (
        ("figure3", "Figure 3: validation loss by epoch", _figure3),
        ("positions", "Accuracy at every position", _positions),
        ("gap", "Feature gap beside accuracy", _gap),
        ("wavelengths", "Wavelengths and the critical feature", _wavelengths),
        ("curves", "Learning curves", _curves),
    )
    yield Section("table1", "Table 1", tuple(_table1(sources, collection, again)))
    yield Section("verdicts", "Verdicts and claims", (("", _verdicts(sources, collection)),))
    for key, title, make in pictures:
        parts = tuple(
            (f"Protocol {name}", _attempt(f"{title}, protocol {name}", again.sweep, make, sources, collection, name))
            for name in collection.protocols
        )
        yield Section(key, title, parts)


def beyond_the_table(sources: Sources, again: Again) -> Iterator[Section]:
    """What needs records of its own: the ledger, the league of all encodings, other lengths."""
    yield Section("ledger", "The ledger: the paper's text against the released code", (("", _ledger(sources)),))
    for key, title, make, kind in (
        ("effects", "What each row of the ledger does", _effects, "ledger"),
        ("league", "All encodings of the suite", _league, "league"),
        ("lengths", "Effective length", _lengths, "lengths"),
    ):
        try:
            parts = tuple(make(sources))
        except UserError as error:
            parts = (("", Missing(title, str(error), again.other(kind))),)
        yield Section(key, title, parts)


def _attempt(what: str, commands: Sequence[str], make: Callable[..., Part], *arguments: object) -> Part:
    """A part, or what its records lack."""
    try:
        return make(*arguments)
    except UserError as error:
        return Missing(what, str(error), tuple(commands))


def _in_short(collection: Collection, caption: str) -> str:
    """A caption without the list of what differs from the paper, which stands at the top of the page."""
    return caption.replace(f" {differs(collection)}", "")


def _table1(sources: Sources, collection: Collection, again: Again) -> Parts:
    from eval.evidence.table1 import build
    from eval.evidence.table1_render import markdown

    yield "", Text(markdown(build(collection, sources.published)))
    for protocol, cells in again.unmeasured(sources.places).items():
        yield "", Missing(f"Some cells of Table 1 under protocol {protocol}", f"{', '.join(cells)}.", again.sweep)


def _verdicts(sources: Sources, collection: Collection) -> Part:
    from eval.evidence.verdict.judge import judge
    from eval.evidence.verdict.render import markdown

    return Text(markdown(judge(collection, sources.published, sources.rules)))


def _figure3(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.figure3 import caption, curves, figure

    found = curves(collection, protocol, sources.places)
    what = "Line charts of validation loss against epoch, a panel a task, a line an encoding."
    words = alt.lines(what, found, alt.last, "in the last epoch, in nats")
    return Picture(figure(collection, found, sources.axes), words, _in_short(collection, caption(collection, found)))


def _positions(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.positions import caption, figure, rows, sizes

    found = rows(collection, protocol, sources.places)
    lengths = {task: one.train_length for task, one in sizes(collection, protocol).items()}
    what = (
        "Line charts of accuracy against position, a panel a task, a line an encoding; the training length is marked."
    )
    words = alt.lines(what, found, alt.percent_from(lengths), "on average beyond the training length, in %")
    return Picture(
        figure(collection, protocol, sources.places), words, _in_short(collection, caption(collection, found))
    )


def _gap(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.gap import caption, figure, gaps

    found = gaps(collection, protocol, sources.places)
    drawn = figure(collection, protocol, sources.places)
    return Picture(drawn, alt.gaps(found), _in_short(collection, caption(collection, protocol, found)))


def _wavelengths(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.encodings import draw_features
    from eval.evidence.figures.gap import wavelengths_by_encoding
    from eval.evidence.figures.panels import setting

    found = wavelengths_by_encoding(collection, protocol, sources.places)
    caption = (
        "Wavelength of every feature (tokens), its distance to a whole number, and its largest feature gap (the "
        "paper's eq. 8). A feature is pre-critical when its wavelength is below the training length; Resonance rounds "
        f"each wavelength to a whole number of tokens. Protocol {protocol}."
    )
    return Picture(draw_features(found, setting(collection, f"Protocol {protocol}")), alt.wavelengths(found), caption)


def _curves(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.learning import QUANTITIES, caption, figure, rows

    found = rows(collection, protocol, sources.places)
    titles = ", ".join(quantity.title for quantity in QUANTITIES)
    what = f"Line charts against epoch, a column a task, a row each for {titles}."
    ood = QUANTITIES[-1]
    words = alt.lines(what, found.series[ood.key], alt.last, f"in the last epoch, {ood.title}", ood.scale)
    return Picture(
        figure(collection, protocol, sources.places), words, _in_short(collection, caption(collection, found))
    )


def _ledger(sources: Sources) -> Part:
    from eval.evidence.ledger.render import markdown

    return Text(markdown(sources.ledger), measured=False)


def _effects(sources: Sources) -> Parts:
    from eval.evidence.ledger.effects import build
    from eval.evidence.ledger.effects_render import markdown
    from eval.evidence.ledger.heatmap import alt as seen
    from eval.evidence.ledger.heatmap import figure
    from eval.evidence.ledger.words import caption

    found = build(sources.records("ledger"), sources.ledger, sources.places, sources.rules.confidence)
    for base in found.bases:
        words = _in_short(found.collection, caption(found))
        yield f"From preset {base}", Picture(figure(found, base), seen(found, base), words)
    yield "", Text(markdown(found))


def _league(sources: Sources) -> Parts:
    from eval.evidence.league.figure import figure
    from eval.evidence.league.render import markdown
    from eval.evidence.league.standings import build

    found = build(collect(sources.records("league")))
    for protocol in found.protocols:
        caption = (
            f"OOD accuracy of every encoding, best mean on top, protocol {protocol}. Large marks are means over seeds, "
            "small ones the seeds, grey strokes mean ID accuracy. What the order is worth stands below the table."
        )
        yield f"Protocol {protocol}", Picture(figure(found, protocol), alt.league(found, protocol), caption)
    yield "", Text(markdown(found))


def _lengths(sources: Sources) -> Parts:
    from eval.evidence.lengths.effective import build
    from eval.evidence.lengths.figure import figure
    from eval.evidence.lengths.render import markdown

    found = build(sources.lengths(), sources.threshold)
    for protocol in found.protocols:
        caption = (
            f"Accuracy over the {found.window} tokens before a length, against that length, protocol {protocol}; rows "
            "differ in how encodings are scaled at test time. Line = mean, band = lowest to highest seed."
        )
        yield f"Protocol {protocol}", Picture(figure(found, protocol), alt.lengths(found, protocol), caption)
    yield "", Text(markdown(found))
