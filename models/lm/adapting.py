"""A loaded language model made ready for fine-tuning, and its loss over a batch."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from models.hf import check_rope
from models.hf.finding import model_of
from models.hf.parameters import ORIGINAL
from models.hf.ropes import layer_types, longest, rotary_of
from models.lm.nll import chunked_losses
from models.lm.ropes import Installed, Ropes
from posgen.errors import MissingPackage, UserError


class MeanLoss(nn.Module):
    """The mean NLL of a batch under a model, whose logits are made a chunk at a time. A module of its own, so that
    wrappers for several GPUs see a whole forward pass."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids [B, T] to nats, a scalar: the mean over all tokens but each sequence's first."""
        return chunked_losses(self.model, ids, checkpointed=True).mean()


def trainable(model: Any, checkpointing: bool) -> Any:
    """The model in training mode, every weight with a gradient; activations are computed again where asked for."""
    _checkpointed(model, checkpointing)
    return model.train().requires_grad_(True)


def with_lora(model: Any, rank: int, alpha: float, dropout: float, seed: int, checkpointing: bool) -> Any:
    """The model frozen, in training mode, with a LoRA adapter of float32 weights on all linear layers but the output
    layer."""
    try:
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError:
        raise MissingPackage("--lora needs peft: pip install 'posgen[llm]'", name="peft") from None
    _checkpointed(model, checkpointing)
    torch.manual_seed(seed)
    layers = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, **layers)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that it has renamed
        return get_peft_model(model, config).train()


def _checkpointed(model: Any, checkpointing: bool) -> None:
    if checkpointing:
        # The reentrant kind would lose the gradients of what follows frozen embeddings.
        keywords = {"use_reentrant": False}
        if hasattr(model, "activation_checkpointing_enable"):  # its name since transformers 5
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=keywords)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=keywords)


def install(model: Any, name: str, factor: float, params: dict[str, Any]) -> tuple[Installed, int]:
    """Put an encoding into a model to be tuned, and let its config say so: the length trained on, and the extended one
    as max_position_embeddings, which other tools read as the longest input. Returns it and the length trained on."""
    ropes = Ropes(model)
    length = ropes.train_length
    installed = ropes.install(name, factor, params)
    owner = model_of(model)
    config = owner.config.get_text_config(decoder=True)
    extended = math.ceil(length * factor)
    if extended > longest(config):
        before = _tables(config, extended)
        config.max_position_embeddings = extended
        setattr(config, ORIGINAL, length)
        if _tables(config, extended) != before:
            raise UserError(f"rope={name}: would change with the model's longest length; report it")
        check_rope(owner)
    return installed, length


def _tables(config: Any, length: int) -> list[tuple[list[float], float]]:
    """Frequencies and attention factor at a length, of each layer type."""
    tables = []
    for name in layer_types(config):
        inv_freq, factor = rotary_of(config, name).frequencies(length)
        tables.append((inv_freq.tolist(), factor))
    return tables
