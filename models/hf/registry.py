"""Makes our rope types known to transformers, through the places that it and PyTorch have for that.

1. `ROPE_INIT_FUNCTIONS`: a stock rotary module can be built with a rope type of ours.
2. Validation: transformers looks for a function named after the rope type; ours checks the stock type's keys.
3. PyTorch's hook on the registration of submodules: a stock rotary module whose config names one of our types is
   replaced by `ResonanceRotary` when its model is built. The stock module would be wrong in three ways: its frequencies
   are a buffer that `.to(bfloat16)` rounds; it gives any name with "dynamic" in it, so `resonance_dynamic`, a memory
   of longer inputs; and it would never switch `resonance_longrope` to its long factors.
4. A few config classes refuse every rope type but their own (Phi-3, and in transformers 4.5x OLMo). That method of
   theirs, and nothing else, is wrapped: what it refuses of our types goes to the common validation.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import modeling_rope_utils
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from models.hf.module import ResonanceRotary
from models.hf.readers import keys_read
from models.hf.ropes import (
    ORIGINAL,
    OURS,
    POSGEN,
    V5,
    known_keys,
    layer_types,
    read,
    rotary_of,
    stock_type,
    with_parameters,
)

_METHOD = "validate_rope" if V5 else "_rope_scaling_validation"
_utils: Any = modeling_rope_utils  # its names differ between versions


def register() -> None:
    """Once for a process; `import models.hf` does it."""
    for name in OURS:
        ROPE_INIT_FUNCTIONS[name] = _frequencies
        if V5:
            setattr(_utils.RotaryEmbeddingConfigMixin, f"_validate_{name}_rope_parameters", _validate)
        else:
            _utils.ROPE_VALIDATION_FUNCTIONS[name] = _validate_4
    for package in _strict_packages():
        _let_through(package)
    hook: Any = _exchange  # PyTorch's annotation says None, its documentation "None or new submodule"
    register_module_module_registration_hook(hook)


def _frequencies(
    config: Any, device: Any = None, seq_len: int | None = None, layer_type: str | None = None
) -> tuple[Tensor, float]:
    """A rope type's function as transformers calls it: (inv_freq [features], attention factor)."""
    inv_freq, factor = rotary_of(config, layer_type).frequencies(1 if seq_len is None else int(seq_len))
    return inv_freq.to(torch.get_default_device() if device is None else device), factor


def _validate(config: Any, rope_parameters: dict[str, Any], ignore_keys: set[str] | None = None) -> None:
    """transformers 5: what the stock type's own check says. KeyError for a missing or misspelt key, a warning for a
    strange one.

    The length trained on must be said where the type needs it: transformers would take max_position_embeddings, which
    is the longer length once a model has been stretched, and put YaRN's ramp elsewhere.
    """
    if rope_parameters["rope_type"] == POSGEN:
        if "encoding" not in rope_parameters:
            raise KeyError("Missing required keys in `rope_parameters` for 'rope_type'='posgen': {'encoding'}")
        return
    name = stock_type(rope_parameters["rope_type"])
    required, optional = known_keys(config, name)
    missing = (required - rope_parameters.keys()) & {ORIGINAL}
    if missing and getattr(config, ORIGINAL, None) is None:
        raise KeyError(f"Missing required keys in `rope_parameters` for 'rope_type'='{name}': {missing}")
    absent = sorted((required | optional) - rope_parameters.keys())
    for key in sorted(rope_parameters.keys() - required - optional - keys_read(config) - set(ignore_keys or ())):
        if close := difflib.get_close_matches(key, absent, n=1, cutoff=0.8):
            raise KeyError(f"{key} in `rope_parameters` is no key of 'rope_type'='{name}': did you mean {close[0]}?")
    read_elsewhere = keys_read(config) | ({ORIGINAL} - required)
    plain = with_parameters(config, None, {**rope_parameters, "rope_type": name})
    if missing:  # Phi-3 says it beside the rope parameters
        plain.rope_parameters[ORIGINAL] = getattr(config, ORIGINAL)
    check = getattr(plain, f"_validate_{name}_rope_parameters", None)
    if check is not None:
        check(plain.rope_parameters, ignore_keys=set(ignore_keys or ()) | (read_elsewhere - required - optional))


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


def _strict_packages() -> list[str]:
    """Architectures of the installed transformers whose config checks the rope type by itself, found in the source."""
    folder = Path(transformers.__file__).parent / "models"
    method = f"def {_METHOD}("
    return [
        path.parent.name
        for path in sorted(folder.glob("*/configuration_*.py"))
        if method in path.read_text(encoding="utf-8")
    ]


def _let_through(package: str) -> None:
    module = importlib.import_module(f"transformers.models.{package}.configuration_{package}")
    for config_class in vars(module).values():
        if isinstance(config_class, type) and _METHOD in vars(config_class):
            _wrap(config_class)


def _wrap(config_class: type) -> None:
    strict: Callable[..., None] = getattr(config_class, _METHOD)

    @functools.wraps(strict)
    def lenient(self: Any, **options: Any) -> None:
        try:
            strict(self, **options)
        except (KeyError, TypeError, ValueError):
            if not any(read(self, layer_type)["rope_type"] in OURS for layer_type in layer_types(self)):
                raise
            if V5:
                _utils.RotaryEmbeddingConfigMixin.validate_rope(self, **options)
            else:
                _utils.rope_config_validation(self)

    setattr(config_class, _METHOD, lenient)
    checks = getattr(config_class, "__class_validators__", [])  # collected when the class was made
    if strict in checks:
        checks[checks.index(strict)] = lenient
