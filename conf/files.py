"""The YAML files of conf/ as they stand, for what is asked of them without composing a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from posgen.errors import UserError

FOLDER = Path(__file__).parent
# The fast loader, where libyaml is there; both are safe.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def group(name: str) -> list[Path]:
    """The files of a group, such as conf/pe, by name."""
    return sorted((FOLDER / name).glob("*.yaml"))


def load(file: Path) -> dict[str, Any]:
    """A file's mapping, interpolations as they are written. Raises UserError, one line, when it is none."""
    try:
        node = yaml.load(file.read_bytes(), _LOADER)
    except yaml.YAMLError as error:
        raise UserError(f"{file}: is no YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(node, dict):
        raise UserError(f"{file}: should be a mapping; write KEY: VALUE lines")
    return node
