"""From a user's choices to a planned sweep: members, settings, and the file that their records go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import overload

from conf.backends import BackendKind
from conf.combinations import expand, points
from conf.overrides import choices, parse
from conf.schema import Config
from eval.measuring.planned import PlannedMember
from eval.running.fitting import check_fits
from eval.running.job import RunSettings, check_device
from eval.running.plan import plan, plan_places, settings
from eval.running.progress import Bar
from eval.running.wide_plans import LEAGUE_PROTOCOLS, ledger_places, plan_league
from posgen.errors import BadValue, UserError

FEW_PROTOCOLS = ["paper"]
"""Of `Sweep.few`, unless others are named."""


class Sweep(Enum):
    """What is trained. `few`: one seed and protocol unless more are named, with records apart from the tables'."""

    table1 = "table1"
    ledger = "ledger"
    league = "league"
    few = "train"


@dataclass(frozen=True)
class SweepRequest:
    """A user's choices, checked for their names; None where the profile decides. `overrides` may have several values
    each for `plan_sweeps`, and have one for `plan_sweep`. `rows` and `bases` are the ledger's.
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


MOST = 10_000
"""Trainings that one call plans, counted before equal ones are merged."""


def plan_sweeps(request: SweepRequest, fits: bool = True, fresh: bool = False) -> Sequence[PlannedSweep]:
    """The sweeps of a request, one for each combination of settings that its overrides ask for.

    All are composed and checked here, so that a mistake in the last is told before the first begins, and each is
    planned again when its turn comes: what is checked is not kept. Raises BadValue or UserError, one line each, for any
    mistake, for more than `MOST` trainings (counted, not expanded), and, unless `fits` is false, for what cannot fit
    into the memory or onto the disk of this machine. `fresh`: what is done already counts as left to do.
    """
    places = _count(request)
    requests = [replace(request, overrides=point) for point in expand(request.overrides)]
    with Bar("planning", places * len(requests), after=1.0) as bar:
        for each in requests:
            planned = plan_sweep(each, bar.advance)
            if fits:
                check_fits_here(planned, fresh)
    return [planned] if len(requests) == 1 else _PlannedWhenAsked(requests)


def is_here(sweep: PlannedSweep) -> bool:
    """Whether this machine does the work, and not those that a backend asks."""
    return sweep.config.backend.kind is BackendKind.local


def check_fits_here(sweep: PlannedSweep, fresh: bool = False) -> None:
    """`check_fits` where the work is done here; a job on another machine checks for itself."""
    if is_here(sweep):
        check_fits(sweep.members, sweep.settings, fresh)


class _PlannedWhenAsked(Sequence[PlannedSweep]):
    """Planned sweeps that take no memory before their turn."""

    def __init__(self, requests: Sequence[SweepRequest]) -> None:
        self.requests = requests

    def __len__(self) -> int:
        return len(self.requests)

    @overload
    def __getitem__(self, index: int) -> PlannedSweep: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PlannedSweep]: ...
    def __getitem__(self, index: int | slice) -> PlannedSweep | Sequence[PlannedSweep]:
        chosen = self.requests[index]
        return plan_sweep(chosen) if isinstance(chosen, SweepRequest) else _PlannedWhenAsked(chosen)


def _count(request: SweepRequest) -> int:
    """The places of a table that each combination of the overrides fills. BadValue or UserError for too many."""
    combinations = points(request.overrides)
    fixed = [text for text in request.overrides if not parse(text).is_sweep_override()]
    profile, few = settings(request.profile, fixed).profile, request.sweep is Sweep.few
    if request.sweep is Sweep.ledger:
        places = len(ledger_places(request.tasks, request.pes, request.rows, request.bases))
    else:
        defaults = {Sweep.few: FEW_PROTOCOLS, Sweep.league: LEAGUE_PROTOCOLS}
        protocols = request.protocols or defaults.get(request.sweep, profile.protocols)
        places = len(request.tasks) * len(request.pes or choices("pe")) * len(protocols)
    seeds = len(request.seeds or profile.seeds[: 1 if few else None])
    total = combinations * places * seeds
    if total > MOST:
        longest = max(request.overrides, key=lambda text: points([text]), default="")
        key, _, value = longest.partition("=") if combinations > 1 else ("seed", "", f"{seeds:,} of them")
        raise BadValue(
            key, value,
            f"that is {total:,} trainings ({combinations:,} settings x {places:,} places x {seeds:,} seeds), and one "
            f"call plans at most {MOST:,}: name fewer, or call several times",
        )  # fmt: skip
    return places


def plan_sweep(request: SweepRequest, ticked: Callable[[], None] = lambda: None) -> PlannedSweep:
    """Compose and check everything that the request asks for. Raises BadValue or UserError, one line each. `ticked` is
    called after each place of a table."""
    few = request.sweep is Sweep.few
    base = settings(request.profile, request.overrides, None if few else request.seeds)
    if request.until is not None:
        profile = base.profile
        label = f"{profile.label}; epoch {request.until} of {base.optim.epochs}"
        base = replace(base, profile=replace(profile, name=f"{profile.name}+until={request.until}", label=label))
    members, left_out = _members(request, base, ticked)
    folder = request.sweep.value if request.sweep in (Sweep.ledger, Sweep.league) else ""
    name = request.name or ("train" if few else "-".join(filter(None, (base.profile.name, folder))))
    run_settings = settings_of(base, name, base.profile.name, records_path(base, few, folder), request.until)
    return PlannedSweep(base, members, run_settings, left_out)


def _members(
    request: SweepRequest, base: Config, ticked: Callable[[], None]
) -> tuple[list[PlannedMember], Mapping[str, UserError]]:
    tasks, pes, seeds, protocols = request.tasks, request.pes, request.seeds, request.protocols
    profile, overrides = request.profile, request.overrides
    if request.sweep is Sweep.ledger:
        places = ledger_places(tasks, pes, request.rows, request.bases)
        return plan_places(places, seeds, profile, overrides, base.profile, ticked), {}
    if request.sweep is Sweep.league:
        return plan_league(tasks, pes, seeds, protocols, profile, overrides, base.profile, ticked)
    if request.sweep is Sweep.few:
        seeds, protocols = seeds or base.profile.seeds[:1], protocols or FEW_PROTOCOLS
    return plan(tasks, pes, seeds, protocols, profile, overrides, base.profile, ticked), {}


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
