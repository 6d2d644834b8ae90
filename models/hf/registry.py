"""Makes our rope types known to transformers, through the places that it and PyTorch have for that.

1. `ROPE_INIT_FUNCTIONS`: a stock rotary module can be built with a rope type of ours.
2. Validation: transformers looks for a function named after the rope type; ours checks the stock type's keys.
3. PyTorch's hook on the registration of submodules: a stock rotary module whose config names one of our types is
   replaced by `ResonanceRotary` when its model is built. The stock module would be wrong in three ways: its frequencies
   are a buffer that `.to(bfloat16)` rounds; it gives any name with "dynamic" in it, so `resonance_dynamic`, a memory
   of longer inputs; and it would never switch `resonance_longrope` to its long factors.
4. A few config classes refuse every rope type but their own (Phi-3, and in transformers 4.5x OLMo). That method of
   theirs, and nothing else, is wrapped: it leaves our types to the common validation.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import modeling_rope_utils
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from models.hf.module import ResonanceRotary
from models.hf.ropes import OURS, POSGEN, V5, layer_types, read, rotary_of, stock_type, with_parameters

_STRICT = {
    "phi3": "Phi3Config",
    "phi4_multimodal": "Phi4MultimodalConfig",
    "olmo": "OlmoConfig",
    "olmo2": "Olmo2Config",
    "olmo3": "Olmo3Config",
}

_utils: Any = modeling_rope_utils  # its names differ between versions


def register() -> None:
    """Once for a process; `import models.hf` does it."""
    for name in OURS:
        ROPE_INIT_FUNCTIONS[name] = _frequencies
        if V5:
            setattr(_utils.RotaryEmbeddingConfigMixin, f"_validate_{name}_rope_parameters", _validate)
        else:
            _utils.ROPE_VALIDATION_FUNCTIONS[name] = _validate_4
    for package, name in _STRICT.items():
        _let_through(package, name)
    hook: Any = _exchange  # PyTorch's annotation says None, its documentation "None or new submodule"
    register_module_module_registration_hook(hook)


def _frequencies(
    config: Any, device: Any = None, seq_len: int | None = None, layer_type: str | None = None
) -> tuple[Tensor, float]:
    """A rope type's function as transformers calls it: (inv_freq [features], attention factor)."""
    inv_freq, factor = rotary_of(config, layer_type).frequencies(1 if seq_len is None else int(seq_len))
    return inv_freq.to(torch.get_default_device() if device is None else device), factor


def _validate(config: Any, rope_parameters: dict[str, Any], ignore_keys: set[str] | None = None) -> None:
    """transformers 5: what the stock type's own check says. KeyError for a missing key, a warning for a strange one."""
    if rope_parameters["rope_type"] == POSGEN:
        if "encoding" not in rope_parameters:
            raise KeyError("Missing required keys in `rope_parameters` for 'rope_type'='posgen': {'encoding'}")
        return
    name = stock_type(rope_parameters["rope_type"])
    plain = with_parameters(config, None, {**rope_parameters, "rope_type": name})
    plain.standardize_rope_params()
    check = getattr(plain, f"_validate_{name}_rope_parameters", None)
    if check is not None:
        check(plain.rope_parameters, ignore_keys=ignore_keys)


def _validate_4(config: Any, ignore_keys: set[str] | None = None) -> None:
    """The same for transformers 4.5x."""
    parameters = read(config, None)
    if parameters["rope_type"] == POSGEN:
        return
    name = stock_type(parameters["rope_type"])
    if name != "default":
        plain = with_parameters(config, None, {**parameters, "rope_type": name})
        _utils.ROPE_VALIDATION_FUNCTIONS[name](plain, ignore_keys=ignore_keys)


def _exchange(parent: nn.Module, name: str, child: nn.Module | None) -> nn.Module | None:
    """The hook: None leaves the submodule as it is."""
    if not isinstance(child, nn.Module) or isinstance(child, ResonanceRotary) or not hasattr(child, "rope_type"):
        return None
    named = child.rope_type.values() if isinstance(child.rope_type, dict) else [child.rope_type]
    return ResonanceRotary.in_place_of(child) if any(rope_type in OURS for rope_type in named) else None


def _let_through(package: str, name: str) -> None:
    try:
        config_class = getattr(importlib.import_module(f"transformers.models.{package}.configuration_{package}"), name)
    except ImportError:  # not in this version
        return
    method = "validate_rope" if V5 else "_rope_scaling_validation"
    if method not in vars(config_class):
        return
    strict: Callable[..., None] = getattr(config_class, method)

    @functools.wraps(strict)
    def lenient(self: Any, **options: Any) -> None:
        if not any(read(self, layer_type)["rope_type"] in OURS for layer_type in layer_types(self)):
            strict(self, **options)
        elif V5:
            _utils.RotaryEmbeddingConfigMixin.validate_rope(self, **options)
        else:
            _utils.rope_config_validation(self)

    setattr(config_class, method, lenient)
    checks = getattr(config_class, "__class_validators__", [])  # collected when the class was made
    if strict in checks:
        checks[checks.index(strict)] = lenient
