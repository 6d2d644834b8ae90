"""`posgen compare`: the same trainings in two places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.options import RecordedProfileOption, TableFormatOption, TableOutOption


def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A file of records.", show_default=False)],
    again: Annotated[
        Path, typer.Argument(metavar="AGAIN", help="Records of the same trainings, made elsewhere.", show_default=False)
    ],
    profile: RecordedProfileOption = None,
    format: TableFormatOption = "terminal",
    out: TableOutOption = None,
) -> None:
    """Compare trainings that were made twice, on other machines or beside other members, from their records.

    Seed and step give every random number of a training, but not its rounding, so that the same training may end
    elsewhere on another device. The first table has each encoding's mean in both places with the difference over seeds,
    the second says for each task how far two results of one training are apart, and how far seeds are.

    \b
    posgen compare results/quick/records.jsonl results/reproduced/quick/records.jsonl
    posgen compare results/quick/league/records.jsonl results/quick/league/repeated/records.jsonl
    """
    from cli.shared.output import chosen_formats, show
    from cli.shared.records import RESULTS
    from eval.evidence.repeated.pairs import paired
    from eval.evidence.repeated.tables import by_encoding, document
    from eval.evidence.table import csv_text, markdown, terminal
    from eval.store.gathering import gather

    formats = chosen_formats(format, ["terminal", "markdown", "csv"])
    pairs = paired(*(gather([path], profile, RESULTS) for path in (first, again)))
    texts = {"markdown": lambda: markdown(document(pairs)), "csv": lambda: csv_text(by_encoding(pairs))}
    show(formats, lambda console: terminal(document(pairs), console), texts, out, "compare")
