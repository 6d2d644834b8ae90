"""`posgen experiment`: experiments that are declared before they run, run as declared, and judged by their own rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import (
    DeviceOption,
    DryRunOption,
    FreshOption,
    Overrides,
    RecordedProfileOption,
    RecordsOption,
    ThreadsOption,
)
from cli.shared.records import RESULTS

if TYPE_CHECKING:
    from conf.experiments import Experiment
    from eval.evidence.experiment.judge import Judged
    from eval.running.request import PlannedSweep

experiment = typer.Typer(rich_markup_mode=None)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="One that posgen experiment lists, or path/to/declaration.yaml.")
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="One of the declared profiles. [default: the first]",
                 show_default=False),
]  # fmt: skip


@experiment.callback(invoke_without_command=True)
def listing(context: typer.Context) -> None:
    """List the declared experiments: name, day of the declaration, digest, cells, and what is asked.

    \b
    posgen experiment
    posgen experiment show clip
    posgen experiment run clip --profile quick
    posgen experiment judge clip --profile quick
    """
    if context.invoked_subcommand is not None:
        return
    from cli.shared.output import table
    from conf.experiments import experiments, load

    declared = [load(name) for name in experiments()]
    rows = [
        [e.name, e.date, e.digest, str(len(e.cells)), ",".join(p.name for p in e.profiles), e.title] for e in declared
    ]
    print(table(["name", "declared", "digest", "cells", "profiles", "title"], rows))


@experiment.command(short_help="Show a declaration, its cost, and what it can find.")
def show(
    name: Name,
    overrides: Overrides = None,
    profile: Profile = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    format: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, or both: all.")
    ] = "terminal",
    estimate: Annotated[
        bool, typer.Option("--estimate/--no-estimate", help="Count the trainings and time a few real steps.")
    ] = True,
) -> None:
    """Show what is declared (factors, cells, hypotheses and what decides them), how many trainings it takes and how
    long they take here, and what so many seeds can find.

    \b
    posgen experiment show clip
    posgen experiment show clip --profile narrow device=cuda
    posgen experiment show clip --no-estimate --format markdown
    """
    from cli.shared.output import chosen_formats
    from cli.shared.output import show as shown
    from conf.experiments import load
    from eval.evidence.experiment.declaration import document
    from eval.evidence.table import markdown, terminal

    formats, declared = chosen_formats(format, ["terminal", "markdown"]), load(name)
    asked = [profile or declared.profiles[0].name] if estimate else []
    planned = [_planned(name, declared, one, overrides, device, threads, fits=False) for one in asked]
    tables = document(declared)
    shown(formats, lambda console: terminal(tables, console), {"markdown": lambda: markdown(tables)}, None, "")
    for sweep in planned:
        from cli.shared.training import print_estimate

        print(f"\n{_counted(sweep)}", flush=True)
        print_estimate(sweep, {})


@experiment.command(short_help="Train and measure what is declared.")
def run(
    name: Name,
    overrides: Overrides = None,
    profile: Profile = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train and measure every cell of an experiment on every task, with the seeds that it declares.

    An ordinary sweep: Ctrl-C saves the state, the same command resumes, two of them share the work. Records go to
    results/<profile>/experiments/<name>/records.jsonl; each names the experiment and the digest of its declaration. An
    edited declaration is refused there. Settings that change numbers make a profile that is not declared.

    \b
    posgen experiment run clip --profile quick --dry-run
    posgen experiment run clip --profile quick
    posgen experiment run clip --profile narrow device=cuda
    """
    from cli.shared.training import train_all
    from conf.experiments import load

    declared = load(name)
    chosen = profile or declared.profiles[0].name
    sweep = _planned(name, declared, chosen, overrides, device, threads, not dry_run, fresh)
    print(_counted(sweep), flush=True)
    train_all([sweep], fresh, dry_run)


