"""`posgen report`: one HTML page with all results of a profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import CodeOption, RecordedProfileOption
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
            help="Also log the page, its tables and figures to a W&B summary run, with the records as an artifact and "
            "data sets and weights by reference.",
        ),
    ] = False,
    code: CodeOption = None,
) -> None:
    """Write one HTML page from records alone: tables, verdicts, figures, and where every number comes from.

    The page needs nothing but a browser and no network: figures are embedded, and tables sort by a click on a header or
    by keyboard. A section without records names the command that makes them. Nothing is trained.

    \b
    posgen report --profile quick
    posgen report --profile quick paths.results=results/reproduced
    posgen report --out report.html
    posgen report --wandb tracker.mode=offline
    """
    from cli.shared.options import trust_named
    from eval.evidence.report.content import build
    from eval.evidence.report.page import html
    from eval.store.files import write_atomically

    trust_named(code)
    config = _config(settings or [], wandb)
    tracker = _tracker(config) if config and wandb else None
    sources = _sources(Path(config.paths.results) if config else RESULTS, profile or "quick")
    page = build(sources)
    text = html(page)
    path = out or sources.results / sources.profile / "report.html"
    write_atomically(path, text.encode())
    typer.echo(f"wrote {path} ({len(text.encode()) / 1e6:.1f} MB)")
    for section in page.sections:
        if section.missing:
            typer.echo(f"not measured: {section.title}")
    if config and tracker:
        _log(tracker, config.paths, page, text, sources)


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


def _config(settings: list[str], wandb: bool) -> Config | None:
    """The configuration of the settings and --wandb, checked before anything is drawn; None without either."""
    from cli.shared.request import request
    from conf.compose import Choice, compose
    from posgen.errors import BadValue

    for text in settings:
        key, _, value = text.partition("=")
        if not wandb and key != "paths.results":
            raise BadValue(key, value, "needs --wandb; add it, or leave the setting out")
    if not settings and not wandb:
        return None
    requested = request(settings, takes=(), roots=("tracker", "paths"), default_profile="quick")
    return compose(Choice(), requested.overrides)


def _tracker(config: Config) -> WandbTracker:
    """The tracker of the configuration; BadValue for tracker=none."""
    from eval.running.job import tracker_of
    from eval.running.wandb_tracker import WandbTracker
    from posgen.errors import BadValue

    tracker = tracker_of(config.tracker)
    if not isinstance(tracker, WandbTracker):
        raise BadValue("tracker", "none", "--wandb needs tracker=wandb; leave one of the two out")
    return tracker


def _log(tracker: WandbTracker, paths: PathsSpec, page: Page, text: str, sources: Sources) -> None:
    from eval.evidence.report.wandb_summary import Holdings, log_summary
    from posgen.errors import UserError

    files = tuple(map(sources.path, sources.folders))
    holdings = Holdings(files, Path(paths.data), Path(paths.runs))
    logged = log_summary(tracker, page, text, sources.records(), holdings)
    if logged is None:
        raise UserError("the page is written, but W&B has no summary run of it; run the same command to try again")
    typer.echo(f"W&B: run {logged.run_id}, {logged.mode.value}, below {tracker.directory}")
    for what, absent in (("data sets", logged.data_absent), ("weights of runs", logged.runs_absent)):
        if absent:
            examples = ", ".join(absent[:3])
            typer.echo(f"not on this machine, so without a reference: {len(absent)} {what}, {examples}, ...")
