"""A cache of keys and values that grows in place.

transformers' DynamicCache copies all that it holds for every new token: after 12,000 tokens of a small model on a CPU
that is a third of the time. Here keys and values are views of tensors with room to spare, and a new token is
written behind them.
"""

from __future__ import annotations

from typing import Any

import torch

from models.lm.versions import check_transformers

check_transformers()  # before what only transformers 5 has is imported

from transformers import DynamicCache, PretrainedConfig  # noqa: E402
from transformers.cache_utils import DynamicLayer  # noqa: E402

ROOM = 1024
"""Tokens to spare whenever a layer is copied into larger tensors."""


class GrowingLayer(DynamicLayer):
    """A DynamicLayer with the same keys and values, (batch, heads, tokens, head_dim); cropped it keeps its room."""

    _rooms: tuple[torch.Tensor, torch.Tensor] | None = None  # keys and values are the first tokens of these

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (batch, heads, new tokens, head_dim) to both, and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        rooms = self._rooms
        if rooms is None or rooms[0].shape[-2] < after or not _begins(rooms[0], self.keys):
            rooms = _with_room(self.keys, key_states, before), _with_room(self.values, value_states, before)
        for room, states in zip(rooms, (key_states, value_states), strict=True):
            room[..., before:after, :] = states
        self._rooms = rooms
        self.keys, self.values = (room[..., :after, :] for room in rooms)
        return self.keys, self.values

    def reset(self) -> None:
        """Drop all tokens, and the room."""
        self._rooms = None
        super().reset()


def _begins(room: torch.Tensor, held: torch.Tensor | None) -> bool:
    """Whether keys are still a view of their room: some methods of the library put others in their place."""
    return held is not None and held.data_ptr() == room.data_ptr()


def _with_room(held: torch.Tensor | None, states: torch.Tensor, before: int) -> torch.Tensor:
    *outer, new, width = states.shape
    room = states.new_empty((*outer, before + new + ROOM, width))
    if held is not None and before:
        room[..., :before, :] = held
    return room


def growing_cache(config: PretrainedConfig) -> DynamicCache | None:
    """An empty cache for a model. None where one of its layers keeps something else than all tokens (a window)."""
    cache = DynamicCache(config=config)
    if not all(type(layer) is DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache
