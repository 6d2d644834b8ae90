"""Settings that belong to no training, declared in a YAML file each: what verdicts are reached by, and what
`posgen lengths` and `posgen interventions` measure."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from conf.overrides import composition_error, parse
from conf.schema import remedy
from posgen.errors import BadValue, UserError, nearest, require, shortened
from posgen.plain import restore

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


@dataclass(frozen=True)
class VerdictRules:
    """conf/verdict.yaml: what verdicts are reached by. Margin and effect in percentage points, `effect_nats` that of
    losses."""

    margin_points: float
    effect_points: float
    effect_nats: float
    alpha: float
    confidence: float
    published_seeds: int
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        points = "use points of accuracy, 0 < points <= 100"
        require(0.0 < self.margin_points <= 100.0, "margin_points", self.margin_points, points)
        require(0.0 < self.effect_points <= 100.0, "effect_points", self.effect_points, points)
        require(0.0 < self.effect_nats <= 10.0, "effect_nats", self.effect_nats, "use nats a token, 0 < nats <= 10")
        require(0.0 < self.alpha <= 0.5, "alpha", self.alpha, "use an error rate, 0 < alpha <= 0.5 (usual: 0.05)")
        require(0.0 < self.confidence < 1.0, "confidence", self.confidence, "use 0 < confidence < 1 (usual: 0.95)")
        require(2 <= self.published_seeds <= 1000, "published_seeds", self.published_seeds, "use 2 to 1000")
        require(100 <= self.resamples <= 1_000_000, "resamples", self.resamples, "use 100 to 1000000")
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")


@dataclass(frozen=True)
class LengthRules:
    """conf/lengths.yaml. Lengths and window in tokens (None: the training length), threshold a fraction, `factors` the
    s of scaled encodings, `sequences` how many test sequences are measured."""

    lengths: list[int]
    factors: list[float]
    sequences: int
    window: int | None
    threshold: float

    def __post_init__(self) -> None:
        growing = bool(self.lengths) and self.lengths == sorted(set(self.lengths))
        # Attention costs the square of the length: a million tokens are days on a CPU.
        inside = growing and self.lengths[0] > 0 and self.lengths[-1] <= 1_048_576
        require(inside, "lengths", self.lengths, "use growing numbers of tokens, at most 1048576")
        require(all(s >= 1 for s in self.factors), "factors", self.factors, "use numbers of at least 1 (s = L'/L)")
        require(self.sequences >= 1, "sequences", self.sequences, "use at least 1")
        require(self.window is None or self.window >= 1, "window", self.window, "use at least 1 token, or null for L")
        require(0.0 < self.threshold <= 1.0, "threshold", self.threshold, "use a fraction above 0 and at most 1")


EXCHANGES = ("far", "near")
"""Which token of an answer is exchanged: the first of its far tokens, or, for comparison, the last of its near ones."""


@dataclass(frozen=True)
class InterventionRules:
    """conf/interventions.yaml. `exchange`: one of `EXCHANGES`; `positions`: how many answers of a sequence are looked
    at on either side of the training length, or `at`: which; `sequences`: how many test sequences; `seed` draws the
    other tokens."""

    exchange: str
    positions: int
    at: list[int] | None
    sequences: int
    seed: int

    def __post_init__(self) -> None:
        require(self.exchange in EXCHANGES, "exchange", self.exchange, "use far or near")
        require(1 <= self.positions <= 8_192, "positions", self.positions, "use 1 to 8192 on either side")
        growing = self.at is None or (bool(self.at) and self.at == sorted(set(self.at)) and self.at[0] >= 0)
        require(growing, "at", self.at, "use growing positions of answers, such as [8,63,64,255], or null")
        require(1 <= self.sequences <= 10_000_000, "sequences", self.sequences, "use 1 to 10000000")
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")


def verdict_rules(overrides: Sequence[str] = ()) -> VerdictRules:
    """The declared rules, changed by `overrides` such as `verdict.margin_points=3`.

    Raises BadValue or UserError, one line, for an unknown key or a value of the wrong type or out of range.
    """
    return declared(VerdictRules, "verdict", overrides)


def length_rules(overrides: Sequence[str] = ()) -> LengthRules:
    """conf/lengths.yaml with overrides such as `lengths.threshold=0.9`. Raises as `verdict_rules` does."""
    return declared(LengthRules, "lengths", overrides)


def intervention_rules(overrides: Sequence[str] = ()) -> InterventionRules:
    """conf/interventions.yaml with overrides such as `interventions.sequences=500`. Raises as `verdict_rules` does."""
    return declared(InterventionRules, "interventions", overrides)


def declared(kind: type[Settings], name: str, overrides: Sequence[str] = (), file: str | None = None) -> Settings:
    """conf/<name>.yaml, or another `file` of conf/ without its suffix, as the dataclass `kind`, with `overrides` such
    as `<name>.key=value` in Hydra's grammar.

    Raises BadValue or UserError, one line, for an unknown key or a value of the wrong type or out of range.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    node = OmegaConf.structured(kind)
    OmegaConf.set_readonly(node, False)
    file = file or name
    written = OmegaConf.create(files("conf").joinpath(f"{file}.yaml").read_text(encoding="utf-8"))
    for key, value in typing.cast(DictConfig, written).items():
        _set(kind, node, name, f"{name}.{key!s}", value, str(value))
    changed = set()
    for argument in overrides:
        override, text = parse(argument), argument.partition("=")[2].strip()
        key = override.key_or_group
        if key in changed:
            raise UserError(f"{shortened(argument)}: {key} is given twice; give it once")
        if override.is_sweep_override():
            raise BadValue(key, text, "give one value")
        _set(kind, node, name, key, override.value(), text)
        changed.add(key)
    try:
        if missing := OmegaConf.missing_keys(node):
            raise UserError(f"conf/{file}.yaml: {', '.join(sorted(missing))} is missing; restore the file")
        return typing.cast(Settings, OmegaConf.to_object(node))
    except BadValue as error:
        raise error.under(name) from error
    except OmegaConfBaseException as error:
        raise UserError(f"{name}: {composition_error(error)}") from error


def _set(kind: type[DataclassInstance], node: Any, name: str, dotted: str, value: object, text: str) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = [f"{name}.{field.name}" for field in dataclasses.fields(kind)]
    if dotted not in known:
        raise BadValue(dotted, text, nearest(dotted, known))
    key = dotted.partition(".")[2]
    hint = typing.get_type_hints(kind)[key]
    try:
        OmegaConf.update(node, key, value)
        if isinstance(value, list):  # whose items OmegaConf does not check
            restore(hint, value, key)
    except (OmegaConfBaseException, TypeError):
        raise BadValue(dotted, text, remedy(hint, text)) from None
