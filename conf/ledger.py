"""The ledger: where the paper's text and the released code differ, row by row, as conf/ledger.yaml has it.

A preset with an overridden switch is a protocol of its own, called `<preset>+<switch>=<value>`, such as
`paper+splits=released`; conf.compose reads such names. Reading the ledger needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from conf import files
from conf.published import Source
from conf.schema import GROUPS
from posgen.errors import BadValue, UserError, nearest

BASES = ("paper", "released")
"""The presets from which rows are changed one at a time."""
ACTS = ("data", "training", "model", "test")
_KEYS = {"number", "topic", "text", "code", "acts", "encodings", "switches"}
_VALUES = {"default", "text", "code", "other"}

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Switch:
    """A key of conf/protocol: its value in preset paper, in the code, in the text (none where it is silent: an empty
    tuple), and what else is worth measuring."""

    key: str
    default: Value
    code: Value
    text: tuple[Value, ...] = ()
    other: tuple[Value, ...] = ()

    def alternatives(self, base: str) -> tuple[Value, ...]:
        """What is measured against a base: from `paper` every other value of this row, from `released` the text's."""
        if base == "released":
            return tuple(value for value in self.text if value != self.code)
        return tuple(value for value in dict.fromkeys([*self.text, self.code, *self.other]) if value != self.default)


@dataclass(frozen=True)
class Variant:
    """A base with one switch overridden."""

    base: str
    row: Row
    key: str
    value: Value

    @property
    def protocol(self) -> str:
        """`paper+splits=released`."""
        return f"{self.base}+{self.setting}"

    @property
    def setting(self) -> str:
        """`splits=released`."""
        return f"{self.key}={written(self.value)}"


@dataclass(frozen=True)
class Row:
    """One topic. `acts` is one of ACTS; `encodings` are measured for this row beside those of Table 1."""

    number: int
    topic: str
    text: str
    code: str
    acts: str
    switches: tuple[Switch, ...]
    encodings: tuple[str, ...] = ()

    def variants(self, base: str) -> tuple[Variant, ...]:
        """What `posgen sweep --ledger` measures of this row against a base; none where the base leaves no choice."""
        return tuple(Variant(base, self, s.key, value) for s in self.switches for value in s.alternatives(base))


@dataclass(frozen=True)
class Ledger:
    """All rows, and for each preset of conf/protocol the numbers of those that stand at the code's value."""

    rows: tuple[Row, ...]
    presets: Mapping[str, tuple[int, ...]]

    def preset(self, name: str) -> dict[str, Value]:
        """Switch -> its value in a preset."""
        return {
            switch.key: switch.code if row.number in self.presets[name] else switch.default
            for row in self.rows
            for switch in row.switches
        }

    def variants(self, base: str) -> Iterator[Variant]:
        """Every variant of a base, row by row."""
        for row in self.rows:
            yield from row.variants(base)


def written(value: Value) -> str:
    """A value as YAML and the command line write it: true, null, 32, index."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def load_ledger(source: Source) -> Ledger:
    """The ledger of a YAML file.

    Raises UserError when it is not what conf/ledger.yaml should be: an unknown or missing key, a number twice.
    """
    from omegaconf import OmegaConf

    node: Any = OmegaConf.to_container(OmegaConf.create(source.read_text(encoding="utf-8")))
    try:
        rows = tuple(_row(row) for row in node["rows"])
        ledger = Ledger(rows, {name: tuple(numbers) for name, numbers in node["presets"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{source}: a key is missing or not as it should be ({error}); restore the file") from None
    numbers = [row.number for row in rows]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise BadValue("number", twice, f"stands twice in {source}; number every row of the ledger once")
    for name, at_code in ledger.presets.items():
        for number in at_code:
            if number not in numbers:
                raise BadValue(f"presets.{name}", number, f"is no row of {source}")
    return ledger


def _row(node: Mapping[str, Any]) -> Row:
    _known(node, _KEYS)
    if node["acts"] not in ACTS:
        raise BadValue("acts", node["acts"], f"one of {', '.join(ACTS)}")
    return Row(
        number=int(node["number"]),
        topic=str(node["topic"]),
        text=str(node["text"]),
        code=str(node["code"]),
        acts=node["acts"],
        switches=tuple(_switch(key, values) for key, values in node["switches"].items()),
        encodings=tuple(node.get("encodings", ())),
    )


def _switch(key: str, values: Mapping[str, Any]) -> Switch:
    _known(values, _VALUES)
    # A text that says null (the model's own) is not a silent one.
    text = (values["text"],) if "text" in values else ()
    return Switch(key, values["default"], values["code"], text, tuple(values.get("other", ())))


def _known(node: Mapping[str, Any], keys: set[str]) -> None:
    unknown = [key for key in node if key not in keys]
    if unknown:
        raise BadValue(unknown[0], node[unknown[0]], f"is not known in the ledger; use {', '.join(sorted(keys))}")


def ledger() -> Ledger:
    """The ledger of conf/ledger.yaml."""
    return load_ledger(files.FOLDER / "ledger.yaml")


@cache
def switched_fields() -> frozenset[str]:
    """The settings that switches decide, `model.layers` say: those which YAML interpolates from a key of conf/protocol.

    A switch that acts elsewhere, on training or testing alone, has none.
    """
    nodes = [("", files.load(files.FOLDER / "config.yaml"))]
    nodes += [(f"{group}.", files.load(file)) for group in GROUPS for file in files.group(group)]
    return frozenset(key for prefix, node in nodes for key, value in _leaves(node, prefix) if _is_switched(value))


def _is_switched(value: object) -> bool:
    return isinstance(value, str) and "${protocol." in value


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested mappings."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def directions(word: str) -> tuple[str, ...]:
    """`paper`, `released` or `both` as presets; BadValue for another word."""
    if word not in (*BASES, "both"):
        raise BadValue("direction", word, nearest(word, [*BASES, "both"]))
    return BASES if word == "both" else (word,)
