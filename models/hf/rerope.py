"""Put another rotary encoding into a loaded model, and make sure that it is the one in use."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from models.hf.construction import build_without_weights, carry_over, changes, is_rotary, saved_and_loaded
from models.hf.layout import prefix_of
from models.hf.module import ResonanceRotary
from models.hf.parameters import Present
from models.hf.ropes import RESONANT, fill_head_dim, layer_types, longest, read, rotary_of, stock_type, validate, write
from models.spec import DEFAULT_BASE, EncodingSpec
from posgen.errors import BadValue, UserError, nearest, told

TOLERANCE = 1e-6
"""Largest relative deviation of a cosine's or sine's value at position 1 from what was asked."""


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
        for name, own in parameters.items():
            write(config, name, own)
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


def check_rope(model: Any) -> None:
    """Make sure that a model turns queries and keys as its config asks for, and that its attention uses it.

    Compares the cos and sin of its rotary modules with the encoding's at short and long lengths, and runs four tokens
    twice, with exaggerated cos and sin: attention that rotates gives other numbers then. UserError for the first thing
    that is off: a module was exchanged, the config changed behind its back, the model does not rotate (ALiBi).
    """
    owner = model_of(model)
    places = rotary_modules(owner)
    for _, name, module in places:
        for layer_type in layer_types(module.config):
            _check_one(name, module, layer_type)
    _check_used(owner, [module for _, _, module in places])


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
    # The architecture may ask for the type's name: with the stock type's it must come to the same values.
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
    # Whole: a class's own validation may write beside the rope parameters (PhiMoE).
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


def model_of(model: Any) -> Any:
    """The transformers model within what the user holds: PEFT, torch.compile and wrappers for many GPUs put modules
    around it."""
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            return module
    raise UserError(f"{type(model).__name__} is no model of transformers")


def _check_used(owner: Any, rotary: list[nn.Module]) -> None:
    """UserError when the model's numbers do not depend on its rotary modules, or it cannot be run to find out."""
    device = next((p.device for p in owner.parameters() if p.device.type != "meta"), torch.device("cpu"))
    ids = torch.arange(1, 5, device=device)[None]
    training = {module: module.training for module in owner.modules()}
    handles: list[Any] = []
    try:
        with torch.no_grad():
            usual = _first_tensor(owner.eval()(input_ids=ids, use_cache=False))
            handles += [module.register_forward_hook(_exaggerated) for module in rotary]
            other = _first_tensor(owner(input_ids=ids, use_cache=False))
    except Exception as error:
        raise UserError(f"{type(owner).__name__} cannot be run on four tokens to check it ({told(error)})") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    if usual.device.type == "meta":
        raise UserError(f"{type(owner).__name__} has no weights yet; load them first")
    if torch.equal(usual, other):
        raise UserError(
            f"{type(owner).__name__} has a rotary module that its attention does not use (ALiBi, or no rotary layers): "
            "no encoding put there changes anything"
        )


def _exaggerated(module: nn.Module, arguments: Any, handed_out: Any) -> Any:
    """A forward hook: cos and sin a thousand times as large, so that scores of attention saturate in any precision."""
    return handed_out * 1000 if isinstance(handed_out, torch.Tensor) else tuple(part * 1000 for part in handed_out)


def _first_tensor(output: Any) -> torch.Tensor:
    """Logits, or the last hidden state of a model without a head."""
    found: torch.Tensor = output[0] if not hasattr(output, "logits") else output.logits
    return found


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
    trained = longest(module.config)
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


def rotary_modules(model: Any) -> list[tuple[nn.Module, str, Any]]:
    """(parent, name, module) of the language model's rotary modules; those of a vision tower stay as they are."""
    config = model.config.get_text_config(decoder=True)
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if getattr(child, "config", None) is config and is_rotary(child)
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
        features = (
            old.encodings[layer_type].head_dim // 2
            if isinstance(old, ResonanceRotary)
            else getattr(old, f"{prefix_of(layer_type)}inv_freq").shape[-1]
        )
        found = len(encoding.frequencies(1)[0])
        if found != features:
            remedy = "name a partial_rotary_factor that fits" + (", or another layer_type" if layer_type else "")
            raise UserError(
                f"the encoding {encoding.name} has {found} features where the model rotates {features}; {remedy}"
            )
