"""One line of a record file: a record, or the training that records after it name; to bytes and back.

A line names its kind and the schema, and carries its own digest (eval.store.seal). Lines of schema 1, whole records
with their configuration, and of schema 2, without digests, are read as well. Needs neither torch nor pandas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from eval.store.kinds import AccuracyRecord, Maker, Record, Training, as_training
from eval.store.lm_kinds import LANGUAGE_MODEL_KINDS
from eval.store.probes import InterventionsRecord, LengthsRecord
from eval.store.seal import is_sealed, sealed
from posgen.errors import UserError

SCHEMA = 3
_TRAINING = re.compile(rb'\{"kind":"training","schema":\d+,"id":"([0-9a-f]{12})"')
_ALL: tuple[type[Record], ...] = (AccuracyRecord, LengthsRecord, InterventionsRecord, *LANGUAGE_MODEL_KINDS)
KINDS = {kind.kind: kind for kind in _ALL}
"""Every kind of record, by the name that its lines have."""

MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
"""What `parsed` raises for a line that is no record."""

Kind = TypeVar("Kind", bound=Record)


def check_storable(record: Record) -> None:
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
            f"this record cannot be stored: {complaint(error)}; report it with the run id {record.run_id}"
        ) from None


_LATER = ("loss_by_position", "experiment")
"""Keys that a line has only where there is a value: they came later, and lines without them stay what they were."""


def _plain(record: Record) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in type(record).__struct_fields__ if name != "training"}
    return {name: value for name, value in fields.items() if name not in _LATER or value is not None}


def lines_of(records: Iterable[Record], described: set[str]) -> Iterator[bytes]:
    """The lines of the records, each after that of its training unless its id is among `described`."""
    for record in records:
        training = record.training
        if training.id not in described:
            described.add(training.id)
            head = {"kind": "training", "schema": SCHEMA, "id": training.id}
            yield sealed(msgspec.json.encode({**head, **msgspec.to_builtins(training)})) + b"\n"
        head = {"kind": record.kind, "schema": SCHEMA, "training": training.id}
        yield sealed(msgspec.json.encode({**head, **_plain(record)})) + b"\n"


def training_of(line: bytes) -> str | None:
    """The id of the training that a line describes, if it does; its first bytes tell, and nothing is parsed."""
    match = _TRAINING.match(line)
    return match.group(1).decode() if match else None


def whole(line: bytes) -> bool:
    """Whether a line is JSON to its end."""
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True


class UndescribedError(ValueError):
    """A record whose training stands in no line before it."""

    def __init__(self, training: object) -> None:
        self.training = training
        super().__init__(f"names the training {training}, which no line before it describes")


class OtherKindError(Exception):
    """A record of another kind than was asked for."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def parsed(line: bytes, kind: type[Kind], trainings: dict[str, Training]) -> Kind | None:
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
            raise UndescribedError(node.get("training"))
        node["training"] = trainings[node["training"]]
    if name != kind.kind:
        raise OtherKindError(name)
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


def complaint(error: Exception) -> str:
    """`seed: Expected `int`, got `str``: where, then what."""
    text, _, place = " ".join(str(error).split()).partition(" - at `$")
    return f"{place.rstrip('`').lstrip('.')}: {text}" if place else text
