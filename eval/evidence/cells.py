"""From records to cells: which measurements Table 1 and Figure 3 pool; records of different settings are an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conf import names
from conf.ledger import switched_fields
from conf.published import table1_names
from eval.evidence.table import Column, Table, cells
from eval.store.kinds import AccuracyRecord
from models.spec import EncodingSpec, ModelSpec, OptimSpec
from posgen.errors import BadValue, UserError, nearest
from posgen.plain import plain
from posgen.spec import DataSpec, Task

# Differs among members that are pooled (the rule of each task), or is only a label or a place.
_FREE = {"task.name", "task.rule", "task.corpus"}
# A difference here, or in what a protocol switches (the ledger of text against released code), is not one of size.
_ARITHMETIC = "model.precision"
_SIZES = {"task": Task(), "data": DataSpec(), "model": ModelSpec(), "optim": OptimSpec()}
_SPECS = {
    "task": Task, "data": DataSpec, "model": ModelSpec, "optim": OptimSpec, "pe": EncodingSpec,
    "train_encoding": EncodingSpec,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The seeds of one (protocol, task, encoding), in order, one record a seed at most. `finished` have numbers, from
    the end of their schedule or all from the same epoch of it."""

    finished: tuple[AccuracyRecord, ...] = ()
    diverged: tuple[AccuracyRecord, ...] = ()


