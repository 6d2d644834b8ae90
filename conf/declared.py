"""Settings that belong to no training: one YAML file, one dataclass of numbers and words that checks them itself."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from conf.overrides import parse
from conf.schema import remedy
from posgen.errors import BadValue, UserError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def declared(kind: type[Settings], name: str, overrides: Sequence[str] = ()) -> Settings:
    """conf/<name>.yaml as the dataclass `kind`, with `overrides` such as `<name>.key=value` in Hydra's grammar.

    Raises BadValue or UserError, one line, for an unknown key or a value of the wrong type or out of range.
    """
    from omegaconf import DictConfig, OmegaConf

    node = OmegaConf.structured(kind)
    OmegaConf.set_readonly(node, False)
    written = OmegaConf.create(files("conf").joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in typing.cast(DictConfig, written).items():
        _set(kind, node, name, f"{name}.{key!s}", value, str(value))
    changed = set()
    for argument in overrides:
        override, text = parse(argument), argument.partition("=")[2].strip()
        key = override.key_or_group
        if key in changed:
            raise UserError(f"{argument}: {key} is given twice; give it once")
        if override.is_sweep_override():
            raise BadValue(key, text, "give one value")
        _set(kind, node, name, key, override.value(), text)
        changed.add(key)
    if missing := OmegaConf.missing_keys(node):
        raise UserError(f"conf/{name}.yaml: {', '.join(sorted(missing))} is missing; restore the file")
    try:
        return typing.cast(Settings, OmegaConf.to_object(node))
    except BadValue as error:
        raise error.under(name) from error


def _set(kind: type[DataclassInstance], node: Any, name: str, dotted: str, value: object, text: str) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = [f"{name}.{field.name}" for field in dataclasses.fields(kind)]
    if dotted not in known:
        raise BadValue(dotted, text, nearest(dotted, known))
    key = dotted.partition(".")[2]
    try:
        OmegaConf.update(node, key, value)
    except OmegaConfBaseException:
        raise BadValue(dotted, text, remedy(typing.get_type_hints(kind)[key], text)) from None
