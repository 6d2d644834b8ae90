"""Put another rotary encoding into a loaded model, and make sure that it is the one in use."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from models.hf.check import check_rope
from models.hf.construction import build_without_weights, carry_over, changes, saved_and_loaded
from models.hf.finding import model_of, rotary_modules
from models.hf.layout import prefix_of
from models.hf.module import ResonanceRotary
from models.hf.parameters import Present
from models.hf.ropes import RESONANT, fill_head_dim, layer_types, read, rotary_of, stock_type, validate, write
from models.spec import DEFAULT_BASE, EncodingSpec
from posgen.errors import BadValue, UserError, nearest, told


def re_rope(
    model: Any,
    rope: EncodingSpec | Mapping[str, Any] | None = None,
    *,
    layer_type: str | None = None,
    test_length: int | None = None,
) -> list[ResonanceRotary]:
    """Change the rotary encoding of a model in place, its config too; return the modules now in use.

    `rope` is an encoding of PosGen's, or rope parameters as transformers spells them, such as
    {"rope_type": "resonance_yarn", "factor": 8.0}. What those do not name comes from the model: base, lengths, betas,
    rotary fraction, and whatever the architecture reads outside its rotary module. None: Resonance on top of what the
    model has. `layer_type` names one where layers differ (Gemma 3: `full_attention`, `sliding_attention`); None: all.
    `test_length` (tokens) is written as max_position_embeddings, and gives the factor where none is named.

    Afterwards the model equals itself saved and loaded (with `import models.hf`), values that it computed from the
    rope parameters when it was built included. Raises BadValue or UserError, and leaves the model as it was, where
    that cannot be promised, the model has no rotary module that it uses, or the encoding cannot be built.
    """
    owner = model_of(model)
    places = rotary_modules(owner)
    config = places[0][2].config
    known = layer_types(config)
    if layer_type is not None and layer_type not in known:
        listing = nearest(layer_type, [name for name in known if name]) if known != [None] else "its layers are alike"
        raise BadValue("layer_type", layer_type, listing)
    chosen = known if layer_type is None else [layer_type]
    given = isinstance(rope, EncodingSpec) and rope.base is not DEFAULT_BASE
    if given and len({read(config, name)["rope_theta"] for name in chosen}) > 1:
        names = ", ".join(f"{name} {read(config, name)['rope_theta']:g}" for name in chosen)
        raise BadValue("layer_type", None, f"an encoding has one base and this model several ({names}); name one")

    before = build_without_weights(owner, saved_and_loaded(owner.config))
    parameters = {name: Present.of(config, name).combined(rope, test_length) for name in chosen}
    with _undone_on_error(owner, config, places) as undo:
        for name, values in parameters.items():
            write(config, name, values)
        if test_length is not None:
            _stretch(config, test_length)
        _validate(config)
        installed = [ResonanceRotary.in_place_of(module) for _, _, module in places]
        for module, (_, _, old) in zip(installed, places, strict=True):
            _check_size(module, old)
        undo += carry_over(owner, _computed(owner, config, before, places), config)
        for (parent, name, _), module in zip(places, installed, strict=True):
            setattr(parent, name, module)
        check_rope(owner)
    return installed


def _computed(
    owner: Any, config: Any, before: Any, places: list[tuple[nn.Module, str, Any]]
) -> dict[tuple[str, str], Any]:
    """Attributes that the model would have, were it built from the new config. UserError where the saved config would
    not keep the rope parameters, or where the architecture takes a rope type of ours for another than it is."""
    again = saved_and_loaded(owner.config)
    text = again.get_text_config(decoder=True)
    for name in layer_types(config):
        if (name not in layer_types(text)) or read(text, name) != read(config, name):
            raise UserError(f"{type(config).__name__} would not keep these rope parameters when it is saved and loaded")
    paths = {id(module): path for path, module in owner.named_modules()}
    exchanged = {paths[id(module)] for _, _, module in places}
    after = build_without_weights(owner, again)
    computed = changes(before, after, exchanged)
    ours = [name for name in layer_types(text) if read(text, name)["rope_type"] in RESONANT]
    for name in ours:
        write(text, name, {**read(text, name), "rope_type": stock_type(read(text, name)["rope_type"])})
    fill_head_dim(text)  # the class itself is built with the stock type now
    # The architecture may branch on the type's name: under the stock type's name it must arrive at the same values.
    stock = changes(before, build_without_weights(owner, again), exchanged) if ours else computed
    for path, name in computed.keys() | stock.keys():
        value = computed.get((path, name), before.attributes[path, name])
        if not isinstance(value, (dict, list, tuple)) and value != stock.get((path, name), value):
            raise UserError(
                f"{path}.{name} follows the name of the rope type, and {type(owner).__name__} does not know this one; "
                "use posgen export-rope, which writes one that it knows"
            )
    return computed


def _stretch(config: Any, test_length: int) -> None:
    """Write L' as max_position_embeddings. BadValue where the scaling takes that for the length trained on."""
    tables = {name: rotary_of(config, name).frequencies(test_length) for name in layer_types(config)}
    config.max_position_embeddings = test_length
    for name, (inv_freq, factor) in tables.items():
        again = rotary_of(config, name).frequencies(test_length)
        if not torch.equal(again[0], inv_freq) or again[1] != factor:
            remedy = f"{read(config, name)['rope_type']} reads max_position_embeddings as the length trained on"
            raise BadValue("test_length", test_length, f"{remedy}; leave test_length out")


@contextlib.contextmanager
def _undone_on_error(
    owner: Any, config: Any, places: list[tuple[nn.Module, str, Any]]
) -> Iterator[list[tuple[nn.Module, str, Any]]]:
    """Restores the config, the rotary modules and what is put on the list when the body raises. Errors of transformers
    and PyTorch become UserError."""
    undo: list[tuple[nn.Module, str, Any]] = []
    # All attributes: a class's own validation may write others than the rope parameters (PhiMoE).
    before = {key: copy.deepcopy(value) if key.startswith("rope_") else value for key, value in vars(config).items()}
    try:
        yield undo
    except BaseException as error:
        vars(config).clear()
        vars(config).update(before)
        for module, name, value in [*undo, *places]:
            setattr(module, name, value)
        if isinstance(error, Exception) and not isinstance(error, UserError):
            raise UserError(f"{type(owner).__name__} does not take these rope parameters ({told(error)})") from error
        raise


def _validate(config: Any) -> None:
    try:
        validate(config)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"transformers refuses these rope parameters: {error.args[0]}") from error


def _check_size(module: ResonanceRotary, old: Any) -> None:
    """As many features as before: an encoding of another size would rotate other dimensions of a head."""
    for layer_type, encoding in module.encodings.items():
        features = (
            old.encodings[layer_type].head_dim // 2
            if isinstance(old, ResonanceRotary)
            else getattr(old, f"{prefix_of(layer_type)}inv_freq").shape[-1]
        )
        offered = len(encoding.frequencies(1)[0])
        if offered != features:
            remedy = "name a partial_rotary_factor that fits" + (", or another layer_type" if layer_type else "")
            raise UserError(
                f"the encoding {encoding.name} has {offered} features where the model rotates {features}; {remedy}"
            )
