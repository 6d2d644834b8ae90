"""Make sure that a model rotates as its config says, and that its attention uses the rotation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.hf.finding import model_of, rotary_modules
from models.hf.module import ResonanceRotary
from models.hf.ropes import layer_types, longest, rotary_of
from posgen.errors import UserError, told

TOLERANCE = 1e-6
"""Largest relative deviation of a cosine's or sine's value at position 1 from what was asked."""


def check_rope(model: Any) -> None:
    """Make sure that a model rotates queries and keys as its config says, and that its attention uses the rotation.

    Compares the cos and sin of its rotary modules with the encoding's at short and long lengths, and runs four tokens
    twice, the second time with exaggerated cos and sin, which changes the output of attention that rotates. UserError
    for the first difference: a module was exchanged, the config was changed without it, the model does not rotate
    (ALiBi).
    """
    owner = model_of(model)
    places = rotary_modules(owner)
    for _, name, module in places:
        for layer_type in layer_types(module.config):
            _check_one(name, module, layer_type)
    _check_used(owner, [module for _, _, module in places])


def _check_one(name: str, module: Any, layer_type: str | None) -> None:
    if not isinstance(module, ResonanceRotary):
        raise UserError(f"{name} is transformers' own {type(module).__name__}; put an encoding in with re_rope")
    asked = rotary_of(module.config, layer_type)
    if asked.head_dim != module.encodings[layer_type].head_dim:
        raise UserError(
            f"{name} rotates {module.encodings[layer_type].head_dim} dimensions of a head, not {asked.head_dim}"
        )
    trained = longest(module.config)
    for length in (2, trained, 4 * trained):
        inv_freq, factor = asked.frequencies(length)
        position_ids = torch.tensor([[0, 1, length - 1]])
        angles = module.layout.positions(position_ids)[..., None].double() * inv_freq.double()
        wanted = _at_one(module.layout(angles.cos() * factor, angles.sin() * factor, torch.float64))
        actual = _at_one(module(torch.zeros(1, dtype=torch.float32), position_ids, layer_type))
        wrong = (actual - wanted).abs() > TOLERANCE * wanted.abs() + 1e-12
        if bool(wrong.any()):
            j = int(wrong.nonzero()[0])
            place = name if layer_type is None else f"{name} ({layer_type})"
            raise UserError(
                f"{place} does not rotate as {asked.name} does: in {length} tokens entry {j} of cos and sin at "
                f"position 1 is {float(actual[j]):.9g}, not {float(wanted[j]):.9g}; put the encoding in with re_rope"
            )


def _at_one(handed_out: Any) -> torch.Tensor:
    """cos and sin of position 1 in one row, float64; of a complex table the real and imaginary parts."""
    parts = (handed_out.real, handed_out.imag) if isinstance(handed_out, torch.Tensor) else handed_out
    return torch.cat([part[..., 1, :].double().flatten() for part in parts])


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
            exaggerated = _first_tensor(owner(input_ids=ids, use_cache=False))
    except Exception as error:
        raise UserError(f"{type(owner).__name__} cannot be run on four tokens to check it ({told(error)})") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    if usual.device.type == "meta":
        raise UserError(f"{type(owner).__name__} has no weights yet; load them first")
    if torch.equal(usual, exaggerated):
        raise UserError(
            f"{type(owner).__name__} has a rotary module that its attention does not use (ALiBi, or no rotary layers): "
            "no encoding put there changes anything"
        )


def _exaggerated(module: nn.Module, arguments: Any, handed_out: Any) -> Any:
    """A forward hook: cos and sin times a thousand, so that attention saturates and its output changes in any
    precision."""
    return handed_out * 1000 if isinstance(handed_out, torch.Tensor) else tuple(part * 1000 for part in handed_out)


def _first_tensor(output: Any) -> torch.Tensor:
    """Logits, or the last hidden state of a model without a head."""
    tensor: torch.Tensor = output[0] if not hasattr(output, "logits") else output.logits
    return tensor
