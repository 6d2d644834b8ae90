"""From a specification (conf/pe) to an encoding: finds the scaling by name and checks its parameters."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
import typing
from enum import Enum
from typing import Any

from models.encodings import scalings
from models.encodings.rotary import Rotary
from models.encodings.scalings.base import Scaling
from models.spec import EncodingSpec
from posgen.errors import BadValue, nearest


def scaling_names() -> list[str]:
    """Names that `scaling` may take: the files of models/encodings/scalings."""
    return sorted(m.name for m in pkgutil.iter_modules(scalings.__path__) if m.name != "base")


def build(spec: EncodingSpec, head_dim: int) -> Rotary:
    """The encoding that a specification names, for heads of `head_dim` scalars.

    Raises BadValue when the scaling or one of its parameters is unknown or out of range.
    """
    kind = _scaling_class(spec.scaling)
    return Rotary(spec.name, head_dim, float(spec.base), _construct(kind, spec.params), spec.resonance)


def _scaling_class(name: str) -> type[Scaling]:
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise BadValue("scaling", name, f"cannot be imported ({error}); use package.module:Class") from error
        if not (isinstance(found, type) and issubclass(found, Scaling)):
            raise BadValue("scaling", name, "is not a subclass of models.encodings.scalings.base.Scaling")
        return found
    if name not in scaling_names():
        raise BadValue("scaling", name, nearest(name, scaling_names()) + ", or package.module:Class of your own")
    return importlib.import_module(f"models.encodings.scalings.{name}").SCALING


def _construct(kind: type[Scaling], params: dict[str, Any]) -> Scaling:
    types_of = typing.get_type_hints(kind)
    known = {f.name: types_of[f.name] for f in dataclasses.fields(kind)}
    values = {}
    for key, value in params.items():
        if key not in known:
            listing = nearest(key, known) if known else "this scaling takes no parameters"
            raise BadValue(f"params.{key}", value, listing)
        values[key] = _coerce(f"params.{key}", value, known[key])
    try:
        return kind(**values)
    except BadValue as error:
        raise error.under("params") from error


def _coerce(key: str, value: Any, wanted: Any) -> Any:
    """YAML gives 2 where a float is meant and `index` where an Enum is; anything else of a wrong type is refused."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        if value is None:
            return None
        wanted = next(t for t in typing.get_args(wanted) if t is not type(None))
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        if isinstance(value, wanted):
            return value
        if value not in [m.value for m in wanted]:
            raise BadValue(key, value, nearest(str(value), [m.value for m in wanted]))
        return wanted(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is float and number:
        return float(value)
    if wanted is int and number and float(value).is_integer():
        return int(value)
    if isinstance(wanted, type) and isinstance(value, wanted):
        return value
    raise BadValue(
        key, value, f"must be {'a number' if wanted in (int, float) else getattr(wanted, '__name__', wanted)}"
    )
