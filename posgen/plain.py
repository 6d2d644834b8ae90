"""Plain containers and short identities: the form in which a specification is written down and hashed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from enum import Enum
from typing import Any


def plain(value: Any) -> Any:
    """Dataclasses, enums and tuples as what JSON and YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def identity(value: Any) -> Any:
    """`plain`, without the fields that stand at their `neutral` value (a key of the field's metadata).

    A field that a later version adds is neutral where it changes nothing, so that earlier results keep their identity.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {f.name: identity(v) for f, v in fields if f.metadata.get("neutral", dataclasses.MISSING) != plain(v)}
    if isinstance(value, dict):
        return {str(k): identity(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(v) for v in value]
    return plain(value)


def digest(value: Any) -> str:
    """12 hex digits of the sha256 of a value's canonical JSON."""
    text = json.dumps(_canonical(plain(value)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(value: Any) -> Any:
    """4.0 and 4 are one value: YAML and arithmetic write them differently."""
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def restore(kind: Any, value: Any) -> Any:
    """The value of type `kind` (dataclass, enum, tuple, dict or scalar) that `plain` wrote down as `value`.

    Fields that `value` lacks take their defaults; unknown ones raise TypeError.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        types_of = typing.get_type_hints(kind)
        return kind(**{name: restore(types_of.get(name, Any), item) for name, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if typing.get_origin(kind) is tuple:
        return tuple(restore(typing.get_args(kind)[0], item) for item in value)
    return value
