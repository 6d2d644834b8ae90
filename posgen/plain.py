"""Plain containers and short identities: the form in which a specification is written down and hashed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from enum import Enum
from typing import Any

from posgen.errors import shortened


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
    """`plain`, without the fields that stand at their `neutral` value (a key of the field's metadata), and without
    those that are a `place`: where something is found says nothing about what it is.

    A field that a later version adds is neutral where it changes nothing, so that earlier results keep their identity.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value) if not f.metadata.get("place")]
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


def restore(kind: Any, value: Any, name: str = "it") -> Any:
    """The value of type `kind` (dataclass, enum, tuple, dict or scalar) that `plain` wrote down as `value`.

    Fields that `value` lacks take their defaults. Raises TypeError or ValueError that says which one (`name`: of the
    outermost) is unknown, of another kind than its field or out of range: data may come from anybody.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _held(isinstance(value, dict), name, "values by name", value)
        types_of = typing.get_type_hints(kind)
        unknown = sorted(value.keys() - types_of.keys())
        if unknown:
            raise TypeError(f"{shortened(unknown[0])} is not known")
        return kind(**{key: restore(types_of[key], item, key) for key, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, Enum):
        options = [member.value for member in kind]
        _held(value in options, name, f"one of {', '.join(map(str, options))}", value)
        return kind(value)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (other,) = (option for option in inner if option is not types.NoneType)
        return None if value is None else restore(other, value, name)
    if origin in (tuple, list):
        _held(isinstance(value, (list, tuple)), name, "a list", value)
        return origin(restore(inner[0], item, name) for item in value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 4.0 and 4 are one value
    scalar = origin or kind
    if scalar in _SCALARS:
        right = isinstance(value, (int, float) if scalar is float else scalar)
        _held(right and (scalar is bool or not isinstance(value, bool)), name, _SCALARS[scalar], value)
    return value


_SCALARS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "values by name",
}  # fmt: skip


def _held(condition: bool, name: str, wanted: str, value: object) -> None:
    if not condition:
        raise TypeError(f"{name} should be {wanted}, not {shortened(repr(value))}")
