"""The equal-ID league on the command line: the league, then a rung of longer trainings after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.shared.training import train_all
from posgen.errors import UserError

if TYPE_CHECKING:
    from conf.league import LeagueRules
    from eval.evidence.cells import Collection
    from eval.evidence.league.standings import Measured
    from eval.running.request import PlannedSweep, SweepRequest


def train_equal_id(
    request: SweepRequest, sweeps: Sequence[PlannedSweep], doublings: int | None, fresh: bool, dry_run: bool
) -> None:
    """Train a league, then what has not learned a task again with twice the epochs, until all have or the declared
    bound is met. What has its records already is not trained, wherever it was. `dry_run`: the first rung whose records
    are not there is estimated, and the bound of those behind it told."""
    from conf.league import league_rules
    from eval.evidence.league.rungs import measured, plan_rung, planned_places, rungs, unlearned
    from eval.running.request import check_fits_here

    rules = league_rules(doublings)
    if len(sweeps) > 1:
        raise UserError("--equal-id goes on from one league: give every setting one value")
    league = sweeps[0]
    if fresh or not _recorded(league):
        train_all([league], fresh, dry_run)
    if dry_run and not _recorded(league):
        _bound_unknown(league, rules)
        return
    collection, epochs = _collected(league), league.members[0].spec.optim.epochs
    path, asked = league.settings.records_path, planned_places(league)
    further: list[Measured] = []
    for rung in rungs(epochs, rules):
        places = unlearned(collection, further, asked, rules)
        if not places:
            break
        planned = plan_rung(request, league, rung, places)
        print(f"\nequal ID, {rung} epochs: {_told(places)} below {100 * rules.share:g} % of the ceiling", flush=True)
        if fresh or not _recorded(planned):
            if not dry_run:
                check_fits_here(planned, fresh)
            train_all([planned], fresh, dry_run)
        if dry_run and not _recorded(planned):
            _bound(rung, epochs, rules)
            return
        further = [each for each in measured(path, epochs, None, rules) if each[0] <= rung]
    left = unlearned(collection, further, asked, rules)
    print(
        f"\nequal ID: {_told(left)} never learned within the bound" if left else "\nequal ID: all learned", flush=True
    )


def _recorded(sweep: PlannedSweep) -> bool:
    """Whether every cell of a sweep has its records, whoever made them: by what a table pools, for a run's identity is
    another one in records of an older version."""
    from eval.store.records import load_if_there

    records = (r for r in load_if_there(sweep.settings.records_path) if r.profile == sweep.settings.profile)
    there = {(r.task, p, r.pe, r.seed) for r in records for p in r.protocols}
    return all((m.spec.task.name, t.protocol, t.pe, m.spec.seed) in there for m in sweep.members for t in m.targets)


def _collected(league: PlannedSweep) -> Collection:
    from eval.evidence.cells import collect
    from eval.store.records import load

    records = load(league.settings.records_path)
    protocols = dict.fromkeys(target.protocol for member in league.members for target in member.targets)
    return collect([r for r in records if r.profile == league.settings.profile], list(protocols))


def _told(places: Sequence[tuple[str, str, str]]) -> str:
    """`9 places (alibi, nope)`."""
    encodings = ", ".join(dict.fromkeys(pe for _, pe, _ in places))
    return f"{len(places)} place{'s' * (len(places) != 1)} ({encodings})"


def _bound_unknown(league: PlannedSweep, rules: LeagueRules) -> None:
    times = sum(2**doubling for doubling in range(1, rules.doublings + 1))
    print(
        "equal ID: who trains longer is known when the league is measured; at most all "
        f"{len(league.members)} trainings with 2 to {2**rules.doublings} times the epochs, {times} times as long in all"
    )


def _bound(rung: int, epochs: int, rules: LeagueRules) -> None:
    from eval.evidence.league.rungs import rungs

    later = [count for count in rungs(epochs, rules) if count > rung]
    if later:
        times = sum(count // rung for count in later)
        print(
            f"equal ID: at most the same trainings again with {', '.join(map(str, later))} epochs, {times} times as "
            "long in all; fewer, as soon as some have learned"
        )
