"""`posgen league`: all encodings of the suite side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.shared.options import (
    OutOption,
    PictureFormatOption,
    RecordedProfileOption,
    RecordedProtocolOption,
    RecordedTasksOption,
    RecordsOption,
)

FOLDER = "league"


def league(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    task: RecordedTasksOption = None,
    equal_id: Annotated[
        bool,
        typer.Option(
            "--equal-id", help="Rank by trainings long enough to learn, from posgen sweep --league --equal-id."
        ),
    ] = False,
    format: PictureFormatOption = "png",
    out: OutOption = None,
) -> None:
    """Tabulate and draw the league of all encodings from records alone: ID and OOD accuracy on every task, ranks.

    One table for each family of tasks (answers fed back, hidden, interleaved), with what theory predicts for each
    encoding and what came of it (conf/league.yaml). The records are those of `posgen sweep --league`,
    results/<profile>/league/records.jsonl. Beside them league.md, league.csv and league-<protocol>.png are written,
    with --equal-id equal-id.md, equal-id.csv and equal-id-<protocol>.png. The notes below a table say which differences
    are significant.

    \b
    posgen league --profile quick
    posgen league --task recursive_hidden,cot_hidden --equal-id
    posgen league --profile narrow --format svg --out figures
    """
    from cli.shared.output import chosen_formats, save
    from cli.shared.records import RESULTS
    from conf.league import league_rules
    from conf.overrides import words
    from eval.evidence.cells import collect
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.league.figure import figure
    from eval.evidence.league.rungs import measured
    from eval.evidence.league.standings import build, by_family, of_tasks
    from eval.evidence.league.tables import document, file_names, numbers
    from eval.evidence.table import csv_text, markdown
    from eval.store.gathering import gather
    from posgen.errors import UserError

    chosen, rules = chosen_formats(format, FORMATS), league_rules()
    stored = gather(records or [], profile, RESULTS, below=FOLDER)
    collection = collect(stored, words("protocol", protocol) if protocol is not None else None)
    collection = of_tasks(collection, words("task", task) if task is not None else None)
    folder = records[0].parent if records else RESULTS / collection.profile / FOLDER
    further = []
    if equal_id:
        epochs = next(collection.records()).training.optim.epochs
        further = measured(folder / "records.jsonl", epochs, collection.protocols, rules)
        if not further:
            raise UserError(f"{folder}: no longer trainings; make them with `posgen sweep --league --equal-id`")
    ranked = [build(part, further, rules) for part in by_family(collection).values()]
    figures = {name: figure(each, shown) for each in ranked for shown, name in file_names(each).items()}
    stem = "equal-id" if equal_id else "league"
    text = markdown([part for each in ranked for part in document(each)])
    save(out or folder, figures, {f"{stem}.md": text, f"{stem}.csv": csv_text(numbers(ranked))}, chosen)
    print(f"\n{text}", end="")
