"""From a user's choices to a planned sweep: members, settings, and the file that their records go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from conf.backends import BackendKind
from conf.schema import Config
from eval.measuring.planned import PlannedMember
from eval.running.job import RunSettings, check_device
from eval.running.plan import ledger_places, plan, plan_league, plan_places, settings
from posgen.errors import UserError


class Sweep(Enum):
    """What is trained. `few`: one seed and protocol unless more are named, with records apart from the tables'."""

    table1 = "table1"
    ledger = "ledger"
    league = "league"
    few = "train"


@dataclass(frozen=True)
class SweepRequest:
    """A user's choices, checked for their names; None where the profile decides. `rows` and `bases` are the ledger's.
    `name` None: the sweep is called as its profile. `until`: the epoch at which trainings stop for now; their records
    are a profile of their own."""

    tasks: list[str]
    pes: list[str]
    seeds: list[int] | None
    protocols: list[str] | None
    profile: str
    overrides: tuple[str, ...] = ()
    sweep: Sweep = Sweep.table1
    rows: list[int] | None = None
    bases: tuple[str, ...] = ()
    name: str | None = None
    until: int | None = None


@dataclass(frozen=True)
class PlannedSweep:
    """A request, planned. `left_out`: encodings that cannot be trained with its settings, and why."""

    config: Config
    members: list[PlannedMember]
    settings: RunSettings
    left_out: Mapping[str, UserError] = field(default_factory=dict)


def plan_sweep(request: SweepRequest) -> PlannedSweep:
    """Compose and check everything that the request asks for. Raises BadValue or UserError, one line each."""
    few = request.sweep is Sweep.few
    base = settings(request.profile, request.overrides, None if few else request.seeds)
    if request.until is not None:
        profile = base.profile
        label = f"{profile.label}; epoch {request.until} of {base.optim.epochs}"
        base = replace(base, profile=replace(profile, name=f"{profile.name}+until={request.until}", label=label))
    members, left_out = _members(request, base)
    folder = request.sweep.value if request.sweep in (Sweep.ledger, Sweep.league) else ""
    name = request.name or ("train" if few else "-".join(filter(None, (base.profile.name, folder))))
    run_settings = settings_of(base, name, base.profile.name, records_path(base, few, folder), request.until)
    return PlannedSweep(base, members, run_settings, left_out)


def _members(request: SweepRequest, base: Config) -> tuple[list[PlannedMember], Mapping[str, UserError]]:
    tasks, pes, seeds, protocols = request.tasks, request.pes, request.seeds, request.protocols
    profile, overrides = request.profile, request.overrides
    if request.sweep is Sweep.ledger:
        places = ledger_places(tasks, pes, request.rows, request.bases)
        return plan_places(places, seeds, profile, overrides, base.profile), {}
    if request.sweep is Sweep.league:
        return plan_league(tasks, pes, seeds, protocols, profile, overrides, base.profile)
    if request.sweep is Sweep.few:
        seeds, protocols = seeds or base.profile.seeds[:1], protocols or ["paper"]
    return plan(tasks, pes, seeds, protocols, profile, overrides, base.profile), {}


def settings_of(config: Config, sweep: str, profile: str, records: Path, until: int | None = None) -> RunSettings:
    """Where a sweep keeps things and how it runs, as a configuration says. BadValue for a device that is not here,
    where the work is to be done here."""
    if config.backend.kind is BackendKind.local:
        check_device(config.device)
    return RunSettings(
        runs_dir=Path(config.paths.runs),
        data_dir=Path(config.paths.data),
        records_path=records,
        sweep=sweep,
        profile=profile,
        device=config.device,
        compiled=config.compiled,
        threads=config.threads,
        until=until,
        tracker=config.tracker,
        save_seconds=config.save_seconds,
    )


def records_path(config: Config, apart: bool, folder: str = "") -> Path:
    """The record store of a profile, from which its table is drawn and which is committed, or one in a folder below it;
    or, `apart`, the working store beside the runs, so that trying something out never changes a table."""
    root = Path(config.paths.runs) if apart else Path(config.paths.results) / config.profile.name / folder
    return root / "records.jsonl"
