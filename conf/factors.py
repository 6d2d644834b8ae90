"""Factors of a declared experiment, their levels, and the cells that crossing them makes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conf import files
from conf.schema import dotted_keys
from models.spec import EncodingSpec
from posgen.errors import nearest, require

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_LETTERS = "use 1 to 40 letters, digits and _ . - (names of cells are made of it, with a + between)"
_OF_AN_ENCODING = [f.name for f in dataclasses.fields(EncodingSpec) if f.name not in ("name", "params", "code")]
OF_A_RUN = ("model.", "optim.", "data.", "task.", "protocol.")


@dataclass(frozen=True)
class Level:
    """A level of a factor: the settings that it makes otherwise than the encoding that all cells start from.

    Settings of an encoding are written as in conf/pe (`scaling`, `resonance`, `base`, `params`, ...), `pe` names
    another file of conf/pe to start from; those of a run in full (`model.layers`, `protocol.bos`).
    """

    name: str
    title: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(bool(_NAME.fullmatch(self.name)), "levels.name", self.name, _LETTERS)
        known = {*_OF_AN_ENCODING, "params", "pe", *(key for key, _ in dotted_keys() if key.startswith(OF_A_RUN))}
        for key, value in self.settings.items():
            require(key in known, f"levels.{self.name}.{key}", value, f"is no setting; {nearest_setting(key, known)}")
        params = self.settings.get("params", {})
        require(isinstance(params, Mapping), f"levels.{self.name}.params", params, "use values by name, {p: 0.25}")

    @property
    def shown(self) -> str:
        """What readers call it."""
        return self.title or self.name

    @property
    def of_encoding(self) -> dict[str, Any]:
        """The settings of the encoding by their full names, `pe.scaling`, `pe.params.p`, without `pe` itself."""
        plain = {f"pe.{key}": self.settings[key] for key in _OF_AN_ENCODING if key in self.settings}
        return plain | {f"pe.params.{key}": value for key, value in self.settings.get("params", {}).items()}

    @property
    def of_run(self) -> dict[str, Any]:
        """The settings of the run by their full names."""
        return {key: value for key, value in self.settings.items() if key.startswith(OF_A_RUN)}


def setting(key: str, value: Any) -> str:
    """`model.heads=2`: a setting of YAML in Hydra's grammar."""
    return f"{key}={written(value)}"


def written(value: Any) -> str:
    """A value of YAML as Hydra's grammar writes it."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return value if value.replace("_", "").isalnum() else f"'{escaped}'"
    return json.dumps(value)


def nearest_setting(key: str, known: set[str]) -> str:
    """The nearest settings, of the same group where there is one."""
    same = [k for k in known if k.startswith(key.partition(".")[0] + ".")]
    return nearest(key, same or [k for k in known if "." not in k])


@dataclass(frozen=True)
class Factor:
    """What is varied. The first level is the baseline, which names of cells leave out."""

    name: str
    levels: tuple[Level, ...]
    title: str = ""

    def __post_init__(self) -> None:
        require(bool(_NAME.fullmatch(self.name)), "factors.name", self.name, _LETTERS)
        names = [level.name for level in self.levels]
        several = len(names) >= 2 and len(set(names)) == len(names)
        require(several, f"factors.{self.name}.levels", ", ".join(names), "give two or more levels of different names")

    @property
    def shown(self) -> str:
        """What readers call it."""
        return self.title or self.name

    @property
    def baseline(self) -> Level:
        """The level that effects are measured from."""
        return self.levels[0]


@dataclass(frozen=True)
class DesignCell:
    """A combination of levels, one of every factor: what is trained and measured under a name of its own."""

    name: str
    title: str
    levels: Mapping[str, str]
    """Factor -> level."""
    pe: str
    """The file of conf/pe that it starts from."""
    settings: Mapping[str, Any]
    """By full name: `pe.scaling`, `pe.params.p`, `model.layers`."""


def crossed(factors: Sequence[Factor], encoding: str) -> tuple[DesignCell, ...]:
    """Every combination of levels, the last factor fastest; the first cell has all baselines, which is the `encoding`
    of conf/pe as it stands."""
    combined: list[tuple[Level, ...]] = [()]
    for factor in factors:
        combined = [(*levels, level) for levels in combined for level in factor.levels]
    return tuple(_cell(factors, levels, encoding) for levels in combined)


def _cell(factors: Sequence[Factor], levels: tuple[Level, ...], encoding: str) -> DesignCell:
    marked = [level for factor, level in zip(factors, levels, strict=True) if level != factor.baseline]
    pe, settings = encoding, dict[str, Any]()
    for level in levels:
        pe = str(level.settings.get("pe", pe))
        settings |= level.of_encoding | level.of_run
    return DesignCell(
        name="+".join(level.name for level in marked) or encoding,
        title=" + ".join(level.shown for level in marked) or _title(encoding),
        levels={factor.name: level.name for factor, level in zip(factors, levels, strict=True)},
        pe=pe,
        settings=settings,
    )


def _title(pe: str) -> str:
    return str(files.load(files.FOLDER / "pe" / f"{pe}.yaml").get("title") or pe)