@experiment.command(short_help="Show how far it is, cell by cell.")
def status(
    name: Name,
    overrides: Overrides = None,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Show which trainings are done, running, stale, failed or missing, as `posgen status` does for other sweeps.

    \b
    posgen experiment status clip --profile quick
    posgen experiment status clip --profile quick --json
    """
    from cli.status import print_status
    from conf.experiments import load

    declared = load(name)
    chosen = profile or declared.profiles[0].name
    sweep = _planned(name, declared, chosen, overrides, None, None, fits=False)
    print_status(sweep, as_json, f"`posgen experiment run {name} --profile {chosen}`")


@experiment.command(short_help="Judge its hypotheses from the records.")
def judge(
    name: Name,
    profile: RecordedProfileOption = None,
    records: RecordsOption = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME...]", help="terminal, markdown, csv, latex, or all; and the figure: png, svg, pdf."
        ),
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for <name>.md, .csv, .tex and the figure. [default: print; the figure beside the records]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Judge an experiment from records alone, by the rule that it declared: verdict of each hypothesis, effect of each
    factor with its interval, what is missing, and whether git shows that the declaration was there first.

    Records of another declaration, an edited one say, are refused. Nothing is trained.

    \b
    posgen experiment judge clip --profile quick
    posgen experiment judge clip --profile quick --format all --out results/quick/experiments/clip
    """
    from cli.shared.output import chosen_formats, save
    from cli.shared.output import show as shown
    from conf.experiments import find, load
    from eval.evidence.experiment.committed import commits, sentence
    from eval.evidence.experiment.figure import figure
    from eval.evidence.experiment.tables import document, latex_text, numbers
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.table import csv_text, markdown, terminal

    chosen = chosen_formats(format, ["terminal", "markdown", "csv", "latex", *FORMATS])
    declared = load(name)
    judged = _judged(declared, profile or declared.profiles[0].name, records)
    drawn = [one for one in chosen if one in FORMATS]
    figures = {f"effects-{declared.name}": figure(judged)} if drawn else {}
    said = sentence(commits(declared, find(name), judged.measured.records), declared)
    texts = {
        "markdown": lambda: markdown(document(judged, said)),
        "csv": lambda: csv_text(numbers(judged)),
        "latex": lambda: latex_text(judged),
    }
    written = [one for one in chosen if one not in drawn]
    shown(written, lambda console: terminal(document(judged, said, screen=True), console), texts, out, declared.name)
    beside = records[0].parent if records else RESULTS / judged.measured.profile / _folder(declared)
    save(out or beside, figures, {}, drawn)


def _folder(declared: Experiment) -> str:
    from eval.store.declared import folder_of

    return folder_of(declared.name)


def _judged(declared: Experiment, profile: str, records: list[Path] | None) -> Judged:
    from eval.evidence.experiment.judge import judge
    from eval.evidence.experiment.measured import measured
    from eval.store.gathering import gather

    stored = gather(records or [], None if records else profile, RESULTS, below=_folder(declared))
    place = ", ".join(map(str, records)) if records else str(RESULTS / profile / _folder(declared) / "records.jsonl")
    return judge(measured(declared, stored, place))


def _planned(
    name: str,
    declared: Experiment,
    profile: str,
    overrides: list[str] | None,
    device: str | None,
    threads: str | None,
    fits: bool,
    fresh: bool = False,
) -> PlannedSweep:
    from cli.shared.request import request
    from eval.running.experiment import plan_experiment

    requested = request(
        overrides, takes=(), device=device, threads=threads, default_profile=profile, default_task=declared.tasks[0],
        default_pe=None,
    )  # fmt: skip
    return plan_experiment(declared, profile, requested.overrides, fits, fresh)


def _counted(sweep: PlannedSweep) -> str:
    """`profile quick: 768 tests of 384 trainings, records in ...`."""
    profile = sweep.config.profile
    tests = sum(len(member.targets) for member in sweep.members)
    trainings = len({member.spec.trajectory for member in sweep.members})
    return (
        f"profile {profile.name} ({profile.label}): {tests} tests of {trainings} trainings, records in "
        f"{sweep.settings.records_path}"
    )
