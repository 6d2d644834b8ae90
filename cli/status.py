"""`posgen status`: how far a sweep is, cell by cell; with --runs, every run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared.options import (
    DirectionOption,
    LeagueOption,
    LedgerOption,
    Overrides,
    PeOption,
    ProfileOption,
    ProtocolOption,
    RowsOption,
    SeedOption,
    TaskOption,
    UntilOption,
)
from cli.shared.output import MISSING, percent, table
from cli.sweep import plan_sweeps
from posgen.errors import BadValue, UserError

if TYPE_CHECKING:
    from eval.running.request import PlannedSweep
    from eval.running.status import MemberStatus, SweepStatus

_WIDTH = 100
_GOING = ("running", "interrupted", "stopped", "failed", "diverged")


def status(
    overrides: Overrides = None,
    task: TaskOption = None,
    pe: PeOption = None,
    seed: SeedOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    ledger: LedgerOption = False,
    rows: RowsOption = None,
    direction: DirectionOption = None,
    league: LeagueOption = False,
    until: UntilOption = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="List every run folder below results/runs instead, of whatever sweep.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Show the grid of a sweep, whose options it takes: done, running, stale, failed or missing, a cell a training.

    Below the grid: where a training runs and since when, what is stale (its code or its settings changed since, and
    which), and why one failed. Done is what is trained and has all its records. Nothing is made, trained or written.

    With --runs: every run folder, how far it came, and the validation accuracies of its chosen checkpoint under each
    encoding it is tested with.

    \b
    posgen status
    posgen status --profile paper --task cot --pe yarn,resonance_yarn
    posgen status --league --json
    posgen status --runs paths.results=DIR
    """
    if runs:
        given = {"--task": task, "--pe": pe, "--seed": seed, "--profile": profile, "--protocol": protocol,
                 "--ledger": ledger, "--rows": rows, "--direction": direction, "--league": league,
                 "--until": until}  # fmt: skip
        for name, value in given.items():
            if value not in (None, False):
                raise BadValue(name, value, "chooses from a sweep, and --runs lists all; leave one of them out")
        _list_runs(overrides, as_json)
        return
    # Where a sweep trains is no part of what it is: this machine may be another one.
    settings = [text for text in overrides or () if text.partition("=")[0] != "device"]
    sweeps = plan_sweeps(
        settings, task=task, pe=pe, seed=seed, profile=profile, protocol=protocol,
        ledger=ledger, rows=rows, direction=direction, league=league, until=until,
    )  # fmt: skip
    for number, sweep in enumerate(sweeps):
        print_status(sweep, as_json, "`posgen sweep` with the same options", "\n" * bool(number))


def print_status(sweep: PlannedSweep, as_json: bool, command: str, before: str = "") -> None:
    """Print where the members of a sweep stand; `command` does what is left."""
    from eval.running.status import status_of

    found = status_of(sweep.members, sweep.settings)
    if as_json:
        for member in found.members:
            print(json.dumps(_object(sweep, member)))
    else:
        print(before + _shown(sweep, found, command), flush=True)


def _object(sweep: PlannedSweep, found: MemberStatus) -> dict[str, Any]:
    """Everything that is known of a member."""
    from eval.store.provenance import SOURCE

    spec, info = found.member.spec, found.info
    of_run = ("status", "epoch", "epochs", "host", "pid", "since", "updated", "reason", "trained_by", "train_seconds")
    return {
        "run_id": spec.run_id,
        "task": spec.task.name,
        "train_encoding": spec.train_encoding.name,
        "seed": spec.seed,
        "data_seed": spec.data.seed,
        "profile": sweep.settings.profile,
        "sweep": sweep.settings.sweep,
        "records": str(sweep.settings.records_path),
        "state": found.state,
        "detail": found.detail,
        "source": SOURCE,
        "differs": {key: list(values) for key, values in found.differs.items()},
        "cells": [
            {"protocol": t.protocol, "pe": t.pe, "test_encoding": t.test_encoding, "accuracy": t.accuracy,
             "recorded": t in found.recorded}
            for t in found.member.targets
        ],
        **{key: info.get(key) for key in of_run},
    }  # fmt: skip


def _shown(sweep: PlannedSweep, found: SweepStatus, command: str) -> str:
    """A heading, the grid, the details of what is not done, and the counts."""
    from eval.measuring.planned import count
    from eval.running.status import LEFT, STATES

    members, profile = found.members, sweep.config.profile
    called = f"profile {profile.name} ({_cut(profile.label, _WIDTH - 10)})"
    head = f"{called}: {count(len(members))}, records in {sweep.settings.records_path}"
    lines = [_wrapped(head)]
    if found.problem:
        lines.append(_wrapped(f"these records cannot be read, so that none counts: {found.problem}"))
    lines += ["", *_grid(members), ""]
    told = {pe: str(error) for pe, error in sweep.left_out.items()}
    lines += [_wrapped(f"left out, not trainable with these settings: {pe} ({why})") for pe, why in told.items()]
    lines += map(_wrapped, _details(members))
    explained = {found.state for found in members} & {"unmeasured", "recorded"}
    lines += [_wrapped(f"{state}: {STATES[state]}") for state in sorted(explained)]
    counts = [(state, sum(member.state == state for member in members)) for state in STATES]
    lines.append(_wrapped(f"{', '.join(f'{number} {state}' for state, number in counts if number)}, of {len(members)}"))
    if any(member.state in LEFT or member.differs for member in members):
        lines.append(f"{command} does what is left")
    return "\n".join(lines)


