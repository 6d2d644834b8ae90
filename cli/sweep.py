"""`posgen sweep`: train and measure all of Table 1, of the ledger, or of the league."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import (
    DeviceOption,
    DirectionOption,
    DoublingsOption,
    DryRunOption,
    EqualIdOption,
    FreshOption,
    LeagueOption,
    LedgerOption,
    Overrides,
    PeOption,
    ProfileOption,
    ProtocolOption,
    RowsOption,
    SeedOption,
    TaskOption,
    ThreadsOption,
    UntilOption,
)
from posgen.errors import BadValue, UserError

if TYPE_CHECKING:
    from eval.running.request import PlannedSweep, SweepRequest


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
    ledger: LedgerOption = False,
    rows: RowsOption = None,
    direction: DirectionOption = None,
    league: LeagueOption = False,
    equal_id: EqualIdOption = False,
    doublings: DoublingsOption = None,
    until: UntilOption = None,
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
    posgen sweep --league --task recursive_hidden,cot_hidden,semi_recursive_hidden --equal-id
    """
    from cli.shared.training import train_all

    check_equal_id(league, equal_id, doublings, until)
    sweeps = plan_sweeps(
        overrides, task=task, pe=pe, seed=seed, profile=profile, protocol=protocol, device=device, threads=threads,
        name=name, ledger=ledger, rows=rows, direction=direction, league=league, until=until,
        fits=not dry_run, fresh=fresh,
    )  # fmt: skip
    if not equal_id:
        train_all(sweeps, fresh, dry_run)
        return
    from cli.shared.equal_id import train_equal_id

    asked = chosen_sweep(
        overrides, task=task, pe=pe, seed=seed, profile=profile, protocol=protocol, device=device, threads=threads,
        name=name, league=True,
    )  # fmt: skip
    train_equal_id(asked, sweeps, doublings, fresh, dry_run)


def check_equal_id(league: bool, equal_id: bool, doublings: int | None, until: int | None) -> None:
    """UserError or BadValue for options that do not go together."""
    if equal_id and not league:
        raise UserError("--equal-id is for --league: add it, or leave this out")
    if doublings is not None and not equal_id:
        raise BadValue("doublings", doublings, "is for --equal-id only; leave it out")
    if equal_id and until is not None:
        raise BadValue("until", until, "is not for --equal-id, which compares trainings that are over; leave it out")


def plan_sweeps(
    overrides: list[str] | None,
    *,
    task: str | None,
    pe: str | None,
    seed: str | None,
    profile: str | None,
    protocol: str | None,
    ledger: bool,
    rows: str | None,
    direction: str | None,
    league: bool,
    until: int | None,
    device: str | None = None,
    threads: str | None = None,
    name: str | None = None,
    fits: bool = False,
    fresh: bool = False,
) -> Sequence[PlannedSweep]:
    """The sweeps that the options ask for: one, or one for each combination of settings with several values. UserError
    or BadValue for a mistake in any of them. `fits` and `fresh`: as `eval.running.request.plan_sweeps` has them."""
    from eval.running import request as planning

    choices = chosen_sweep(
        overrides, task=task, pe=pe, seed=seed, profile=profile, protocol=protocol, device=device, threads=threads,
        name=name, ledger=ledger, rows=rows, direction=direction, league=league, until=until,
    )  # fmt: skip
    return planning.plan_sweeps(choices, fits, fresh)


def chosen_sweep(
    overrides: list[str] | None,
    *,
    task: str | None,
    pe: str | None,
    seed: str | None,
    profile: str | None,
    protocol: str | None,
    device: str | None,
    threads: str | None,
    name: str | None,
    league: bool,
    ledger: bool = False,
    rows: str | None = None,
    direction: str | None = None,
    until: int | None = None,
) -> SweepRequest:
    """What the options of a sweep ask for, before anything is planned."""
    from cli.shared.request import request
    from eval.running.request import Sweep, SweepRequest

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
    numbered, bases = _ledger_rows(rows, direction or "both") if ledger else (None, ())
    return SweepRequest(
        requested.tasks, requested.pes, requested.seeds, requested.protocols, requested.profile,
        requested.overrides, sweep=kind, rows=numbered, bases=bases, name=name, until=until,
    )  # fmt: skip


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


def _ledger_rows(rows: str | None, direction: str) -> tuple[list[int] | None, tuple[str, ...]]:
    """(rows, None for all; presets)."""
    from conf.ledger import directions
    from conf.overrides import numbers

    return None if rows is None else numbers("rows", rows), directions(direction)
