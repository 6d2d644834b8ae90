"""The negative log-likelihood of each token of a text under a causal language model, in nats.

The output layer is applied to a few positions at a time: logits of 16,384 positions over a vocabulary of 49,152 would
take 3.2 GB. The model's own forward pass makes them, so that an architecture's softcaps and scales are in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from models.hf.finding import model_of
from posgen.errors import UserError

CHUNK = 1024
"""Positions whose logits are held at once."""


@torch.inference_mode()
def token_nll(model: Any, ids: Tensor, chunk: int = CHUNK) -> np.ndarray:
    """The NLL of ids[1:], each after all those before it, float32 [T - 1]; ids [T] on any device.

    Hidden states are computed in the model's dtype, log-probabilities in float32. UserError when the model's losses are
    not finite: a number is never made of them.
    """
    losses = chunked_losses(model, ids[None].to(next(model.parameters()).device), chunk)[0]
    values = losses.float().cpu().numpy()
    if not np.isfinite(values).all():
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(f"the model's loss at token {position + 1} is not finite; use dtype=fp32")
    return values


def chunked_losses(model: Any, ids: Tensor, chunk: int = CHUNK, checkpointed: bool = False) -> Tensor:
    """Losses of ids[:, 1:] in nats, float32 [B, T - 1], differentiable. `checkpointed`: logits are computed again in
    the backward pass and never kept, so that training holds those of one chunk alone."""
    owner = model_of(model)
    hidden = hidden_states(model, ids)[:, :-1]
    targets = ids[:, 1:]
    parts = []
    for start in range(0, targets.shape[1], chunk):
        arguments = (owner, hidden[:, start : start + chunk], targets[:, start : start + chunk])
        if checkpointed:
            parts.append(torch.utils.checkpoint.checkpoint(_losses, *arguments, use_reentrant=False))
        else:
            parts.append(_losses(*arguments))
    return torch.cat(parts, dim=1)


def hidden_states(model: Any, ids: Tensor) -> Tensor:
    """The last hidden states [B, T, width], which the output layer reads; ids [B, T]."""
    trunk = model_of(model).base_model
    states: Tensor = trunk(input_ids=ids, use_cache=False).last_hidden_state
    return states


def logits_of(owner: Any, hidden: Tensor) -> Tensor:
    """Logits [B, N, vocabulary] of hidden states [B, N, width], as the model's own forward pass makes them."""
    ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
    with _trunk_returns(owner, hidden):
        logits: Tensor = owner(input_ids=ids, use_cache=False).logits
    return logits


def _losses(owner: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = logits_of(owner, hidden).float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape)


@contextmanager
def _trunk_returns(owner: Any, hidden: Tensor) -> Iterator[None]:
    """While it holds, the model below the output layer returns these states and computes nothing."""
    trunk = owner.base_model
    own = trunk.__dict__.get("forward")
    trunk.forward = lambda *_, **__: BaseModelOutputWithPast(last_hidden_state=hidden)
    try:
        yield
    finally:
        if own is None:
            del trunk.forward
        else:
            trunk.forward = own
