"""The decoder in numpy and float64, one pair of positions at a time: what encodings do to attention, written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from models.spec import ModelSpec

Logit = Callable[[int, int, np.ndarray, np.ndarray, int, int], float]
"""(layer, head, query [K], key [K], query's position, key's position) -> attention logit."""


def logits(params: Mapping[str, Tensor], model: ModelSpec, ids: list[int], logit: Logit) -> np.ndarray:
    """Logits [T, V] of one member's weights (no member axis) for one sequence, without dropout."""
    w = {name: weight.detach().double().numpy() for name, weight in params.items()}
    x = w["embedding"][ids]
    heads, K = model.heads, model.head_dim
    for layer in range(model.layers):
        at, ffn = f"layers.{layer}.attention", f"layers.{layer}.ffn"
        q, k, v = np.split(norm(x, model.norm_eps) * w[f"{at}.norm"] @ w[f"{at}.qkv"], 3, axis=1)
        mixed = np.zeros_like(q)
        for h in range(heads):
            part = slice(h * K, (h + 1) * K)
            for t in range(len(ids)):
                scores = np.array([logit(layer, h, q[t, part], k[s, part], t, s) for s in range(t + 1)])
                weights = np.exp(scores - scores.max())
                mixed[t, part] = weights / weights.sum() @ v[: t + 1, part]
        x = x + mixed @ w[f"{at}.o"]
        hidden = np.maximum(norm(x, model.norm_eps) * w[f"{ffn}.norm"] @ w[f"{ffn}.wi"], 0)
        x = x + hidden @ w[f"{ffn}.wo"]
    return norm(x, model.norm_eps) * w["final_norm"] @ w["embedding"].T * model.d_model**-0.5


def norm(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)


def rotated(x: np.ndarray, position: int, base: float = 10_000.0) -> np.ndarray:
    """RoPE of one vector: each pair (2j, 2j + 1) by the angle position b^(-2j/d)."""
    out = np.empty_like(x)
    for j in range(len(x) // 2):
        angle = position * base ** (-2 * j / len(x))
        out[2 * j] = x[2 * j] * np.cos(angle) - x[2 * j + 1] * np.sin(angle)
        out[2 * j + 1] = x[2 * j] * np.sin(angle) + x[2 * j + 1] * np.cos(angle)
    return out
