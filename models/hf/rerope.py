"""Put another rotary encoding into a loaded model, and make sure that it is the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.hf.module import ResonanceRotary
from models.hf.ropes import (
    POSGEN,
    Parameters,
    layer_types,
    read,
    resonance_type,
    rotary_of,
    spelled_out,
    stock_type,
    validate,
    write,
)
from models.spec import EncodingSpec
from posgen.errors import BadValue, UserError, nearest

TOLERANCE = 1e-6
"""Largest relative deviation of a cosine's or sine's value at position 1 from what was asked."""


def re_rope(
    model: Any, rope: EncodingSpec | Mapping[str, Any] | None = None, *, layer_type: str | None = None
) -> list[ResonanceRotary]:
    """Change the rotary encoding of a model in place, its config too; return the modules now in use.

    `rope` is an encoding of PosGen's, its base included, or rope parameters as transformers spells them, such as
    {"rope_type": "resonance_yarn", "factor": 8.0}. What those do not name stays: base and rotary fraction, and the
    scaling's parameters if the scaling stays. None: Resonance on top of what the model has. `layer_type` names one
    where layers differ (Gemma 3: `full_attention`, `sliding_attention`); None: all of them.

    `model.save_pretrained` and `from_pretrained` keep the encoding where `import models.hf` ran. Raises BadValue or
    UserError, and leaves the model as it was, when the model has no rotary module or the encoding cannot be built.
    """
    places = _rotary_modules(model)
    config = places[0][2].config
    known = layer_types(config)
    if layer_type is not None and layer_type not in known:
        listing = nearest(layer_type, [name for name in known if name]) if known != [None] else "its layers are alike"
        raise BadValue("layer_type", layer_type, listing)
    chosen = known if layer_type is None else [layer_type]
    if isinstance(rope, EncodingSpec) and len(chosen) > 1:
        names = ", ".join(f"{name} {read(config, name)['rope_theta']:g}" for name in chosen)
        raise BadValue("layer_type", None, f"an encoding has one base and this model several ({names}); name one")

    before = {name: read(config, name) for name in chosen}
    try:
        for name in chosen:
            write(config, name, _parameters(before[name], rope))
        _validate(config)
        installed = [ResonanceRotary.in_place_of(module) for _, _, module in places]
        for module, (_, _, old) in zip(installed, places, strict=True):
            _check_size(module, old)
    except Exception:
        for name, parameters in before.items():
            write(config, name, parameters)
        raise
    for (parent, name, _), module in zip(places, installed, strict=True):
        setattr(parent, name, module)
    check_rope(model)
    return installed


def check_rope(model: Any) -> None:
    """Compare the cos and sin of the model's rotary modules with what its config asks for, at short and long lengths.

    UserError for the first entry that deviates: a module was exchanged, or the config changed behind its back.
    """
    for _, name, module in _rotary_modules(model):
        for layer_type in layer_types(module.config):
            _check_one(name, module, layer_type)


def _validate(config: Any) -> None:
    try:
        validate(config)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"transformers refuses these rope parameters: {error.args[0]}") from error


def _check_one(name: str, module: Any, layer_type: str | None) -> None:
    if not isinstance(module, ResonanceRotary):
        raise UserError(f"{name} is transformers' own {type(module).__name__}; put an encoding in with re_rope")
    asked = rotary_of(module.config, layer_type)
    if asked.head_dim != module.encodings[layer_type].head_dim:
        raise UserError(
            f"{name} rotates {module.encodings[layer_type].head_dim} scalars of a head, not {asked.head_dim}"
        )
    trained = int(module.config.max_position_embeddings)
    for length in (2, trained, 4 * trained):
        inv_freq, factor = asked.frequencies(length)
        position_ids = torch.tensor([[0, 1, length - 1]])
        angles = module.layout.positions(position_ids)[..., None].double() * inv_freq.double()
        wanted = _at_one(module.layout(angles.cos() * factor, angles.sin() * factor, torch.float64))
        found = _at_one(module(torch.zeros(1, dtype=torch.float32), position_ids, layer_type))
        wrong = (found - wanted).abs() > TOLERANCE * wanted.abs() + 1e-12
        if bool(wrong.any()):
            j = int(wrong.nonzero()[0])
            place = name if layer_type is None else f"{name} ({layer_type})"
            raise UserError(
                f"{place} does not turn as {asked.name} does: in {length} tokens entry {j} of cos and sin at "
                f"position 1 is {float(found[j]):.9g}, not {float(wanted[j]):.9g}; put the encoding in with re_rope"
            )


def _at_one(handed_out: Any) -> torch.Tensor:
    """cos and sin of position 1 in one row, float64; of a complex table the real and imaginary parts."""
    parts = (handed_out.real, handed_out.imag) if isinstance(handed_out, torch.Tensor) else handed_out
    return torch.cat([part[..., 1, :].double().flatten() for part in parts])


def _parameters(now: Parameters, rope: EncodingSpec | Mapping[str, Any] | None) -> Parameters:
    """The model's rope parameters `now`, after `rope`."""
    kept = {key: value for key, value in now.items() if key in ("rope_theta", "partial_rotary_factor")}
    if isinstance(rope, EncodingSpec):
        return {**kept, **spelled_out(rope)}
    if rope is None:
        if now["rope_type"] == POSGEN:
            return {**now, "encoding": {**now["encoding"], "resonance": True}}
        return {**now, "rope_type": resonance_type(stock_type(now["rope_type"]))}
    if "rope_type" not in rope:
        raise BadValue("rope", dict(rope), "name a rope_type, such as resonance_yarn")
    same = POSGEN not in (now["rope_type"], rope["rope_type"])
    same = same and stock_type(now["rope_type"]) == stock_type(rope["rope_type"])
    return {**(now if same else kept), **rope}


def _rotary_modules(model: Any) -> list[tuple[nn.Module, str, Any]]:
    """(parent, name, module) of the language model's rotary modules; those of a vision tower stay as they are."""
    config = model.config.get_text_config(decoder=True)
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if getattr(child, "config", None) is config
        and (isinstance(child, ResonanceRotary) or (hasattr(child, "rope_type") and hasattr(child, "forward")))
    ]
    if not found:
        raise UserError(
            f"{type(model).__name__} has no rotary module that follows rope parameters; "
            "load a model that does (Llama, Mistral, Qwen, Phi, GPT-NeoX, OLMo, Gemma, ...)"
        )
    return found


def _check_size(module: ResonanceRotary, old: Any) -> None:
    """As many features as before: an encoding for other dimensions would rotate other scalars of a head."""
    for layer_type, encoding in module.encodings.items():
        prefix = "" if layer_type is None else f"{layer_type}_"
        features = (
            old.encodings[layer_type].head_dim // 2
            if isinstance(old, ResonanceRotary)
            else getattr(old, f"{prefix}inv_freq").shape[-1]
        )
        found = len(encoding.frequencies(1)[0])
        if found != features:
            raise UserError(f"the encoding {encoding.name} has {found} features where the model rotates {features}")
