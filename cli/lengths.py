"""`posgen lengths`: how far beyond the training length each encoding holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import (
    CodeOption,
    DeviceOption,
    OutOption,
    PeOption,
    PictureFormatOption,
    RecordedProfileOption,
    RecordedProtocolOption,
    RecordsOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from conf.rules import LengthRules

FOLDER = "lengths"


def lengths(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="paths.results=DIR, paths.runs=DIR, paths.data=DIR, lengths.window=128",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure finished runs first, where that has not been done yet.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --measure: say what would be measured, estimate the time, and stop.")
    ] = False,
    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths", metavar="N[,N...]", help="Tokens. [default: 64 to 4096, doubled]", show_default=False
        ),
    ] = None,
    factors: Annotated[
        str | None,
        typer.Option(
            "--factors", metavar="X[,X...]", help="s of scaled encodings. [default: 4,8,16,64]", show_default=False
        ),
    ] = None,
    sequences: Annotated[
        int | None, typer.Option(metavar="N", help="Test sequences to measure. [default: 32]", show_default=False)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="X", help="Token accuracy to stay at or above. [default: 0.5]", show_default=False),
    ] = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    pe: PeOption = None,
    records: RecordsOption = None,
    format: PictureFormatOption = "png",
    out: OutOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    code: CodeOption = None,
) -> None:
    """Tabulate and draw the effective length of every encoding: how long accuracy stays above a threshold.

    With --measure, the finished runs of the profile's table and league are measured at lengths up to 4096: as they
    were tested, scaled for each length (s = n/L), and under fixed factors s. Nothing is trained. The records go to
    results/<profile>/lengths/records.jsonl, from which the table (lengths.md, lengths.csv) and the figures
    (lengths-<protocol>.png) are drawn, without runs and in seconds. conf/lengths.yaml has the defaults.

    \b
    posgen lengths --profile quick
    posgen lengths --profile quick --measure --dry-run
    posgen lengths --profile quick --measure --lengths 64,256,1024 --factors 8,16 --sequences 100
    posgen lengths --threshold 0.9 --protocol paper
    """
    from cli.shared.finished import known, refuse_without_measure
    from cli.shared.options import trust_named
    from cli.shared.output import chosen_formats, save
    from cli.shared.records import RESULTS
    from conf.overrides import words
    from conf.rules import length_rules as rules
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.lengths.effective import build
    from eval.evidence.lengths.figure import figure
    from eval.evidence.lengths.tables import document, numbers
    from eval.evidence.table import csv_text, markdown
    from eval.store.gathering import gather
    from eval.store.probes import LengthsRecord

    trust_named(code)
    chosen = chosen_formats(format, FORMATS)
    given = (("lengths", lengths), ("factors", factors), ("sequences", sequences), ("threshold", threshold))
    options = [
        f"lengths.{key}={f'[{value}]' if key in ('lengths', 'factors') else value}"
        for key, value in given
        if value is not None
    ]
    chosen_rules = rules([*options, *(text for text in settings or () if text.startswith("lengths."))])
    rest = [text for text in settings or () if not text.startswith("lengths.")]
    results = RESULTS
    if measure:
        profile, results = _measure(chosen_rules, records, profile, protocol, pe, rest, device, threads, dry_run)
        records = None
        if dry_run:
            return
    else:
        refuse_without_measure(
            {
                "--dry-run": dry_run,
                "--lengths": lengths,
                "--factors": factors,
                "--sequences": sequences,
                "--device": device,
                "--threads": threads,
                "KEY=VALUE": rest,
            }
        )
    stored = gather(records or [], profile, results, below=FOLDER, kind=LengthsRecord)
    protocols = words("protocol", protocol) if protocol is not None else None
    pes = known("pe", pe, (record.pe for record in stored))
    table = build([record for record in stored if record.pe in pes], chosen_rules.threshold, protocols)
    figures = {f"lengths-{name}": figure(table, name) for name in table.protocols}
    folder = out or (records[0].parent if records else results / (profile or table.collection.profile) / FOLDER)
    text = markdown(document(table))
    save(folder, figures, {"lengths.md": text, "lengths.csv": csv_text(numbers(table))}, chosen)
    print(f"\n{text}", end="")


def _measure(
    rules: LengthRules,
    records: list[Path] | None,
    profile: str | None,
    protocol: str | None,
    pe: str | None,
    settings: list[str],
    device: str | None,
    threads: str | None,
    dry_run: bool,
) -> tuple[str, Path]:
    """Measure what is left to do, or only say what it would take; the profile that it is about, and its results."""
    from cli.shared.finished import finished_runs, tell_gone
    from cli.shared.output import duration
    from eval.evidence.lengths.measuring import check_fits, estimate, measure, todo
    from eval.evidence.lengths.plan import plan_lengths

    runs = finished_runs(FOLDER, records, profile, protocol, pe, settings, device, threads)
    plan = plan_lengths(runs.cells, rules)
    for line in plan.remarks:
        print(line)
    tell_gone(runs)
    there = [measurement for measurement in plan.measurements if measurement.source.run_id not in runs.gone]
    window = rules.window or next(runs.cells.records()).train_length
    left = todo(there, runs.settings, window, rules.sequences)
    print(f"{len(there) - len(left)} of {len(there)} measurements are done", flush=True)
    if left:
        check_fits(left, runs.settings, rules.sequences)
        seconds = estimate(left, runs.settings, rules.sequences)
        print(
            f"about {duration(seconds)} on {runs.settings.device}, timed on a part of each length just now",
            flush=True,
        )
    if not dry_run:
        measure(left, runs.settings, window, rules.sequences)
    return runs.profile, runs.results