def _grid(members: Sequence[MemberStatus]) -> Iterator[str]:
    """A row a task and training encoding, a column a seed. Seeds that find no room stand in a further grid below."""
    rows: dict[tuple[str, str, str], dict[int, str]] = {}
    for found in members:
        spec = found.member.spec
        served = " ".join(dict.fromkeys(target.protocol for target in found.member.targets))
        rows.setdefault((spec.task.name, spec.train_encoding.name, served), {})[spec.seed] = found.state
    seeds = list(dict.fromkeys(found.member.spec.seed for found in members))
    # Which protocols a training serves is told where it tells trainings apart: in the ledger.
    apart = len({row[:2] for row in rows}) < len(rows)
    first = [("task", "trained with", *(["protocols"] if apart else []))]
    first += [(task, pe, *([_cut(served, 40)] if apart else [])) for task, pe, served in rows]
    room = _WIDTH - sum(max(map(len, column)) + 2 for column in zip(*first, strict=True))
    widths = [max(len(str(seed)), *(len(cells.get(seed, MISSING)) for cells in rows.values())) + 2 for seed in seeds]
    while seeds:
        shown = max(1, next((n for n in range(len(seeds)) if sum(widths[: n + 1]) > room + 2), len(seeds)))
        cells = [[row.get(seed, MISSING) for seed in seeds[:shown]] for row in rows.values()]
        lines = [[*start, *rest] for start, rest in zip(first, [[*map(str, seeds[:shown])], *cells], strict=True)]
        yield from table(lines[0], lines[1:]).splitlines()
        seeds, widths = seeds[shown:], widths[shown:]
        if seeds:
            yield ""


def _details(members: Sequence[MemberStatus]) -> Iterator[str]:
    """A line for each member that has something to tell; equal ones as one."""
    lines: dict[tuple[str, str], list[str]] = {}
    for found in members:
        spec = found.member.spec
        place = f"{spec.task.name} {spec.train_encoding.name} {spec.seed}"
        if found.detail:
            lines.setdefault((found.state, found.detail), []).append(f"{place} (run {spec.run_id})")
    for (state, detail), places in lines.items():
        where = places[0] if len(places) == 1 else f"{len(places)} members, {places[0]} and others"
        yield f"{state}: {where}: {detail}"


def _wrapped(text: str) -> str:
    return fill(text, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _list_runs(overrides: list[str] | None, as_json: bool) -> None:
    from cli.shared.request import request
    from conf.compose import Choice, compose

    requested = request(overrides, takes=(), roots=("paths",), default_profile="quick")
    paths = compose(Choice(), requested.overrides).paths
    runs = sorted(map(_read, Path(paths.runs).glob("*/run.json")), key=lambda run: str(run.get("updated", "")))
    if as_json:
        for run in runs:
            print(json.dumps(run))
    elif not runs:
        print(f"no runs below {paths.runs}; start one with `posgen train`")
    else:
        header = (
            "run",
            "state",
            "task",
            "trained with",
            "seed",
            "profile",
            "tested with",
            "val. ID %",
            "val. OOD %",
            "updated",
        )
        print(table(header, [line for run in runs for line in _lines(run)]))
        for run in runs:
            if run["status"] in ("failed", "unreadable"):
                print(_wrapped(f"{run['run_id']} {run['status']}: {run.get('reason')}"))


def _read(file: Path) -> dict[str, Any]:
    """run.json and, once the run is done, the validation row of each chosen checkpoint by test encoding."""
    from eval.store.locks import held
    from eval.store.runs import Run

    try:
        locked = held(file.parent)  # before run.json: a process that ends has its last word in it
        run = Run(file.parent.parent, file.parent.name)
        info, chosen = run.info(), {}
        if run.done:
            outcome = run.result()
            rows = {row["epoch"]: row["validation"] for row in outcome.history}
            chosen = {label: rows[epoch][label] for label, epoch in outcome.chosen.items() if epoch is not None}
        state = {"status": "interrupted"} if info.get("status") == "running" and not locked else {}
        return {**info, **state, "run_id": run.run_id, "locked": locked, "validation": chosen}
    except (UserError, KeyError, OSError) as error:  # whatever one folder holds, the others are listed
        reason = " ".join(str(error).split())
        return {"run_id": file.parent.name, "status": "unreadable", "reason": reason, "validation": {}}


def _lines(run: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    state = str(run.get("status", MISSING))
    if state in _GOING:
        state += f", epoch {run.get('epoch', '?')} of {run.get('epochs', '?')}"
    columns = (str(run.get(key, MISSING)) for key in ("task", "train_encoding", "seed", "profile"))
    first = (run["run_id"], state, *columns)
    for name, row in (run["validation"] or {MISSING: {}}).items():
        accuracies = (percent(row.get("id_accuracy")), percent(row.get("ood_accuracy")))
        yield (*first, name, *accuracies, str(run.get("updated", MISSING)))
        first = ("",) * len(first)
