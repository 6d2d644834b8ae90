"""`posgen sweep`: train and measure all of Table 1, of the ledger, or of the league."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import (
    DeviceOption,
    DryRunOption,
    FreshOption,
    Overrides,
    PeOption,
    ProfileOption,
    ProtocolOption,
    SeedOption,
    TaskOption,
    ThreadsOption,
)
from posgen.errors import BadValue, UserError

if TYPE_CHECKING:
    from cli.shared.request import Request


def sweep(
    overrides: Overrides = None,
    task: TaskOption = None,
    pe: PeOption = None,
    seed: SeedOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the sweep in records and W&B. [default: the profile's]", show_default=False),
    ] = None,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Ablation: train a preset with one ledger row at a time overridden.")
    ] = False,
    rows: Annotated[
        str | None,
        typer.Option(metavar="N[,N...]", help="With --ledger: rows to override. [default: all]", show_default=False),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --ledger: the preset to start from: paper, released, or both. [default: both]",
            show_default=False,
        ),
    ] = None,
    league: Annotated[
        bool,
        typer.Option("--league", help="Train every encoding that posgen encodings lists. [default protocol: paper]"),
    ] = False,
    until: Annotated[
        int | None,
        typer.Option(
            "--until",
            metavar="EPOCH",
            help="Stop at this epoch of the full schedule, measure, and keep the training states.",
            show_default=False,
        ),
    ] = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train all of Table 1 side by side: three tasks, four encodings, several seeds, every training once.

    Defaults: all tasks, the table's four encodings, the profile's seeds and protocols, profile quick (minutes on a
    laptop; --profile paper has the published sizes, for a GPU). Ctrl-C saves the state; the same command resumes. A
    setting may have several values; each combination becomes a profile of its own, as do seeds beyond the profile's:
    no table pools different settings.

    --until measures a training before its end: its records are a profile of their own, labelled `epoch 24 of 150`, and
    the same command without it resumes.

    --ledger and --league keep their records apart, in results/<profile>/ledger and results/<profile>/league. Rows of
    the ledger that are swept in one call share the trainings of their preset, so name them together.

    \b
    posgen sweep --profile quick
    posgen sweep --profile quick --dry-run
    posgen sweep --profile quick --task cot --pe yarn,resonance_yarn --protocol zero_shot
    posgen sweep --profile quick 'optim.lr=5e-4,1e-3' 'data.seed=range(1,4)'
    posgen sweep --profile paper --until 24
    posgen sweep --profile quick --ledger --rows 1,7 --direction paper
    posgen sweep --profile quick --league --protocol paper,zero_shot_text
    """
    from dataclasses import replace

    from cli.shared.request import request
    from cli.shared.training import train_all
    from conf.overrides import expand
    from eval.running.request import Sweep, SweepRequest, plan_sweep

    kind = Sweep(_kind(ledger, league, rows, direction, protocol))
    requested = request(
        overrides,
        task=task,
        pe=pe,
        seed=seed,
        profile=profile,
        protocol=protocol,
        device=device,
        threads=threads,
        takes=("task", "pe", "seed", "profile", *(() if ledger else ("protocol",))),
        default_pe="all" if kind is Sweep.table1 else None,
        default_profile="quick",
        sweeps=True,
    )
    numbered, bases = _ledger_rows(requested, rows, direction or "both") if ledger else (None, ())
    choices = SweepRequest(
        requested.tasks, requested.pes, requested.seeds, requested.protocols, requested.profile,
        sweep=kind, rows=numbered, bases=bases, name=name, until=until,
    )  # fmt: skip
    # All are planned before the first begins: a mistake in the last leaves nothing half done.
    sweeps = [plan_sweep(replace(choices, overrides=point)) for point in expand(requested.overrides)]
    train_all(sweeps, fresh, dry_run)


def _kind(ledger: bool, league: bool, rows: str | None, direction: str | None, protocol: str | None) -> str:
    """The value of the Sweep. UserError or BadValue for options that do not go together."""
    if ledger and league:
        raise UserError("--ledger and --league are two sweeps: give one of them")
    for key, value in (("rows", rows), ("direction", direction)):
        if value is not None and not ledger:
            raise BadValue(key, value, "is for --ledger only; leave it out")
    if ledger and protocol is not None:
        raise BadValue("protocol", protocol, "is not for --ledger, where --direction chooses the presets; leave it out")
    return "ledger" if ledger else "league" if league else "table1"


def _ledger_rows(requested: Request, rows: str | None, direction: str) -> tuple[list[int] | None, tuple[str, ...]]:
    """(rows, None for all; presets). Prints how many cells there are to plan: each takes a tenth of a second."""
    from conf.ledger import directions
    from conf.overrides import numbers
    from eval.running.plan import ledger_places

    numbered, bases = None if rows is None else numbers("rows", rows), directions(direction)
    cells = len(ledger_places(requested.tasks, requested.pes, numbered, bases))
    print(f"posgen: planning {cells} cells", file=sys.stderr, flush=True)
    return numbered, bases
