"""Values that a setting takes from the environment, `${oc.env:NAME}`: used as they are, stored as they were written.

Such a value may be a secret. Configurations are written beside every result, so that what is stored names the variable
and not what it held.
"""

from __future__ import annotations

import os
from typing import Any

_TAKEN: dict[str, str] = {}
# Where free text stands; a task or an encoding of the same letters is no secret.
_FREE_TEXT = ("profile", "tracker", "paths")
_MISSING = object()


def variable(name: str, default: Any = _MISSING) -> Any:
    """OmegaConf's resolver `oc.env`, which remembers what it gave out. KeyError without a value and a default."""
    if name in os.environ:
        _TAKEN[name] = os.environ[name]
        return os.environ[name]
    if default is _MISSING:
        raise KeyError(f"Environment variable '{name}' not found")
    return default


def as_written(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as plain containers, with the name of the variable in the place of every value taken from it."""
    written = {key: _written(value) if key in _FREE_TEXT else value for key, value in config.items()}
    if corpus := (config.get("task") or {}).get("corpus"):  # a path too
        written["task"] = {**config["task"], "corpus": _written(corpus)}
    return written


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item) for item in value]
    if isinstance(value, str):
        for name, taken in _TAKEN.items():
            if taken:
                value = value.replace(taken, f"${{oc.env:{name}}}")
    return value
