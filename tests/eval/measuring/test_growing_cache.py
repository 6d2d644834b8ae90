"""A cache that grows in place holds what transformers' own holds."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.cache_utils import DynamicLayer

from eval.measuring.llm.leval.cache import ROOM, GrowingLayer, growing_cache


def states(tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, 1, 3, tokens, 8, generator=generator)
    return keys, values


def held(layer: DynamicLayer) -> tuple[torch.Tensor, torch.Tensor]:
    assert layer.keys is not None
    assert layer.values is not None
    return layer.keys, layer.values


def test_the_same_keys_and_values_as_transformers_own_layer_whatever_is_appended_and_cropped() -> None:
    ours, theirs = GrowingLayer(), DynamicLayer()
    # Pieces, single tokens, a return to what all questions share, and more than there is room for.
    for step, change in enumerate([700, 1, 1, -2, 40, 1, -41, ROOM, 1, -1, -300, 2 * ROOM, 1]):
        if change < 0:
            ours.crop(change)
            theirs.crop(change)
        else:
            returned, kept = ours.update(*states(change, step)), theirs.update(*states(change, step))
            assert all(map(torch.equal, returned, kept))
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert all(map(torch.equal, held(ours), held(theirs)))


def test_a_token_is_written_behind_the_others_without_copying_them() -> None:
    layer = GrowingLayer()
    layer.update(*states(100, 0))
    before = [tensor.data_ptr() for tensor in held(layer)]
    for step in range(ROOM):
        layer.update(*states(1, step))
    assert [tensor.data_ptr() for tensor in held(layer)] == before


def test_keys_that_were_replaced_from_outside_are_kept() -> None:
    layer = GrowingLayer()
    layer.update(*states(10, 0))
    layer.batch_repeat_interleave(2)
    repeated, _ = held(layer)
    keys, _ = layer.update(*(new.repeat(2, 1, 1, 1) for new in states(1, 1)))
    assert torch.equal(keys[:, :, :10], repeated)
    layer.reset()
    assert layer.get_seq_length() == 0


@pytest.mark.parametrize("window", [None, 16])
def test_a_model_with_a_sliding_window_keeps_the_librarys_cache(window: int | None) -> None:
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=2)
    if window:
        config.layer_types = ["full_attention", "sliding_attention"]
        config.sliding_window = window
    cache = growing_cache(config)
    assert (cache is None) == bool(window)
