"""Which records a table or figure is drawn from: those of one profile, from its folder or from files that are named."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from eval.store.declared import FOLDER
from eval.store.kinds import AccuracyRecord, Record
from eval.store.records import load
from posgen.errors import BadValue, UserError, nearest

Kind = TypeVar("Kind", bound=Record)


def sweep_options(profile: str) -> str:
    """The options with which `posgen sweep` makes a profile's records: `--profile quick optim.lr=1` for the profile
    quick+optim.lr=1, `--until 24` for one that was stopped. A long list of settings stands in a profile's name as a
    digest alone: KEY=VALUE for that one (records say them in full; eval.evidence.report reads them there)."""

    def option(change: str) -> str:
        key, _, value = change.partition("=")
        return f"--until {value}" if key == "until" else shlex.quote(change) if value else "KEY=VALUE"

    base, *changes = profile.split("+")
    return " ".join([f"--profile {base}", *map(option, changes)])


@overload
def gather(
    paths: Sequence[Path], profile: str | None, results: Path, sweep: str | None = None, below: str = ""
) -> list[AccuracyRecord]: ...
@overload
def gather(
    paths: Sequence[Path],
    profile: str | None,
    results: Path,
    sweep: str | None = None,
    below: str = "",
    *,
    kind: type[Kind],
) -> list[Kind]: ...
def gather(
    paths: Sequence[Path],
    profile: str | None,
    results: Path,
    sweep: str | None = None,
    below: str = "",
    kind: type[Any] = AccuracyRecord,
) -> list[Any]:
    """The records of ONE profile.

    Without `paths` they come from `results`/<profile>/records.jsonl, of the profile quick unless another is named.
    With `paths` and no profile, all records must belong to one. A folder may hold a changed form of the profile that it
    is named after, such as results/paper that of bf16 products: where that is all it holds, that is meant. `sweep`
    keeps the records of that sweep alone. `below` names a folder of the profile's for other records than Table 1's:
    `ledger`, `league`, `lengths`, `interventions` or `experiments/<name>`.

    Raises UserError when there are none, or when profiles would be mixed.
    """
    if not paths:
        profile = profile or "quick"
        path = results / profile / below / "records.jsonl"
        if not path.exists():
            recorded = sorted(file.relative_to(results).parts[0] for file in results.glob(f"*/{below}/records.jsonl"))
            hint = f"there are records of {', '.join(recorded)}" if recorded else "there are none of any profile"
            raise UserError(
                f"profile={profile}: no records at {path} ({hint}); make them with `{_command(profile, below)}`, or "
                "name others with --records"
            )
        paths = [path]
    records = load(*paths, kind=kind)
    if not records:
        raise UserError(f"{_listed(paths)}: no record in it; run `posgen sweep` or name other files with --records")
    profiles = dict.fromkeys(record.profile for record in records)
    if profile is None and len(profiles) > 1:
        raise UserError(f"profiles {', '.join(profiles)} are never mixed in one table: choose one with --profile")
    chosen = profile or next(iter(profiles))
    # results/paper may hold nothing but the profile paper+model.precision=bf16: the folder's name then stands for it.
    in_folder = all(results / chosen in path.parents for path in paths)
    if in_folder and len(profiles) == 1 and next(iter(profiles)).startswith(f"{chosen}+"):
        chosen = next(iter(profiles))
    if chosen not in profiles:
        raise BadValue("profile", chosen, f"no record of it in {_listed(paths)}; {nearest(chosen, profiles)}")
    records = [record for record in records if record.profile == chosen]
    sweeps = dict.fromkeys(record.sweep for record in records)
    if sweep is not None and sweep not in sweeps:
        raise BadValue("sweep", sweep, f"no record of it in {_listed(paths)}; {nearest(sweep, sweeps)}")
    return [record for record in records if sweep in (None, record.sweep)]


def making(profile: str, experiment: str) -> str:
    """The command that makes the records of a declared experiment under a profile."""
    return f"posgen experiment run {shlex.quote(experiment)} {sweep_options(profile)}"


def _command(profile: str, below: str) -> str:
    if below in ("lengths", "interventions"):
        return f"posgen {below} --measure --profile {profile}"
    folder, _, experiment = below.partition("/")
    if folder == FOLDER:
        return making(profile.partition("+")[0], experiment)
    return " ".join(["posgen sweep", *([f"--{below}"] if below else []), sweep_options(profile)])


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
