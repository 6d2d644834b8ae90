"""The paper's decoder as anyone would write it: one model of nn.Module layers, trained on its own.

It shares no line with models.transformer and models.population. Tests hold the population to it number by number, and
`posgen bench step` measures how much faster the population is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Drop = Callable[[Tensor], Tensor]
"""What happens at a dropout site: called once a site, in the order of the computation."""


class RMSNorm(nn.Module):
    """weight x / sqrt(mean(x^2) + eps) over the last axis (T5's layer norm)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Layer(nn.Module):
    """Self-attention and feed-forward layer of T5, each behind its norm, with rotated queries and keys."""

    def __init__(self, d_model: int, heads: int, head_dim: int, d_ff: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm1, self.norm2 = RMSNorm(d_model), RMSNorm(d_model)
        self.q, self.k, self.v = (nn.Linear(d_model, heads * head_dim, bias=False) for _ in range(3))
        self.o = nn.Linear(heads * head_dim, d_model, bias=False)
        self.wi, self.wo = nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, drop: Drop) -> Tensor:
        """x [B, T, d_model]; cos and sin [T, head_dim / 2]."""
        (B, T, _), h = x.shape, self.norm1(x)
        q, k, v = (w(h).view(B, T, self.heads, self.head_dim).transpose(1, 2) for w in (self.q, self.k, self.v))
        scores = rotate(q, cos, sin) @ rotate(k, cos, sin).transpose(-1, -2)  # (B, H, T, T)
        scores = scores + torch.full((T, T), float("-inf"), device=x.device).triu(1)
        mixed = drop(scores.softmax(-1)) @ v
        x = x + drop(self.o(mixed.transpose(1, 2).reshape(B, T, -1)))
        return x + drop(self.wo(drop(F.relu(self.wi(self.norm2(x))))))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each interleaved pair (2j, 2j + 1) of x [..., T, K] rotated by its angle."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class PlainDecoder(nn.Module):
    """Token ids [B, T] -> logits [B, T, vocabulary] of the next token; the output projection is the embedding."""

    def __init__(
        self, vocabulary: int, layers: int, d_model: int, heads: int, head_dim: int, d_ff: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.layers = nn.ModuleList(Layer(d_model, heads, head_dim, d_ff) for _ in range(layers))
        self.final, self.dropout = RMSNorm(d_model), nn.Dropout(dropout)

    def forward(self, ids: Tensor, angles: Tensor, drop: Drop | None = None) -> Tensor:
        """`angles` [T, head_dim / 2] in radians; `drop` stands in for the model's own dropout."""
        drop, cos, sin = drop or self.dropout, angles.cos().float(), angles.sin().float()
        x = drop(self.embedding(ids))
        for layer in self.layers:
            x = layer(x, cos, sin, drop)
        return drop(self.final(x)) @ (self.embedding.weight.T * self.embedding.weight.shape[1] ** -0.5)

    @torch.no_grad()
    def take(self, params: Mapping[str, Tensor]) -> None:
        """Copy the weights of one member of a population (without its axis)."""
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


class PlainTraining:
    """One model with torch's AdamW: the usual training loop, which a population replaces."""

    def __init__(self, model: PlainDecoder, angles: Tensor, prefix: int, lr: float, weight_decay: float) -> None:
        """`prefix` tokens at the start of a sequence are not predicted."""
        self.model, self.angles, self.prefix = model, angles, prefix
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)

    def step(self, inputs: Tensor, targets: Tensor) -> float:
        """One optimiser step; `targets` [B, T] are the tokens after `inputs` [B, T]. The loss in nats."""
        logits = self.model(inputs, self.angles)
        loss = F.cross_entropy(logits[:, self.prefix :].flatten(0, 1), targets[:, self.prefix :].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
