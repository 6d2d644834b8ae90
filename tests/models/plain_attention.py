"""The decoder as loops over pairs of positions, in float64: what encodings that change attention are compared with.

Written from the papers' formulas; it shares no line with models.attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from models.spec import ModelSpec

Logit = Callable[[int, int, int, int, np.ndarray, np.ndarray, np.ndarray], float]
"""(layer, head, i, j, q_i, k_j, x): the logit of query i on key j <= i, -inf where it is not seen. x [T, d_model] is
what the layer's projections read."""


def rotated_product(q: np.ndarray, k: np.ndarray, distance: float, resonance: bool = False) -> float:
    """q k^T after rotations that differ by `distance` positions; interleaved pairs, base 10,000."""
    total = 0.0
    for c in range(len(q) // 2):
        theta = 10_000.0 ** (-2 * c / len(q))
        if resonance:
            theta = 2 * math.pi / round(2 * math.pi / theta)
        a, b = complex(q[2 * c], q[2 * c + 1]), complex(k[2 * c], k[2 * c + 1])
        total += (a * b.conjugate() * complex(math.cos(theta * distance), math.sin(theta * distance))).real
    return total


def decoder(params: Mapping[str, torch.Tensor], model: ModelSpec, ids: list[int], logit: Logit) -> np.ndarray:
    """Logits [T, V] of one member (no member axis) for one sequence."""
    weights = {name: weight.detach().double().numpy() for name, weight in params.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + model.norm_eps) * weights[name]

    x = weights["embedding"][ids]
    T, H, K = len(ids), model.heads, model.head_dim
    for layer in range(model.layers):
        front = f"layers.{layer}"
        h = norm(x, f"{front}.attention.norm")
        q, k, v = (part.reshape(T, H, K) for part in np.split(h @ weights[f"{front}.attention.qkv"], 3, axis=-1))
        mixed = np.zeros((T, H, K))
        for head in range(H):
            for i in range(T):
                scores = np.array([logit(layer, head, i, j, q[i, head], k[j, head], h) for j in range(i + 1)])
                shares = np.exp(scores - scores.max())
                mixed[i, head] = (shares / shares.sum()) @ v[: i + 1, head]
        x = x + mixed.reshape(T, H * K) @ weights[f"{front}.attention.o"]
        hidden = np.maximum(norm(x, f"{front}.ffn.norm") @ weights[f"{front}.ffn.wi"], 0.0)
        x = x + hidden @ weights[f"{front}.ffn.wo"]
    return norm(x, "final_norm") @ weights["embedding"].T * model.d_model**-0.5
