"""The record store: files of JSON lines, from which every table and figure is drawn.

A line is a record (eval.store.kinds), which names the training that it belongs to, or a training: what all its records
share, the resolved configuration above all, stands once a file. Adding records appends to the file and rewrites
nothing. Each line carries its own digest (eval.store.seal). Files of schema 1, a whole record with its configuration a
line, and of schema 2, without digests, are read as well. Needs neither torch nor pandas.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
from filelock import Timeout

from eval.store.claims import writing
from eval.store.kinds import AccuracyRecord, Key, Maker, Record, Training, as_training
from eval.store.lm_kinds import LANGUAGE_MODEL_KINDS
from eval.store.probes import InterventionsRecord, LengthsRecord
from eval.store.seal import is_sealed, sealed
from posgen.errors import UserError, os_error_reason, os_error_remedy

SCHEMA = 3
LOCK = ".lock"
"""The file beside a store that its writers lock; it stays, and git ignores it."""
_WAIT = 600.0  # seconds for another process that writes
_TRAINING = re.compile(rb'\{"kind":"training","schema":\d+,"id":"([0-9a-f]{12})"')
_ALL: tuple[type[Record], ...] = (AccuracyRecord, LengthsRecord, InterventionsRecord, *LANGUAGE_MODEL_KINDS)
KINDS = {kind.kind: kind for kind in _ALL}
"""Every kind of record, by the name that its lines have."""

Kind = TypeVar("Kind", bound=Record)


def append(path: Path, new: Iterable[Record]) -> None:
    """Add records to the file at `path`. Of records with equal keys the last one counts (`load`).

    Several processes may add to one file at once. A process that is killed in the middle leaves a torn last line, which
    readers leave out and the next writer removes. Raises UserError when a record is malformed or cannot be written; the
    file then stays as it was.
    """
    records = list(new)
    for record in records:
        _check(record)
    if not records:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Appending costs the same however long the file is, and `posgen lengths` adds to its file hundreds of times.
        # The lock covers reading too: which trainings the file describes must still hold when the records are written.
        with writing(path.parent / LOCK, _WAIT), path.open("r+b" if path.exists() else "w+b") as file:
            described = _recover(file)
            _write(file, b"".join(_lines(records, described)))
    except Timeout:
        raise UserError(f"{path} is being written by another process for {_WAIT:.0f} s; try again later") from None
    except OSError as error:
        raise UserError(f"cannot write {path} ({os_error_reason(error)}): {os_error_remedy(error)}") from None


@overload
def load(*paths: Path) -> list[AccuracyRecord]: ...
@overload
def load(*paths: Path, kind: type[Kind]) -> list[Kind]: ...
def load(*paths: Path, kind: type[Any] = AccuracyRecord) -> list[Any]:
    """All records of the files, in the order in which their keys first appear; of equal keys the last one counts.

    Raises UserError naming the file, the line and the remedy when a file is missing, a line is not a record, or the
    records are of another kind.
    """
    records: dict[Key, Any] = {}
    for path in paths:
        for record in _read(path, kind):
            older = records.get(record.key)
            records[record.key] = record if older is None else record.merged(older)
    return list(records.values())


@overload
def load_if_there(path: Path) -> list[AccuracyRecord]: ...
@overload
def load_if_there(path: Path, kind: type[Kind]) -> list[Kind]: ...
def load_if_there(path: Path, kind: type[Any] = AccuracyRecord) -> list[Any]:
    """`load`, or no record where there is no file yet."""
    return load(path, kind=kind) if path.exists() else []


def _check(record: Record) -> None:
    """UserError unless the record is read back equal: made in code, its values have not been checked by any reader."""
    # There and back again: msgspec validates when it decodes, not when an object is constructed.
    try:
        data = msgspec.json.decode(msgspec.json.encode({**_plain(record), "training": None}))
        training = msgspec.convert(msgspec.to_builtins(record.training), Training)
        decoded = msgspec.convert({**data, "training": training}, type(record))
        if decoded != record:
            name = next(n for n in type(record).__struct_fields__ if getattr(decoded, n) != getattr(record, n))
            raise msgspec.ValidationError(f"holds what JSON cannot - at `$.{name}`")
    except (msgspec.ValidationError, TypeError) as error:
        raise UserError(
            f"this record cannot be stored: {_complaint(error)}; report it with the run id {record.run_id}"
        ) from None


_LATER = ("loss_by_position", "experiment")
"""Keys that a line has only where there is a value: they came later, and lines without them stay what they were."""


def _plain(record: Record) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in type(record).__struct_fields__ if name != "training"}
    return {name: value for name, value in fields.items() if name not in _LATER or value is not None}


def _lines(records: Iterable[Record], described: set[str]) -> Iterator[bytes]:
    """The lines of the records, each after that of its training unless its id is among `described`."""
    for record in records:
        training = record.training
        if training.id not in described:
            described.add(training.id)
            head = {"kind": "training", "schema": SCHEMA, "id": training.id}
            yield sealed(msgspec.json.encode({**head, **msgspec.to_builtins(training)})) + b"\n"
        head = {"kind": record.kind, "schema": SCHEMA, "training": training.id}
        yield sealed(msgspec.json.encode({**head, **_plain(record)})) + b"\n"


def _recover(file: Any) -> set[str]:
    """The ids of the trainings in the file. Leaves the file at its end, a torn last line removed."""
    described = set()
    end, last = 0, b"\n"
    for line in file:
        # Only the last line can lack its newline: it is torn, unless its JSON is whole (`_read` then counts it too).
        if not line.endswith(b"\n") and not _whole(line):
            break
        end, last = end + len(line), line
        if match := _TRAINING.match(line):  # its first bytes tell; parsing every line would make appending slow
            described.add(match.group(1).decode())
    file.seek(end)
    file.truncate()
    if not last.endswith(b"\n"):  # a file that an editor left without it
        file.write(b"\n")
    return described


def _whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


def _write(file: Any, data: bytes) -> None:
    """Write at the end, whole or not at all."""
    # A full disk or Ctrl-C would leave half a line here, and this process lives on: cut it off at once.
    start = os.fstat(file.fileno()).st_size
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    except BaseException:
        # By descriptor, and closing the raw file: closing the buffered one would write its remaining bytes once more.
        os.ftruncate(file.fileno(), start)
        file.raw.close()
        raise


def check(path: Path) -> tuple[int, int, list[str]]:
    """(records of whatever kind, how many lines carry no digest, what is wrong with the others): every line is looked
    at, where `load` stops at the first that is damaged. UserError when the file cannot be read."""
    records, unsealed, complaints = 0, 0, []
    trainings: dict[str, Training] = {}
    lost = set()  # trainings whose line is damaged: their records are not at fault
    for number, line in _numbered(path):
        try:
            try:
                record: Record | None = _parsed(line, AccuracyRecord, trainings)
            except _OtherKindError as error:
                if error.kind not in KINDS:
                    raise ValueError(f"kind={error.kind} is unknown") from None
                record = _parsed(line, KINDS[error.kind], trainings)
        except _UndescribedError as error:
            if error.training not in lost:
                complaints.append(_of_line(path, number, error))
        except _MALFORMED as error:
            complaints.append(_of_line(path, number, error))
            if match := _TRAINING.match(line):
                lost.add(match.group(1).decode())
        else:
            records += record is not None
            unsealed += not is_sealed(line)
    return records, unsealed, complaints


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a device or a pipe might never end
            raise UserError(f"cannot read the records {path} (it is not a file): check the path given to --records")
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        misnamed = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        remedy = "check the path given to --records" if misnamed else os_error_remedy(error, "--records")
        raise UserError(f"cannot read the records {path} ({os_error_reason(error)}): {remedy}") from None
    lines = content.split(b"\n")
    # After the last newline stands what is being written right now, or what a killed process left. No lock for readers:
    # a table can be drawn while a sweep runs, and from a folder that cannot be written.
    if lines[-1].strip() and not _whole(lines[-1]):
        print(
            f"posgen: {path} ends within a line: a record is being written, or its writer was killed", file=sys.stderr
        )
        lines.pop()
    yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


_MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


def _of_line(path: Path, number: int, error: Exception) -> str:
    # A ValidationError is a DecodeError too, but of valid JSON.
    is_json = not isinstance(error, msgspec.DecodeError) or isinstance(error, msgspec.ValidationError)
    complaint = _complaint(error) if is_json else "is not a whole JSON record"
    return (
        f"{path}, line {number}: {complaint}; restore the file, or delete that line and run the same sweep again "
        "(finished members are not trained again)"
    )


def _read(path: Path, kind: type[Kind]) -> Iterator[Kind]:
    trainings: dict[str, Training] = {}
    for number, line in _numbered(path):
        try:
            record = _parsed(line, kind, trainings)
        except _MALFORMED as error:
            raise UserError(_of_line(path, number, error)) from None
        except _OtherKindError as error:
            shown = KINDS[error.kind].shown_by if error.kind in KINDS else "another command"
            raise UserError(
                f"{path} holds records of kind {error.kind}, and this takes {kind.kind}: show them with "
                f"`{shown} --records {path}`"
            ) from None
        if record is not None:
            yield record


class _UndescribedError(ValueError):
    def __init__(self, training: object) -> None:
        self.training = training
        super().__init__(f"names the training {training}, which no line before it describes")


class _OtherKindError(Exception):
    def __init__(self, kind: str) -> None:
        self.kind = kind


def _parsed(line: bytes, kind: type[Kind], trainings: dict[str, Training]) -> Kind | None:
    """The record of a line; None for that of a training, which `trainings` then knows."""
    node = msgspec.json.decode(line)
    if not isinstance(node, dict):
        raise ValueError("is not a JSON object")
    schema, seal = node.pop("schema", None), node.pop("sha", None)
    if schema not in (1, 2, SCHEMA):
        raise ValueError(f"schema={schema}, but this version of posgen reads schemas 1, 2 and {SCHEMA}")
    # Of a line with a digest whatever schema it names: that, too, may be what changed.
    if (schema == SCHEMA or seal is not None) and not is_sealed(line):
        raise ValueError("does not have the digest that it ends with: it was damaged, or edited")
    if schema == 1:
        node, name = _of_schema_1(node, trainings)
    else:
        name = str(node.pop("kind", None))
        if name == "training":
            trainings[str(node.pop("id", ""))] = msgspec.convert(node, Training)
            return None
        if node.get("training") not in trainings:
            raise _UndescribedError(node.get("training"))
        node["training"] = trainings[node["training"]]
    if name != kind.kind:
        raise _OtherKindError(name)
    return msgspec.convert(node, kind)


def _of_schema_1(node: dict[str, Any], trainings: dict[str, Training]) -> tuple[dict[str, Any], str]:
    """A record with its configuration in it, as version 0.1 wrote them, in today's form, and its kind."""
    if not isinstance(config := node.pop("config", None), dict):
        raise ValueError("the key config is missing")
    maker = {name: node.pop(name, None) for name in ("git_commit", "git_dirty", "versions", "device")}
    trained_by = msgspec.convert(node.pop("trained_by", None) or [maker], tuple[Maker, ...])
    training = as_training(config, trained_by)
    node["training"] = trainings.setdefault(training.id, training)
    node["encoding"], node["protocol"] = config.get("pe"), config.get("protocol")
    node["measured_by"] = node.get("measured_by") or trained_by[-1]
    return node, LengthsRecord.kind if "windows" in node else AccuracyRecord.kind


def _complaint(error: Exception) -> str:
    """`seed: Expected `int`, got `str``: where, then what."""
    text, _, place = " ".join(str(error).split()).partition(" - at `$")
    return f"{place.rstrip('`').lstrip('.')}: {text}" if place else text
