"""The finished runs behind a profile's records, for the commands that measure them again beyond Table 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.shared.records import collection

if TYPE_CHECKING:
    from eval.evidence.cells import Collection
    from eval.running.job import RunSettings
    from eval.store.kinds import AccuracyRecord


@dataclass(frozen=True)
class FinishedRuns:
    """The `cells` of a profile's table and league, how to measure their runs again (`settings`: the new records go to
    results/<profile>/<folder>), and the ids of those runs that are `gone`. `profile` names the folder of the records,
    below `results`."""

    profile: str
    results: Path
    cells: Collection
    settings: RunSettings
    gone: frozenset[str]

    def tested(self, cells: Collection) -> list[tuple[str, AccuracyRecord]]:
        """(protocol, record of a test) of the finished members of these cells whose runs are there."""
        return [
            (protocol, record)
            for (protocol, _, _), cell in cells.cells.items()
            for record in cell.finished
            if record.run_id not in self.gone
        ]


def finished_runs(
    folder: str,
    records: list[Path] | None,
    profile: str | None,
    protocol: str | None,
    pe: str | None,
    settings: list[str],
    device: str | None,
    threads: str | None,
) -> FinishedRuns:
    """Those that the options of `posgen <folder> --measure` choose. UserError when all their runs are
    gone."""
    import dataclasses

    from cli.shared.request import request
    from conf.compose import Choice, compose
    from eval.running.request import settings_of
    from posgen.errors import UserError

    asked = request(
        settings, takes=(), roots=("paths", "device", "threads"), device=device, threads=threads, default_pe=None,
        default_profile="quick",
    )  # fmt: skip
    base = compose(Choice(), asked.overrides)
    results, name = Path(base.paths.results), profile or "quick"
    league = results / name / "league" / "records.jsonl"
    sources = records or [p for p in (results / name / "records.jsonl", league) if p.exists()]
    cells = collection(sources or None, profile, protocol, None, results=results)
    pes = known("pe", pe, (place[2] for place in cells.cells))
    cells = dataclasses.replace(cells, cells={place: cell for place, cell in cells.cells.items() if place[2] in pes})
    if records and not profile:
        name = cells.profile
    run_settings = settings_of(base, folder, cells.profile, results / name / folder / "records.jsonl")
    ids = {record.run_id for cell in cells.cells.values() for record in cell.finished}
    gone = {run_id for run_id in ids if not (run_settings.runs_dir / run_id / "history.json").exists()}
    if gone == ids:
        raise UserError(
            f"paths.runs={run_settings.runs_dir}: none of the {len(gone)} runs of these records is there; train them "
            f"with `posgen sweep --profile {cells.profile}`, or name their folder with paths.runs=DIR"
        )
    return FinishedRuns(name, results, cells, run_settings, frozenset(gone))


def tell_gone(runs: FinishedRuns) -> None:
    """Say how many runs cannot be measured."""
    if runs.gone:
        print(f"{len(runs.gone)} runs are not below {runs.settings.runs_dir}: left out")


def known(key: str, chosen: str | None, measured: Iterable[str]) -> list[str]:
    """The names that an option such as --pe chooses among those measured, or all. BadValue for one that is not among
    them."""
    from conf.overrides import words
    from posgen.errors import BadValue, nearest

    names = list(dict.fromkeys(measured))
    if chosen is None or chosen == "all":
        return names
    for name in words(key, chosen):
        if name not in names:
            raise BadValue(key, name, f"no record of it; {nearest(name, names)}")
    return words(key, chosen)


def refuse_without_measure(asked: Mapping[str, object]) -> None:
    """BadValue for the first option that was given (by name) and means something with --measure only."""
    from posgen.errors import BadValue

    for name, value in asked.items():
        if value is not None and value is not False and value != []:
            raise BadValue(name, value, "needs --measure; add it, or leave this out")
