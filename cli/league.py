"""`posgen league`: all encodings of the suite side by side."""

from __future__ import annotations

from cli.shared.options import (
    OutOption,
    PictureFormatOption,
    RecordedProfileOption,
    RecordedProtocolOption,
    RecordsOption,
)

FOLDER = "league"


def league(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    format: PictureFormatOption = "png",
    out: OutOption = None,
) -> None:
    """Tabulate and draw the league of all encodings from records alone: ID and OOD accuracy on every task, ranks.

    The records are those of `posgen sweep --league`, results/<profile>/league/records.jsonl. Beside them league.md,
    league.csv and league-<protocol>.png are written. The notes below the table say which differences are significant.

    \b
    posgen league --profile quick
    posgen league --profile narrow --format svg --out figures
    """
    from cli.shared.output import chosen_formats, save
    from cli.shared.records import RESULTS
    from conf.overrides import words
    from eval.evidence.cells import collect
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.league.figure import figure
    from eval.evidence.league.standings import build
    from eval.evidence.league.tables import document, numbers
    from eval.evidence.table import csv_text, markdown
    from eval.store.gathering import gather

    chosen = chosen_formats(format, FORMATS)
    stored = gather(records or [], profile, RESULTS, below=FOLDER)
    ranked = build(collect(stored, words("protocol", protocol) if protocol is not None else None))
    figures = {f"league-{name}": figure(ranked, name) for name in ranked.protocols}
    folder = out or (records[0].parent if records else RESULTS / ranked.collection.profile / FOLDER)
    text = markdown(document(ranked))
    save(folder, figures, {"league.md": text, "league.csv": csv_text(numbers(ranked))}, chosen)
    print(f"\n{text}", end="")
