"""What `posgen export-rope` writes: one of the encodings by name, or the model's own with Resonance on top."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from cli.shared.encodings import EncodingOptions
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


def for_model(model: ModelConfig, pe: str | None, options: EncodingOptions) -> Target:
    """What to write for a model. BadValue for an option that its configuration contradicts."""
    current = model.encoding(resonance=False)
    scaled = model.present.scaled
    trained = model.trained or options.train_length or model.length
    options = replace(
        options,
        head_dim=_agreed("head_dim", options.head_dim, current.head_dim),
        base=_agreed("base", options.base, current.base),
        test_length=options.test_length or max(model.length, trained),
    )
    if scaled:
        options = replace(options, train_length=_agreed("train_length", options.train_length, trained))
    resonance = True
    if pe is not None:
        sized = replace(options, train_length=options.train_length or trained)
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
    _check_settings(model, options.settings)
    if model.reach is not None and (options.test_length or 0) > model.reach:
        remedy = f"the configuration's {model.own_type} reaches {model.reach}; change its factor there"
        raise BadValue("--test-length", options.test_length, remedy)
    encoding = model.encoding(resonance)
    shown = [
        f"{k} {v}" for k, v in model.present.parameters.items() if isinstance(v, (int, float, str)) and k != "type"
    ]
    return Target(
        encoding, trained, options.test_length or model.length, f"{encoding.name} ({', '.join(shown)})",
        model.present.parameters.get("factor"), {"rope_type": encoding.name},
    )  # fmt: skip


def _check_settings(model: ModelConfig, settings: Sequence[str]) -> None:
    """BadValue for a parameter that contradicts the configuration's scaling."""
    for text in settings:
        name, _, value = text.partition("=")
        key = name.rpartition(".")[2]
        configured = model.present.parameters.get(KEYS.get(key, key))
        if not _equal(configured, value):
            says = "does not name it" if configured is None else f"says {configured}"
            raise BadValue(name, value, f"the configuration's {model.own_type} {says}; change it there")


def _equal(configured: Any, typed: str) -> bool:
    try:
        return bool(configured == json.loads(typed)) and not isinstance(configured, str)
    except ValueError:
        return str(configured) == typed


def _agreed(key: str, typed: Any, configured: Any) -> Any:
    """The configuration's value; BadValue if the option contradicts it."""
    if typed is not None and typed != configured:
        option = f"--{key.replace('_', '-')}"
        raise BadValue(option, typed, f"the configuration says {configured:g}; leave {option} out")
    return configured


def named(pe: str, options: EncodingOptions) -> tuple[Target, EncodingSpec]:
    """An encoding by name for the lengths of the options, and its specification."""
    from models.hf.longrope import BETA_FAST

    fitted = _fitted(pe, options)
    scaling = getattr(fitted.encoding, "scaling", None)
    if hasattr(scaling, "beta_fast") and not any("beta_fast" in text for text in options.settings):
        fitted = _fitted(pe, replace(options, settings=(*options.settings, f"pe.params.beta_fast={BETA_FAST:g}")))
    encoding: Any = fitted.encoding
    target = Target(encoding, fitted.train_length, fitted.test_length, _described(encoding), None, fitted.spec)
    return target, fitted.spec


def _fitted(pe: str, options: EncodingOptions) -> Fitted:
    from cli.shared.encodings import fit
    from models.encodings import Rotary
    from models.encodings.build import check_rotation

    (fitted,) = fit([pe], options)
    if not isinstance(fitted.encoding, Rotary):
        raise BadValue("pe", pe, "does not rotate: it has no frequencies to export; name a rotary encoding")
    check_rotation(fitted.encoding, "a rope type of transformers")
    return fitted


def _described(encoding: Rotary) -> str:
    """The encoding with every parameter of its scaling, defaults included."""
    scaling = encoding.scaling
    values = [(f.name, getattr(scaling, f.name)) for f in fields(scaling)]
    shown = [f"{name} {getattr(value, 'value', value)}" for name, value in values if not isinstance(value, tuple)]
    return f"{encoding.name} ({', '.join([f'base {encoding.base:g}', *shown])})"
