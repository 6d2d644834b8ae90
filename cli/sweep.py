"""`posgen sweep`: train every cell of Table 1, or of the ledger, or of the league."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    DeviceOption,
    DryRunOption,
    FreshOption,
    Overrides,
    PeOption,
    ProfileOption,
    ProtocolOption,
    Request,
    SeedOption,
    TaskOption,
    ThreadsOption,
)
from posgen.errors import BadValue, UserError

if TYPE_CHECKING:
    from cli.running import Planner
    from conf.schema import ProfileSpec
    from eval.measuring.planned import PlannedMember


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
        bool, typer.Option("--ledger", help="Train a preset with one row of the ledger at a time set otherwise.")
    ] = False,
    rows: Annotated[
        str | None,
        typer.Option(metavar="N[,N...]", help="With --ledger: these rows only. [default: all]", show_default=False),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --ledger: from preset paper, from released, or both. [default: both]",
            show_default=False,
        ),
    ] = None,
    league: Annotated[
        bool,
        typer.Option("--league", help="Train every encoding of posgen encodings, under paper unless --protocol says."),
    ] = False,
    until: Annotated[
        int | None,
        typer.Option(
            "--until",
            metavar="EPOCH",
            help="Stop at this epoch of the whole schedule, measure what is there, and keep the states.",
            show_default=False,
        ),
    ] = None,
    fresh: FreshOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train all of Table 1 side by side: three tasks, four encodings, several seeds, every training once.

    Defaults: all tasks, the table's four encodings, the profile's seeds and protocols, profile quick (minutes on a
    laptop; --profile paper has the published sizes, for a GPU). Ctrl-C keeps what was learnt, the same command goes on
    from there. A setting may have several values; each combination is then kept as a profile of its own, and so are
    seeds beyond the profile's: no table pools what differs.

    --until looks at a training before its end: its records are a profile of their own, labelled `epoch 24 of 150`, and
    the same command without it goes on from there.

    --ledger and --league keep their records apart, in results/<profile>/ledger and results/<profile>/league. Rows of
    the ledger that are swept in one call share the trainings of their base, so name them together.

    \b
    posgen sweep --profile quick
    posgen sweep --profile quick --dry-run
    posgen sweep --profile quick --task cot --pe yarn,resonance_yarn --protocol zero_shot
    posgen sweep --profile quick 'optim.lr=5e-4,1e-3' 'data.seed=range(1,4)'
    posgen sweep --profile paper --until 24
    posgen sweep --profile quick --ledger --rows 1,7 --direction paper
    posgen sweep --profile quick --league --protocol paper,zero_shot_text
    """
    from cli.options import request
    from cli.running import Extras, train_all
    from conf.overrides import expand

    planner = _planner(ledger, rows, direction, league)
    special = "ledger" if ledger else "league" if league else ""
    if ledger and protocol is not None:
        remedy = "means nothing with --ledger (--direction chooses the presets); leave it out"
        raise BadValue("protocol", protocol, remedy)
    takes = ("task", "pe", "seed", "profile", *(() if ledger else ("protocol",)))
    asked = request(
        overrides,
        task=task,
        pe=pe,
        seed=seed,
        profile=profile,
        protocol=protocol,
        device=device,
        threads=threads,
        takes=takes,
        default_pe=None if special else "all",
        default_profile="quick",
        sweeps=True,
    )
    train_all(asked, expand(asked.overrides), Extras(name, fresh, dry_run, below=special, planner=planner, until=until))


def _planner(ledger: bool, rows: str | None, direction: str | None, league: bool) -> Planner | None:
    """How the members are planned; None for a sweep of Table 1."""
    if ledger and league:
        raise UserError("--ledger and --league are two sweeps: give one of them")
    for key, value in (("rows", rows), ("direction", direction)):
        if value is not None and not ledger:
            raise BadValue(key, value, "means nothing without --ledger; leave it out")
    if ledger:
        return _ledger_planner(rows, direction or "both")
    return _league if league else None


def _ledger_planner(rows: str | None, direction: str) -> Planner:
    from conf.ledger import directions
    from conf.overrides import numbers
    from eval.running.plan import ledger_places, plan_places

    wanted, bases = None if rows is None else numbers("rows", rows), directions(direction)

    def planned(asked: Request, overrides: tuple[str, ...], own: ProfileSpec) -> list[PlannedMember]:
        cells = ledger_places(asked.tasks, asked.pes, wanted, bases)
        # Each takes a tenth of a second to compose.
        print(f"posgen: planning {len(cells)} cells", file=sys.stderr, flush=True)
        return plan_places(cells, asked.seeds, asked.profile, overrides, own)

    return planned


def _league(asked: Request, overrides: tuple[str, ...], own: ProfileSpec) -> list[PlannedMember]:
    from eval.running.plan import plan_league

    members, left_out = plan_league(asked.tasks, asked.pes, asked.seeds, asked.protocols, asked.profile, overrides, own)
    for pe, error in left_out.items():
        print(f"left out of the league, these settings cannot train it: {pe} ({error})", flush=True)
    return members
