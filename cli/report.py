"""`posgen report`: everything that a profile's records show, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import RecordedProfileOption
from cli.shared.records import RESULTS

if TYPE_CHECKING:
    from conf.schema import Config, PathsSpec
    from eval.evidence.report.page import Page
    from eval.evidence.report.sources import Sources
    from eval.running.wandb_tracker import WandbTracker


def report(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="paths.results=DIR; with --wandb also tracker.mode=offline tracker.project=NAME paths.runs=DIR "
            "paths.data=DIR",
            show_default=False,
        ),
    ] = None,
    profile: RecordedProfileOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to write. [default: results/<profile>/report.html]", show_default=False
        ),
    ] = None,
    wandb: Annotated[
        bool,
        typer.Option(
            "--wandb",
            help="Log the page, its tables and pictures to a summary run of W&B too, with the records as an artifact, "
            "data sets and weights by reference.",
        ),
    ] = False,
) -> None:
    """Write one HTML page from records alone: tables, verdicts, figures, and where every number comes from.

    The page needs nothing but a browser: pictures are inside, and tables sort by a click on their header or by
    keyboard, without a network. What was not measured is named, with the command that measures it. Nothing is trained.

    \b
    posgen report --profile quick
    posgen report --profile quick paths.results=results/reproduced
    posgen report --out report.html
    posgen report --wandb tracker.mode=offline
    """
    from eval.evidence.report.content import build
    from eval.evidence.report.page import html
    from eval.store.files import write_atomically

    asked = _asked(settings or [], wandb)
    tracker = _tracker(asked) if asked and wandb else None
    sources = _sources(Path(asked.paths.results) if asked else RESULTS, profile or "quick")
    page = build(sources)
    text = html(page)
    path = out or sources.results / sources.profile / "report.html"
    write_atomically(path, text.encode())
    typer.echo(f"wrote {path} ({len(text.encode()) / 1e6:.1f} MB)")
    for section in page.sections:
        if section.missing:
            typer.echo(f"not measured: {section.title}")
    if asked and tracker:
        _log(tracker, asked.paths, page, text, sources)


def _sources(results: Path, profile: str) -> Sources:
    from conf import published as paper
    from conf.ledger import ledger
    from conf.rules import length_rules as lengths
    from conf.rules import verdict_rules as rules
    from eval.evidence.report.sources import Sources

    return Sources(
        results,
        profile,
        paper.table1(),
        paper.figure3(),
        rules(),
        ledger(),
        lengths().threshold,
    )


def _asked(settings: list[str], wandb: bool) -> Config | None:
    """What the settings and --wandb ask for, checked before anything is drawn; None: all places are the usual ones."""
    from cli.shared.request import request
    from conf.compose import Choice, compose
    from posgen.errors import BadValue

    for text in settings:
        key, _, value = text.partition("=")
        if not wandb and key != "paths.results":
            raise BadValue(key, value, "means something with --wandb only; add it, or leave the setting out")
    if not settings and not wandb:
        return None
    asked = request(settings, takes=(), roots=("tracker", "paths"), default_profile="quick")
    return compose(Choice(), asked.overrides)


def _tracker(asked: Config) -> WandbTracker:
    """The tracker that is asked for; BadValue where none is."""
    from eval.running.job import tracker_of
    from eval.running.wandb_tracker import WandbTracker
    from posgen.errors import BadValue

    tracker = tracker_of(asked.tracker)
    if not isinstance(tracker, WandbTracker):
        raise BadValue("tracker", "none", "--wandb needs tracker=wandb; leave one of the two out")
    return tracker


def _log(tracker: WandbTracker, paths: PathsSpec, page: Page, text: str, sources: Sources) -> None:
    from eval.evidence.report.sources import FOLDERS
    from eval.evidence.report.wandb_summary import Holdings, log_summary
    from posgen.errors import UserError

    files = tuple(path for kind in FOLDERS if (path := sources.path(kind)).exists())
    holdings = Holdings(files, Path(paths.data), Path(paths.runs))
    logged = log_summary(tracker, page, text, sources.records(), holdings)
    if logged is None:
        raise UserError("W&B has no summary run of it; the page is written, and the same command tries W&B again")
    typer.echo(f"W&B: run {logged.run_id}, {logged.mode.value}, below {tracker.directory}")
    for what, absent in (("data sets", logged.data_absent), ("weights of runs", logged.runs_absent)):
        if absent:
            typer.echo(f"not on this machine, so not referred to: {len(absent)} {what}, {', '.join(absent[:3])}, ...")
