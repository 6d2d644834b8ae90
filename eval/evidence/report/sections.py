"""The sections of the page, each from the records that it needs, or else with the commands that make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from eval.evidence.cells import Collection, collect, differences_table
from eval.evidence.report import alt
from eval.evidence.report.page import Missing, Part, Picture, Section
from eval.evidence.report.reproduction import Reproduction
from eval.evidence.report.sources import Sources
from eval.evidence.table import Document
from posgen.errors import UserError

Parts = Iterator[tuple[str, Part]]


def at_a_glance(sources: Sources, collection: Collection, reproduction: Reproduction) -> Iterator[Section]:
    """The top of the page: Table 1 in the paper's shape, what it says, and Figure 3 of one protocol."""
    from eval.evidence.table1 import build
    from eval.evidence.table1_tables import document

    table = build(collection, sources.published)
    missing = [
        ("", Missing(f"Some cells of Table 1 under protocol {name}", f"{', '.join(cells)}.", reproduction.sweep))
        for name, cells in reproduction.unmeasured(sources.places).items()
    ]
    yield Section(
        "table1",
        "Table 1",
        (*parts(document(table)), *missing),
        folded=False,
    )
    first = collection.protocols[0]
    figure = _attempt("Figure 3", reproduction.sweep, _figure3, sources, collection, first)
    yield Section("figure3", "Figure 3: validation loss by epoch", ((f"Protocol {first}", figure),), folded=False)


def of_texts(sources: Sources, collection: Collection, reproduction: Reproduction) -> Iterator[Section]:
    """A language model trained with each encoding: losses, verdicts on the pairs, and loss against position."""
    from eval.evidence.losses.measured import build
    from eval.evidence.losses.tables import document

    content = tuple(parts(document(build(collection, sources.rules))))
    yield Section("losses", "Language model on a text: losses", content, folded=False)
    drawn = tuple(
        (
            f"Protocol {name}",
            _attempt(f"Loss by position, protocol {name}", reproduction.sweep, _losses, collection, name),
        )
        for name in collection.protocols
    )
    yield Section("figure4", "Figure 4 of our own: loss at every position", drawn, folded=False)


def of_the_table(sources: Sources, collection: Collection, reproduction: Reproduction) -> Iterator[Section]:
    """What else the records of Table 1 show."""
    from eval.evidence.table1 import build
    from eval.evidence.table1_tables import wide

    figures: tuple[tuple[str, str, Callable[[Sources, Collection, str], Part], tuple[str, ...]], ...] = (
        ("figure3-others", "Figure 3 under the other protocols", _figure3, collection.protocols[1:]),
        ("positions", "Accuracy at every position", _positions, collection.protocols),
        ("gap", "Feature gap beside accuracy", _gap, collection.protocols),
        ("wavelengths", "Wavelengths and the critical feature", _wavelengths, collection.protocols),
        ("curves", "Learning curves", _curves, collection.protocols),
    )
    yield Section("verdicts", "Verdicts and claims", tuple(parts(_verdicts(sources, collection), collection)))
    full = wide(build(collection, sources.published))
    yield Section("table1-wide", "Table 1 in full", tuple(parts(full, collection)))
    for key, title, make, protocols in figures:
        if protocols:
            drawn = tuple(
                (
                    f"Protocol {name}",
                    _attempt(f"{title}, protocol {name}", reproduction.sweep, make, sources, collection, name),
                )
                for name in protocols
            )
            yield Section(key, title, drawn)


def beyond_the_table(sources: Sources, reproduction: Reproduction) -> Iterator[Section]:
    """What needs records of its own: the ledger, the league of all encodings, other lengths, exchanged tokens."""
    from eval.evidence.ledger.tables import ledger_table

    title = "The ledger: the paper's text against the released code"
    yield Section("ledger", title, (("", ledger_table(sources.ledger)),), measured=False)
    for key, title, make, folder in (
        ("effects", "What each row of the ledger does", _effects, "ledger"),
        ("league", "All encodings of the suite", _league, "league"),
        ("lengths", "Effective length", _lengths, "lengths"),
        *([_EXCHANGED] if sources.path("interventions").exists() else []),
    ):
        try:
            content = tuple(make(sources))
        except UserError as error:
            content = (("", Missing(title, str(error), reproduction.records_of(folder))),)
        yield Section(key, title, content)


def parts(document: Document, collection: Collection | None = None) -> Parts:
    """A document as parts without headings of their own, and without what differs from the paper for a `collection`:
    the first section has that."""
    known = differences_table(collection) if collection else None
    for part in document:
        if known is None or part != known:
            yield "", part


def _attempt(what: str, commands: Sequence[str], make: Callable[..., Part], *arguments: object) -> Part:
    """A part, or what its records lack."""
    try:
        return make(*arguments)
    except UserError as error:
        return Missing(what, str(error), tuple(commands))


def _verdicts(sources: Sources, collection: Collection) -> Document:
    from eval.evidence.verdict.judge import judge
    from eval.evidence.verdict.tables import document

    return document(judge(collection, sources.published, sources.rules))


