"""Perplexity by length and paired differences as tables, for readers and for a CSV."""

from __future__ import annotations

from collections.abc import Sequence

from eval.evidence.llm.curves import Curves, Pair
from eval.evidence.table import Cell, Column, Document, Table, cells
from models.lm.names import title


def document(all_curves: Sequence[Curves]) -> Document:
    """For each group of records perplexity by length and, where there are pairs, their differences."""
    return [
        table
        for curves in all_curves
        for table in (perplexities(curves), *([differences(curves)] if curves.pairs else []))
    ]


def perplexities(curves: Curves) -> Table:
    """A row an encoding, a column a length, and how many documents there are."""
    by_place = {(point.encoding, point.length): point for point in curves.points}
    columns = (
        Column("Encoding"),
        *(Column(f"{length:,}", number=True, decimals=3) for length in curves.lengths),
        Column("Documents", number=True),
    )
    rows = []
    for encoding in curves.encodings:
        points = [by_place.get((encoding, length)) for length in curves.lengths]
        counts = sorted({point.documents for point in points if point})
        shown = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        values = [None if point is None else point.perplexity for point in points]
        rows.append(cells(title(encoding), *values, Cell(counts[-1], shown)))
    return Table(columns, tuple(rows), title="Perplexity by length", caption=caption(curves), notes=notes(curves))


def differences(curves: Curves) -> Table:
    """A row an encoding with Resonance, a column a length: the difference to the plain one, ± half its interval."""
    by_place = {(pair.encoding, pair.length): pair for pair in curves.pairs}
    columns = (Column("Encoding"), *(Column(f"{length:,}", number=True, decimals=4) for length in curves.lengths))
    names = [name for name in curves.encodings if any(pair.encoding == name for pair in curves.pairs)]
    rows = tuple(
        cells(title(name), *(_cell(by_place.get((name, length))) for length in curves.lengths)) for name in names
    )
    overs = {(pair.over, pair.n) for pair in curves.pairs}
    what = sorted({over for over, _ in overs})
    note = "Intervals: 95 %, Student's t over " + " or ".join(
        f"{_range([n for over, n in overs if over == kind])} "
        + ("documents" if kind == "documents" else "blocks of 128 positions, for fewer than 3 documents")
        for kind in what
    )
    caption = "Resonance minus plain in nats a token, on the same tokens; below 0 Resonance is better."
    return Table(columns, rows, title="Paired differences", caption=caption, notes=(f"{note}.",))


def numbers(all_curves: Sequence[Curves]) -> Table:
    """A row an encoding and length: everything as numbers."""
    keys = (
        "profile", "model", "dtype", "factor", "train_length", "protocol", "weighting", "encoding", "length",
        "perplexity", "nll", "documents", "reaching", "tokens", "minus", "difference", "low", "high", "over", "n",
    )  # fmt: skip
    rows = []
    for curves in all_curves:
        first = curves.first
        pairs = {(pair.encoding, pair.length): pair for pair in curves.pairs}
        for point in curves.points:
            pair = pairs.get((point.encoding, point.length))
            rows.append(cells(
                first.profile, curves.model, first.dtype, first.factor, first.train_length, first.protocol_key,
                first.protocol["weighting"], point.encoding, point.length, point.perplexity, point.nll,
                point.documents, point.reaching, point.tokens, *_numbers(pair),
            ))  # fmt: skip
    return Table(tuple(map(Column, keys)), tuple(rows))


def caption(curves: Curves) -> str:
    """Model, precision, factor and protocol in one sentence."""
    first = curves.first
    ways = {
        "truncate": "documents cut to each length",
        "sliding": f"sliding windows, stride {first.protocol['stride']}",
        "disjoint": "disjoint windows",
    }
    boses = {"none": "no BOS", "document": "BOS before a document", "window": "BOS before each window"}
    documents = len(curves.shared)
    return (
        f"{curves.model}, {first.dtype}, trained on {first.train_length:,} tokens, s = {first.factor:g}: "
        f"{ways[first.protocol['mode']]}, {boses[first.protocol['bos']]}, each "
        f"{first.protocol['weighting']} counts the same; {documents} document{'s' if documents > 1 else ''}. "
        f"Profile {first.profile}, protocol {first.protocol_key}."
    )


def notes(curves: Curves) -> tuple[str, ...]:
    """What a reader has to know of the documents behind the numbers."""
    lines = []
    reaching = {point.length: (point.reaching, point.documents) for point in curves.points}
    short = [f"{length:,}: {r} of {n}" for length, (r, n) in sorted(reaching.items()) if r < n]
    if short:
        lines.append(f"Shorter documents are scored whole. Documents that reach a length: {', '.join(short)}.")
    if len({point.documents for point in curves.points}) > 1:
        lines.append("Not every encoding has every document yet; compare the paired differences, not the columns.")
    if left := len(curves.documents) - len(curves.shared):
        what = "1 document is" if left == 1 else f"{left} documents are"
        lines.append(f"{what} not measured under every encoding yet, and in the paired differences alone.")
    if curves.left_out:
        what = "1 seed is" if curves.left_out == 1 else f"{curves.left_out} seeds are"
        lines.append(f"{what} not measured under every encoding yet, and left out.")
    return tuple(lines)


def _cell(pair: Pair | None) -> Cell:
    if pair is None:
        return Cell()
    difference = pair.difference
    if difference.low is None or difference.high is None:
        return Cell(difference.mean, f"{difference.mean:+.4f}")
    half = (difference.high - difference.low) / 2
    clear = difference.low > 0 or difference.high < 0
    return Cell(difference.mean, f"{difference.mean:+.4f} ± {half:.4f}", strong=clear)


def _numbers(pair: Pair | None) -> tuple[str | float | int | None, ...]:
    if pair is None:
        return (None,) * 6
    return (pair.plain, pair.difference.mean, pair.difference.low, pair.difference.high, pair.over, pair.n)


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
