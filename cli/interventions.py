"""`posgen interventions`: what a model's answers do when one token that they depend on is exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import (
    CodeOption,
    DeviceOption,
    PeOption,
    RecordedProfileOption,
    RecordedProtocolOption,
    RecordedTasksOption,
    RecordsOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from conf.rules import InterventionRules

FOLDER = "interventions"


def interventions(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="paths.results=DIR, paths.runs=DIR, paths.data=DIR, interventions.at=[8,63,64], interventions.seed=1",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Exchange tokens for finished runs first, where that is not done yet.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --measure: say what would be measured, estimate the time, and stop.")
    ] = False,
    exchange: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="far: an answer's first far token; near: its last near token, for comparison. [default: far]",
            show_default=False,
        ),
    ] = None,
    positions: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Answers to look at on either side of the training length. [default: 12]",
            show_default=False,
        ),
    ] = None,
    sequences: Annotated[
        int | None, typer.Option(metavar="N", help="Test sequences to read. [default: 100]", show_default=False)
    ] = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    task: RecordedTasksOption = None,
    pe: PeOption = None,
    records: RecordsOption = None,
    format: Annotated[
        str,
        typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, csv, latex, png, svg, pdf, or all."),
    ] = "terminal,markdown,csv,png",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the files. [default: the folder of the records]", show_default=False
        ),
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    code: CodeOption = None,
) -> None:
    """Exchange one token of each test sequence and count the answers that move: does a model use its far token?

    All other tokens stay as they were read. An answer moves when it becomes the one that the rule gives for the changed
    token; one that stays did not use it. Counted within and beyond the training length, among the answers that were
    right before and among all (docs/interventions.md).

    With --measure, the finished runs of the profile's table and league are read, once for every exchanged token;
    nothing is trained. The records go to results/<profile>/interventions/records.jsonl, from which the table
    (interventions.md, .csv, .tex), the counts at every position (interventions-positions.csv) and the figures
    (interventions-<protocol>.png) are drawn, without runs and in seconds. conf/interventions.yaml has the defaults.

    \b
    posgen interventions --profile quick --measure --dry-run
    posgen interventions --profile quick --measure --pe rope,yarn
    posgen interventions --profile quick --measure --exchange near --sequences 500
    posgen interventions --protocol paper --format latex
    """
    from cli.shared.finished import known, refuse_without_measure
    from cli.shared.options import trust_named
    from cli.shared.output import chosen_formats, save, show
    from cli.shared.records import RESULTS
    from conf.overrides import words
    from conf.rules import intervention_rules
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.interventions.figure import caption, figure
    from eval.evidence.interventions.shares import build
    from eval.evidence.interventions.tables import document, numbers
    from eval.evidence.interventions.tables import positions as by_position
    from eval.evidence.latex import latex
    from eval.evidence.table import Table, csv_text, markdown, terminal
    from eval.store.gathering import gather
    from eval.store.probes import InterventionsRecord

    trust_named(code)
    chosen = chosen_formats(format, ["terminal", "markdown", "csv", "latex", *FORMATS])
    given = (("exchange", exchange), ("positions", positions), ("sequences", sequences))
    options = [f"{FOLDER}.{key}={value}" for key, value in given if value is not None]
    rules = intervention_rules([*options, *(text for text in settings or () if text.startswith(f"{FOLDER}."))])
    rest = [text for text in settings or () if not text.startswith(f"{FOLDER}.")]
    results = RESULTS
    if measure:
        profile, results = _measure(rules, records, profile, protocol, task, pe, rest, device, threads, dry_run)
        records = None
        if dry_run:
            return
    else:
        refuse_without_measure(
            {
                "--dry-run": dry_run,
                "--positions": positions,
                "--sequences": sequences,
                "--device": device,
                "--threads": threads,
                "KEY=VALUE": rest,
            }
        )
    stored = gather(records or [], profile, results, below=FOLDER, kind=InterventionsRecord)
    pes, tasks = known("pe", pe, (r.pe for r in stored)), known("task", task, (r.task for r in stored))
    measured = build(
        [record for record in stored if record.pe in pes and record.task in tasks],
        rules.exchange,
        words("protocol", protocol) if protocol is not None else None,
    )
    folder = out or (records[0].parent if records else results / (profile or measured.collection.profile) / FOLDER)
    stem = FOLDER if rules.exchange == "far" else f"{FOLDER}-{rules.exchange}"
    pictures = [name for name in chosen if name in FORMATS]
    # Drawn before anything is written: records that do not suffice leave nothing half done.
    figures = {f"{stem}-{name}": figure(measured, name) for name in measured.protocols}
    shown = document(measured)

    def as_latex() -> str:
        tables = [part for part in shown if isinstance(part, Table)]
        return "\n".join(latex(part, f"{stem}-{number}") for number, part in enumerate(tables, start=1))

    texts = {"markdown": lambda: markdown(shown), "csv": lambda: csv_text(numbers(measured)), "latex": as_latex}
    more = {f"{stem}-positions.csv": csv_text(by_position(measured))} if "csv" in chosen else {}
    save(folder, figures, more, pictures)
    show(
        [name for name in chosen if name not in pictures], lambda console: terminal(shown, console), texts, folder, stem
    )
    for name in measured.protocols if pictures else ():
        print(caption(measured, name))


def _measure(
    rules: InterventionRules,
    records: list[Path] | None,
    profile: str | None,
    protocol: str | None,
    task: str | None,
    pe: str | None,
    settings: list[str],
    device: str | None,
    threads: str | None,
    dry_run: bool,
) -> tuple[str, Path]:
    """Measure what is left to do, or only say what it would take; the profile that it is about, and its results."""
    import dataclasses

    from cli.shared.finished import finished_runs, known, tell_gone
    from cli.shared.output import duration
    from cli.shared.records import computed
    from eval.running.interventions import check_fits, estimate, measure, subjects, todo

    runs = finished_runs(FOLDER, records, profile, protocol, pe, settings, device, threads)
    cells = computed(runs.cells)
    tasks = known("task", task, (place[1] for place in cells.cells))
    cells = dataclasses.replace(cells, cells={place: cell for place, cell in cells.cells.items() if place[1] in tasks})
    tell_gone(runs)
    there = subjects(runs.tested(cells), rules)
    left = todo(there, runs.settings)
    print(f"{len(there) - len(left)} of {len(there)} measurements are done", flush=True)
    if left:
        check_fits(left, runs.settings)
        seconds = estimate(left, runs.settings)
        print(f"about {duration(seconds)} on {runs.settings.device}, timed on a few sequences just now", flush=True)
    if not dry_run:
        measure(left, runs.settings)
    return runs.profile, runs.results