def _figure3(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.figure3 import caption, curves, figure

    series = curves(collection, protocol, sources.places)
    what = "Line charts of validation loss against epoch, a panel a task, a line an encoding."
    words = alt.lines(what, series, alt.last, "in the last epoch, in nats")
    return Picture(figure(collection, series, sources.axes), words, caption(collection, series))


def _losses(collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.losses import alt as seen
    from eval.evidence.figures.losses import caption, figure, rows

    series = rows(collection, protocol)
    return Picture(figure(collection, series), seen(series, collection), caption(collection, series))


def _positions(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.positions import caption, figure, notes, rows, sizes

    series = rows(collection, protocol, sources.places)
    lengths = {task: size.train_length for task, size in sizes(collection, protocol).items()}
    what = (
        "Line charts of accuracy against position, a panel a task, a line an encoding; the training length is marked."
    )
    words = alt.lines(what, series, alt.percent_from(lengths), "on average beyond the training length, in %")
    return Picture(figure(collection, series), words, caption(collection, series), notes(collection, protocol))


def _gap(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.gap import caption, figure, gaps, notes
    from eval.evidence.figures.positions import rows

    by_encoding, series = gaps(collection, protocol, sources.places), rows(collection, protocol, sources.places)
    return Picture(
        figure(collection, by_encoding, series),
        alt.gaps(by_encoding),
        caption(collection, series),
        notes(collection, protocol, by_encoding),
    )


def _wavelengths(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.encodings import draw_features
    from eval.evidence.figures.gap import wavelengths_by_encoding
    from eval.evidence.figures.panels import setting

    features = wavelengths_by_encoding(collection, protocol, sources.places)
    caption = (
        "Wavelength of every feature (tokens), its distance to a whole number, and its largest feature gap (the "
        "paper's eq. 8). A feature is pre-critical when its wavelength is below the training length; Resonance rounds "
        f"each wavelength to a whole number of tokens. Protocol {protocol}."
    )
    drawn = draw_features(features, setting(collection, f"Protocol {protocol}"))
    return Picture(drawn, alt.wavelengths(features), caption)


def _curves(sources: Sources, collection: Collection, protocol: str) -> Part:
    from eval.evidence.figures.learning import QUANTITIES, caption, figure, notes, rows

    learning = rows(collection, protocol, sources.places)
    titles = ", ".join(quantity.title for quantity in QUANTITIES)
    what = f"Line charts against epoch, a column a task, a row each for {titles}."
    ood = QUANTITIES[-1]
    words = alt.lines(what, learning.series[ood.key], alt.last, f"in the last epoch, {ood.title}", ood.scale)
    return Picture(figure(collection, learning), words, caption(collection, learning), notes(learning))


def _effects(sources: Sources) -> Parts:
    from eval.evidence.ledger.effects import build
    from eval.evidence.ledger.heatmap import alt as seen
    from eval.evidence.ledger.heatmap import figure
    from eval.evidence.ledger.tables import caption, effects_document

    effects = build(sources.records("ledger"), sources.ledger, sources.places, sources.rules.confidence)
    for base in effects.bases:
        yield f"From preset {base}", Picture(figure(effects, base), seen(effects, base), caption(effects))
    yield from parts(effects_document(effects), effects.collection)


def _league(sources: Sources) -> Parts:
    from eval.evidence.league.figure import figure
    from eval.evidence.league.standings import build, by_family
    from eval.evidence.league.tables import document

    for collection in by_family(collect(sources.records("league"))).values():
        league = build(collection)
        for protocol in league.protocols:
            caption = (
                f"OOD accuracy of every encoding, best mean on top, protocol {protocol}. Large marks are means over "
                "seeds, small ones the seeds, grey strokes mean ID accuracy. How certain the order is stands below the "
                "table."
            )
            yield f"Protocol {protocol}", Picture(figure(league, protocol), alt.league(league, protocol), caption)
        yield from parts(document(league), league.collection)


def _lengths(sources: Sources) -> Parts:
    from eval.evidence.lengths.effective import build
    from eval.evidence.lengths.figure import figure
    from eval.evidence.lengths.tables import document

    lengths = build(sources.lengths(), sources.threshold)
    for protocol in lengths.protocols:
        caption = (
            f"Accuracy over the {lengths.window} tokens before a length, against that length, protocol {protocol}; "
            "rows differ in how encodings are scaled at test time. Line = mean, band = lowest to highest seed."
        )
        yield f"Protocol {protocol}", Picture(figure(lengths, protocol), alt.lengths(lengths, protocol), caption)
    yield from parts(document(lengths), lengths.collection)


def _interventions(sources: Sources) -> Parts:
    from conf.rules import EXCHANGES
    from eval.evidence.interventions.figure import caption, figure
    from eval.evidence.interventions.shares import build
    from eval.evidence.interventions.tables import shares_table

    records = sources.interventions()
    exchanges = [name for name in EXCHANGES if any(record.interventions.exchange == name for record in records)]
    for exchange in exchanges:
        measured = build(records, exchange)
        for protocol in measured.protocols:
            words = alt.interventions(measured, protocol)
            yield f"Protocol {protocol}", Picture(figure(measured, protocol), words, caption(measured, protocol))
        yield "", shares_table(measured)


_EXCHANGED = ("interventions", "Exchanged tokens: do models use their far token?", _interventions, "interventions")
