"""An independent, plain decoder: one model, nn.Module layers, loops over heads. Written from paper.md section 3."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Drop = Callable[[Tensor], Tensor]
"""What happens at a dropout site: called once a site, in the order of the computation."""


def keep(x: Tensor) -> Tensor:
    return x


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6))


class Layer(nn.Module):
    def __init__(self, d_model: int, heads: int, head_dim: int, d_ff: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm1, self.norm2 = RMSNorm(d_model), RMSNorm(d_model)
        self.q, self.k, self.v = (nn.Linear(d_model, heads * head_dim, bias=False) for _ in range(3))
        self.o = nn.Linear(heads * head_dim, d_model, bias=False)
        self.wi, self.wo = nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor, angles: Tensor, drop: Drop = keep) -> Tensor:
        h = self.norm1(x)
        logits = []
        outs = []
        for n in range(self.heads):
            part = slice(n * self.head_dim, (n + 1) * self.head_dim)
            q, k = rotate(self.q(h)[..., part], angles), rotate(self.k(h)[..., part], angles)
            scores = q @ k.transpose(-1, -2)
            logits.append(scores.masked_fill(torch.ones_like(scores).triu(1).bool(), float("-inf")))
        probabilities = drop(torch.stack(logits, dim=-3).softmax(-1))  # (..., heads, T, T)
        for n in range(self.heads):
            part = slice(n * self.head_dim, (n + 1) * self.head_dim)
            outs.append(probabilities[..., n, :, :] @ self.v(h)[..., part])
        x = x + drop(self.o(torch.cat(outs, -1)))
        return x + drop(self.wo(drop(torch.relu(self.wi(self.norm2(x))))))


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Each interleaved pair (2j, 2j+1) turned by angles[t, j]."""
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos().float(), angles.sin().float()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class Decoder(nn.Module):
    def __init__(self, vocabulary: int, layers: int, d_model: int, heads: int, head_dim: int, d_ff: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.layers = nn.ModuleList(Layer(d_model, heads, head_dim, d_ff) for _ in range(layers))
        self.final = RMSNorm(d_model)

    def forward(self, ids: Tensor, angles: Tensor, drop: Drop = keep) -> Tensor:
        x = drop(self.embedding(ids))
        for layer in self.layers:
            x = layer(x, angles, drop)
        return drop(self.final(x)) @ self.embedding.weight.T * self.embedding.weight.shape[1] ** -0.5

    @torch.no_grad()
    def take(self, params: dict[str, Tensor]) -> None:
        """Copy one member of a population."""
        self.embedding.weight.copy_(params["embedding"])
        self.final.weight.copy_(params["final_norm"])
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            name = f"layers.{i}"
            layer.norm1.weight.copy_(params[f"{name}.attention.norm"])
            layer.norm2.weight.copy_(params[f"{name}.ffn.norm"])
            qkv = params[f"{name}.attention.qkv"].chunk(3, dim=1)
            for linear, weight in zip((layer.q, layer.k, layer.v), qkv, strict=True):
                linear.weight.copy_(weight.T)
            layer.o.weight.copy_(params[f"{name}.attention.o"].T)
            layer.wi.weight.copy_(params[f"{name}.ffn.wi"].T)
            layer.wo.weight.copy_(params[f"{name}.ffn.wo"].T)
