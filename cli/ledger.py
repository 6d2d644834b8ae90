"""`posgen ledger`: where the paper's text and the released code differ, and what each difference does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import RecordsOption
from cli.shared.records import RESULTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eval.evidence.ledger.effects import Effects

FOLDER = "ledger"


def ledger(
    effects: Annotated[
        bool, typer.Option("--effects", help="What each row changes of OOD accuracy, from the records of its sweep.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With --effects: profile whose records are read. [default: quick]", show_default=False
        ),
    ] = None,
    records: RecordsOption = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME...]",
            help="terminal, markdown, csv, or all; with --effects also png, svg and pdf, the heat map.",
        ),
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for ledger.md or effects.md and .csv, and for the heat map. [default: print; the heat map "
            "goes beside the records]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the places where the paper's text and the released code differ: the ledger, one switch a row.

    With --effects: by how many points each row, set otherwise than in its base, changes OOD accuracy, for every task
    and encoding, with an interval. The records come from posgen sweep --ledger and lie in
    results/<profile>/ledger/records.jsonl; nothing is trained here.

    \b
    posgen ledger
    posgen ledger --format markdown
    posgen ledger --effects --profile quick --format all --out results/quick/ledger
    """
    from cli.shared.output import chosen_formats, show
    from conf.ledger import ledger as read
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.ledger.tables import ledger_numbers, ledger_table, print_ledger
    from eval.evidence.table import csv_text, markdown
    from posgen.errors import BadValue

    texts = ["terminal", "markdown", "csv"]
    if not effects:
        for key, value in (("profile", profile), ("records", records)):
            if value is not None:
                shown = value if isinstance(value, str) else ",".join(map(str, value))
                raise BadValue(key, shown, "needs --effects; add it, or leave this out")
        book = read()
        written = {"markdown": lambda: markdown([ledger_table(book)]), "csv": lambda: csv_text(ledger_numbers(book))}
        show(chosen_formats(format, texts), lambda console: print_ledger(book, console), written, out, "ledger")
        return
    _effects(chosen_formats(format, [*texts, *FORMATS]), records, profile, out)


def _effects(chosen: list[str], records: list[Path] | None, profile: str | None, out: Path | None) -> None:
    from cli.shared.output import save, show
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.ledger.heatmap import figure
    from eval.evidence.ledger.tables import effects_document, effects_numbers
    from eval.evidence.table import csv_text, markdown, terminal

    effects = _measured(records, profile)
    drawn = [name for name in chosen if name in FORMATS]
    # Drawn before anything is written: records that do not suffice leave nothing half done.
    figures: dict[str, Figure] = {f"effects-{base}": figure(effects, base) for base in effects.bases} if drawn else {}
    document = effects_document(effects)
    written = {"markdown": lambda: markdown(document), "csv": lambda: csv_text(effects_numbers(effects))}
    texts = [name for name in chosen if name not in drawn]
    show(texts, lambda console: terminal(document, console), written, out, "effects")
    beside = records[0].parent if records else RESULTS / effects.collection.profile / FOLDER
    save(out or beside, figures, {}, drawn)


def _measured(records: list[Path] | None, profile: str | None) -> Effects:
    """The effects in the records of a profile's ledger sweep, or in the files named."""
    from conf import published as paper
    from conf.ledger import ledger as read
    from conf.rules import verdict_rules as rules
    from eval.evidence.ledger.effects import build
    from eval.store.gathering import gather

    stored = gather(records or [], profile, RESULTS, below=FOLDER)
    return build(stored, read(), list(paper.table1()), rules().confidence)