@dataclass(frozen=True)
class Collection:
    """The cells of one profile that records fill: (protocol, task, pe) -> Cell. A cell without records is absent."""

    profile: str
    label: str
    accuracy_mode: str
    protocols: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Cell]

    def cell(self, protocol: str, task: str, pe: str) -> Cell:
        """The cell, empty when nothing was measured for it."""
        return self.cells.get((protocol, task, pe), Cell())

    def records(self, protocol: str | None = None) -> Iterator[AccuracyRecord]:
        """Every record that is pooled, of one protocol or of all."""
        for (name, _, _), cell in self.cells.items():
            if protocol in (None, name):
                yield from (*cell.finished, *cell.diverged)

    def of_the_paper(self, published: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The published (task, pe), measured or missing; none where no task of the paper was measured at all."""
        measured, places = {task for _, task, _ in self.cells}, list(published)
        return places if any(task in measured for task, _ in places) else []

    def rows(self, published: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """(task, pe): `of_the_paper`, then whatever else was measured, task by task, Resonance after plain."""
        measured = {(task, pe) for _, task, pe in self.cells}
        published = self.of_the_paper(published)
        everything = [*published, *sorted(measured - set(published), key=lambda place: names.place_order(*place))]
        tasks = list(dict.fromkeys(task for task, _ in everything))
        return sorted(everything, key=lambda row: tasks.index(row[0]))


def parted(collection: Collection) -> tuple[Collection | None, Collection | None]:
    """(the cells of tasks that a rule computes, those of texts): the ones are measured by accuracy, the others by their
    losses, and no table has both. None where there is no such cell."""

    def part(texts: bool) -> Collection | None:
        chosen = {
            place: cell
            for place, cell in collection.cells.items()
            if (*cell.finished, *cell.diverged)[0].of_text is texts
        }
        protocols = tuple(name for name in collection.protocols if any(place[0] == name for place in chosen))
        return dataclasses.replace(collection, protocols=protocols, cells=chosen) if chosen else None

    return part(False), part(True)


def collect(
    records: Sequence[AccuracyRecord], protocols: Sequence[str] | None = None, accuracy_mode: str = "teacher_forced"
) -> Collection:
    """Sort the records of ONE profile (see `eval.store.records.gather`) into cells.

    Counted are measurements on the test split at the length that the run's configuration calls data.test_length. Of
    two records of one cell and seed (the same training swept twice) the one made later counts.

    Raises BadValue for a protocol or accuracy mode without records, UserError when the settings of members that
    would be pooled differ.
    """
    tests = [r for r in records if r.split == "test" and r.length == r.training.data.test_length]
    if not tests:
        raise UserError("the records hold no measurement on the test split at data.test_length; run `posgen sweep`")
    modes = {record.accuracy_mode for record in tests}
    if accuracy_mode not in modes:
        raise BadValue("accuracy", accuracy_mode, f"no record measured so; {nearest(accuracy_mode, modes)}")
    tests = sorted((r for r in tests if r.accuracy_mode == accuracy_mode), key=lambda record: record.created)
    measured = sorted({name for record in tests for name in record.protocols}, key=names.protocol_order)
    if not measured:
        raise UserError("the records belong to no protocol; run `posgen sweep`")
    for name in protocols or ():
        if name not in measured:
            profile = tests[0].profile
            raise BadValue(
                "protocol", name,
                f"no record of it; {nearest(name, measured)}, or run "
                f"`posgen sweep --profile {profile} --protocol {name}`",
            )  # fmt: skip
    chosen = tuple(dict.fromkeys(protocols or measured))
    seeds: dict[tuple[str, str, str], dict[int, AccuracyRecord]] = {}  # in order of `created`: the later one stays
    for record in tests:
        for name in chosen:
            if name in record.protocols:
                seeds.setdefault((name, record.task, record.pe), {})[record.seed] = record
    for name in chosen:
        _same_settings(name, {place: list(by_seed.values()) for place, by_seed in seeds.items() if place[0] == name})
    return Collection(
        profile=tests[-1].profile,
        label=tests[-1].training.label,
        accuracy_mode=accuracy_mode,
        protocols=chosen,
        cells={place: _cell(by_seed) for place, by_seed in seeds.items()},
    )


@dataclass(frozen=True)
class Setting:
    """A setting that is not the paper's: `values` are (value, protocols that have it). `size`: whether it makes an
    experiment of another size; what protocols switch, and the arithmetic, do not."""

    name: str
    values: tuple[tuple[Any, tuple[str, ...]], ...]
    published: Any
    size: bool

    @property
    def text(self) -> str:
        """`8`, or `2 in paper, 6 in released`."""
        if len(self.values) == 1:
            return str(self.values[0][0])
        return ", ".join(f"{value} in {' and '.join(protocols)}" for value, protocols in self.values)


def settings_that_differ(collection: Collection) -> list[Setting]:
    """Where the records' own configuration leaves the paper's text."""
    settings = []
    sizeless, tasks = switched_fields() | {_ARITHMETIC}, table1_names()[0]
    for node, spec in _SIZES.items():
        for field, standard in plain(spec).items():
            if f"{node}.{field}" in _FREE:
                continue
            holders: dict[Any, dict[str, None]] = {}
            for protocol in collection.protocols:
                for record in collection.records(protocol):
                    # Another task has its own tokens and function: that is what it is, and no setting of the paper's.
                    if node == "task" and field != "modulus" and record.task not in tasks:
                        continue
                    holders.setdefault(record.config[node].get(field, standard), {})[protocol] = None
            if set(holders) - {standard}:
                values = tuple((value, tuple(protocols)) for value, protocols in holders.items())
                settings.append(Setting(field, values, standard, f"{node}.{field}" not in sizeless))
    return settings


def differences(collection: Collection) -> tuple[list[str], bool]:
    """(the settings that differ, as `epochs 8 (published 150)`; whether they make it an experiment of another size)."""
    settings = settings_that_differ(collection)
    lines = [f"{setting.name} {setting.text} (published {setting.published})" for setting in settings]
    return lines, any(setting.size for setting in settings)


def differences_table(collection: Collection) -> Table | None:
    """What differs from the paper's text, a setting a row; None where nothing does."""
    settings = settings_that_differ(collection)
    if not settings:
        return None
    resized = any(setting.size for setting in settings)
    return Table(
        (Column("Setting"), Column("Here"), Column("Published")),
        tuple(cells(setting.name, setting.text, str(setting.published)) for setting in settings),
        title=f"Differences of profile {collection.profile} from the paper",
        caption="Not comparable cell by cell with the published values." if resized else "",
    )


def _cell(by_seed: dict[int, AccuracyRecord]) -> Cell:
    ordered = [by_seed[seed] for seed in sorted(by_seed)]
    return Cell(
        finished=tuple(record for record in ordered if record.finished),
        diverged=tuple(record for record in ordered if record.status == "diverged"),
    )


def _same_settings(protocol: str, cells: dict[tuple[str, str, str], list[AccuracyRecord]]) -> None:
    """One setting a protocol: data, model, optimiser, selection. Within a cell its task and encoding too."""
    everything = [record for records in cells.values() for record in records]
    for texts in (False, True):  # whose checkpoints are chosen by accuracy, or by loss: no table has both
        _agree([record for record in everything if record.of_text is texts], ("data", "model", "optim"))
    ends = {r.trained_epochs or r.training.optim.epochs for r in everything if r.finished}
    if len(ends) > 1:
        epochs = " and to epoch ".join(map(str, sorted(ends, key=str)))
        raise UserError(
            f"records of different settings are never pooled: trained to epoch {epochs}; "
            "choose one sweep with --sweep, or name one file with --records"
        )
    for records in cells.values():
        _agree(records, ("task",))
        # A run that serves several cells carries the configuration of one of them, which says nothing about the others.
        for node, name in (("pe", records[0].pe), ("protocol", protocol)):
            matching = [r for r in records if isinstance(n := r.config.get(node), dict) and n.get("name") == name]
            _agree(matching, (node,))


def _agree(records: list[AccuracyRecord], nodes: tuple[str, ...]) -> None:
    settings = [{"selection": r.selection, **_flat({n: whole(n, r.config[n]) for n in nodes})} for r in records]
    for record, setting in zip(records[1:], settings[1:], strict=True):
        for name in dict.fromkeys([*settings[0], *setting]):
            expected, value = settings[0].get(name), setting.get(name)
            if value != expected and name not in _FREE:
                first, second = (f"{v} in sweep {r.sweep}" for v, r in ((expected, records[0]), (value, record)))
                raise UserError(
                    f"records of different settings are never pooled: {name} is {first} and {second}; "
                    "choose one sweep with --sweep, or remove the records that no longer count"
                )


def whole(name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """A node of a configuration with the fields added since it was written, at the value that was implied then."""
    added = [f for f in dataclasses.fields(_SPECS[name]) if "neutral" in f.metadata] if name in _SPECS else []
    return {**{f.name: f.metadata["neutral"] for f in added}, **node}


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
