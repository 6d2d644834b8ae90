"""Where the rotary modules of a model are."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.hf.module import ResonanceRotary
from posgen.errors import UserError


def model_of(model: Any) -> Any:
    """The transformers model inside the user's model: PEFT, torch.compile and wrappers for several GPUs put modules
    around it."""
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            return module
    raise UserError(f"{type(model).__name__} is no model of transformers")


def rotary_modules(model: Any) -> list[tuple[nn.Module, str, Any]]:
    """(parent, name, module) of the language model's rotary modules; those of a vision tower stay as they are."""
    config = model.config.get_text_config(decoder=True)
    modules = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if getattr(child, "config", None) is config and is_rotary(child)
    ]
    if not modules:
        raise UserError(
            f"{type(model).__name__} has no rotary module that follows rope parameters; "
            "load a model that does (Llama, Mistral, Qwen, Phi, GPT-NeoX, OLMo, Gemma, ...)"
        )
    return modules


def is_rotary(module: Any) -> bool:
    """Whether a module hands out cosines and sines by a rope type."""
    return isinstance(module, ResonanceRotary) or (
        hasattr(module, "rope_type")
        and hasattr(module, "config")
        and any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False))
    )
