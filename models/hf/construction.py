"""What a model computes from its config when it is built: the same after `re_rope` as in the model saved and loaded.

Some architectures copy values out of the rope parameters at construction: DeepSeek its softmax scale, Qwen-VL its
sections. Found without a list of names: the architecture is built twice without weights (on PyTorch's meta device),
from the config before and after, and every attribute that differs is carried over to the model that is loaded.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.hf.finding import is_rotary
from posgen.errors import UserError, told

_OWN = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class Built:
    """What a class makes of a config. `attributes`: (module path, name) -> value, shapes for tensors; `rotary`: path ->
    rope parameters of each rotary module, whose own attributes are left out."""

    attributes: dict[tuple[str, str], Any]
    rotary: dict[str, Any]


def saved_and_loaded(config: Any) -> Any:
    """The config as it comes back from the config.json that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        config.to_json_file(Path(folder) / "config.json")
        again = type(config).from_pretrained(folder)
    again._attn_implementation = "eager"  # not saved; every installation has it
    return again


def build_without_weights(model: Any, config: Any) -> Built:
    """The model's class built from a config. UserError when it cannot be."""
    try:
        with torch.device("meta"), torch.no_grad():
            skeleton = type(model)(config)
    except Exception as error:  # whatever a class raises about a config: the user needs its words
        raise UserError(f"{type(model).__name__} cannot be built with these rope parameters ({told(error)})") from error
    attributes, rotary = {}, {}
    for path, module in skeleton.named_modules():
        if is_rotary(module):
            rotary[path] = copy.deepcopy(getattr(module.config, "rope_parameters", None))
        if not any(path == place or path.startswith(f"{place}.") for place in rotary):
            attributes.update({(path, name): _comparable(value) for name, value in _attributes(module)})
    return Built(attributes, rotary)


def changes(before: Built, after: Built, exchanged: set[str]) -> dict[tuple[str, str], Any]:
    """The attributes that differ, as they are after. `exchanged`: paths of the rotary modules that are replaced.

    UserError where a difference is no plain value that could be carried over, or where a rotary module changes that is
    not replaced (one with a copy of the config: Granite with a base for each layer).
    """
    for path in before.rotary.keys() | after.rotary.keys():
        if path not in exchanged and before.rotary.get(path) != after.rotary.get(path):
            remedy = "write the rope parameters into config.json and load the model anew"
            raise UserError(f"{path} is a rotary module with a config of its own, which would not change; {remedy}")
    old, new = before.attributes, after.attributes
    if old.keys() != new.keys():
        raise UserError(_refusal(*sorted(old.keys() ^ new.keys())[0]))
    differing = {place: value for place, value in new.items() if old[place] != value}
    for (path, name), value in differing.items():
        if not _is_plain(value):
            raise UserError(_refusal(path, name))
    return differing


def carry_over(
    model: nn.Module, values: Mapping[tuple[str, str], Any], config: Any
) -> list[tuple[nn.Module, str, Any]]:
    """Set these attributes of the model; return (module, name, value before) of each."""
    parameters = getattr(config, "rope_parameters", None)
    undo = []
    for (path, name), value in values.items():
        module = model.get_submodule(path)
        undo.append((module, name, getattr(module, name)))
        # A module that shared its dictionary of rope parameters with the config goes on sharing it.
        setattr(module, name, parameters if value == parameters else value)
    return undo


def _attributes(module: nn.Module) -> Iterable[tuple[str, Any]]:
    yield from ((name, value) for name, value in vars(module).items() if name not in _OWN and not name.startswith("__"))
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _comparable(value: Any) -> Any:
    """A value that equals another exactly if both mean the same; plain values as they are."""
    if isinstance(value, Tensor):
        return _Opaque(f"tensor {tuple(value.shape)} {value.dtype}")
    if isinstance(value, (str, bytes, int, float, complex, type(None), torch.dtype, torch.device)):
        return value
    if isinstance(value, Mapping):
        return {key: _comparable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_comparable, value)) if type(value) in (list, tuple) else _Opaque(repr(value))
    if isinstance(value, (set, frozenset)):
        return _Opaque(repr(sorted(map(repr, value))))
    # Everything else (configs, functions, modules) by its type and name only.
    return _Opaque(f"{type(value).__module__}.{type(value).__qualname__} {getattr(value, '__qualname__', '')}")


class _Opaque(str):
    """Stands for something that can be compared but not carried over."""


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return not isinstance(value, _Opaque)


def _refusal(path: str, name: str) -> str:
    return (
        f"{path}.{name} depends on the rope parameters in a way that a loaded model cannot take over; write them into "
        "config.json and load the model anew"
    )
