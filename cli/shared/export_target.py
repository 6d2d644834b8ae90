"""What `posgen export-rope` writes: an encoding of this suite's, or what a model has with Resonance on top."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from cli.shared.encodings import Asked
from posgen.errors import BadValue

if TYPE_CHECKING:
    from cli.shared.encodings import Fitted
    from models.encodings import Rotary
    from models.hf.export import ModelConfig
    from models.spec import EncodingSpec

KEYS = {"ramp_length": "original_max_position_embeddings", "train_length": "original_max_position_embeddings"}
"""transformers' names of parameters that have another here."""


@dataclass(frozen=True)
class Target:
    """What is written: the encoding under its lengths (tokens). `factor`: the scaling's own, None for L'/L. `rope`: the
    same for re_rope."""

    encoding: Rotary
    train_length: int
    test_length: int
    described: str
    factor: float | None
    rope: EncodingSpec | dict[str, Any]


def for_model(model: ModelConfig, pe: str | None, asked: Asked) -> Target:
    """What to write for a model. BadValue for an option that its configuration contradicts."""
    own = model.encoding(resonance=False)
    scaled = model.present.scaled
    trained = model.trained or asked.train_length or model.length
    asked = replace(
        asked,
        head_dim=_agreed("head_dim", asked.head_dim, own.head_dim),
        base=_agreed("base", asked.base, own.base),
        test_length=asked.test_length or max(model.length, trained),
    )
    if scaled:
        asked = replace(asked, train_length=_agreed("train_length", asked.train_length, trained))
    resonance = True
    if pe is not None:
        sized = replace(asked, train_length=asked.train_length or trained)
        target, spec = named(pe, replace(sized, settings=()) if scaled else sized)
        resonance = spec.resonance
        if scaled and spec.scaling not in ("none", model.own_scaling):
            target, _ = named(pe, sized)
            return replace(target, described=f"{target.described} in place of the model's {model.own_type}")
        if not scaled:
            return target
        if spec.scaling == "none":
            factor = model.present.parameters.get("factor")
            has = model.own_type + (f" (factor {factor:g})" if isinstance(factor, (int, float)) else "")
            remedy = f"would drop the configuration's {has}; leave --pe out for Resonance on top of what the model has"
            raise BadValue("pe", pe, remedy)
    _check_settings(model, asked.settings)
    if model.reach is not None and (asked.test_length or 0) > model.reach:
        remedy = f"the configuration's {model.own_type} reaches {model.reach}; change its factor there"
        raise BadValue("--test-length", asked.test_length, remedy)
    encoding = model.encoding(resonance)
    shown = [
        f"{k} {v}" for k, v in model.present.parameters.items() if isinstance(v, (int, float, str)) and k != "type"
    ]
    return Target(
        encoding, trained, asked.test_length or model.length, f"{encoding.name} ({', '.join(shown)})",
        model.present.parameters.get("factor"), {"rope_type": encoding.name},
    )  # fmt: skip


def _check_settings(model: ModelConfig, settings: Sequence[str]) -> None:
    """BadValue for a parameter that the configuration's own scaling has otherwise."""
    for text in settings:
        name, _, value = text.partition("=")
        key = name.rpartition(".")[2]
        own = model.present.parameters.get(KEYS.get(key, key))
        if not _equal(own, value):
            says = "does not name it" if own is None else f"says {own}"
            raise BadValue(name, value, f"the configuration's {model.own_type} {says}; change it there")


def _equal(found: Any, typed: str) -> bool:
    try:
        return bool(found == json.loads(typed)) and not isinstance(found, str)
    except ValueError:
        return str(found) == typed


def _agreed(key: str, given: Any, found: Any) -> Any:
    """What the configuration says; a different option is a mistake, not a wish."""
    if given is not None and given != found:
        option = f"--{key.replace('_', '-')}"
        raise BadValue(option, given, f"the configuration says {found:g}; leave {option} out")
    return found


def named(pe: str, asked: Asked) -> tuple[Target, EncodingSpec]:
    """An encoding of this suite's for the lengths asked, and its specification."""
    from models.hf.longrope import BETA_FAST

    fitted = _fitted(pe, asked)
    scaling = getattr(fitted.encoding, "scaling", None)
    if hasattr(scaling, "beta_fast") and not any("beta_fast" in text for text in asked.settings):
        fitted = _fitted(pe, replace(asked, settings=(*asked.settings, f"pe.params.beta_fast={BETA_FAST:g}")))
    encoding: Any = fitted.encoding
    target = Target(encoding, fitted.train_length, fitted.test_length, _described(encoding), None, fitted.spec)
    return target, fitted.spec


def _fitted(pe: str, asked: Asked) -> Fitted:
    from cli.shared.encodings import fit
    from models.encodings import Rotary

    (fitted,) = fit([pe], asked)
    if not isinstance(fitted.encoding, Rotary):
        raise BadValue("pe", pe, "does not rotate: it has no frequencies to export; name a rotary encoding")
    return fitted


def _described(encoding: Rotary) -> str:
    """The encoding with every parameter of its scaling: what was not asked for is said, too."""
    scaling = encoding.scaling
    values = [(f.name, getattr(scaling, f.name)) for f in fields(scaling)]
    shown = [f"{name} {getattr(value, 'value', value)}" for name, value in values if not isinstance(value, tuple)]
    return f"{encoding.name} ({', '.join([f'base {encoding.base:g}', *shown])})"
