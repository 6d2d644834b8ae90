"""The weights of a population: a dict of tensors with the member axis in front, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.encodings.base import PREFIX, Encoding
from models.spec import ModelSpec
from models.streams import stream

Parameters = dict[str, Tensor]


def shapes(model: ModelSpec, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of one member's weights. Matrices are [in, out]; qkv holds the q, k and v columns in that order."""
    inner = model.heads * model.head_dim
    shape_of: dict[str, tuple[int, ...]] = {"embedding": (vocabulary, model.d_model)}
    for i in range(model.layers):
        shape_of[f"layers.{i}.attention.norm"] = (model.d_model,)
        shape_of[f"layers.{i}.attention.qkv"] = (model.d_model, 3 * inner)
        shape_of[f"layers.{i}.attention.o"] = (inner, model.d_model)
        shape_of[f"layers.{i}.ffn.norm"] = (model.d_model,)
        shape_of[f"layers.{i}.ffn.wi"] = (model.d_model, model.d_ff)
        shape_of[f"layers.{i}.ffn.wo"] = (model.d_ff, model.d_model)
    shape_of["final_norm"] = (model.d_model,)
    return shape_of


def member_parameters(model: ModelSpec, vocabulary: int, encoding: Encoding, seed: int) -> Parameters:
    """One member's initial weights, those of its encoding (`position.*`) included.

    The encoding draws from a stream of its own: the model's weights start alike under every encoding.
    """
    weights = initialise(model, vocabulary, seed)
    for name, weight in encoding.all_initial(model, stream(seed, "init-position")).items():
        weights[PREFIX + name] = weight
    return weights


def parameter_count(model: ModelSpec, vocabulary: int) -> int:
    """Weights of one member: 6,305,280 for the paper's (the released code counts 256 more, an unused bias)."""
    return sum(torch.Size(shape).numel() for shape in shapes(model, vocabulary).values())


def frozen(name: str, model: ModelSpec) -> bool:
    """Ledger row 7: the released code leaves every feed-forward layer, its norm included, at its initialisation."""
    return model.freeze_ffn and ".ffn." in name


def stacked(members: Sequence[Parameters]) -> Parameters:
    """Members' weights of equal names side by side: [P, ...]."""
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def initialise(model: ModelSpec, vocabulary: int, seed: int) -> Parameters:
    """One member's weights by T5's initialisation, float32: E ~ N(0, 1), q std (d_model d_kv)^-1/2, k and v
    d_model^-1/2, o (heads d_kv)^-1/2, wi d_model^-1/2, wo d_ff^-1/2, norms 1.
    """
    generator = stream(seed, "init")
    inner = model.heads * model.head_dim
    weights: Parameters = {}
    for name, shape in shapes(model, vocabulary).items():
        if name.endswith("norm"):
            weights[name] = torch.ones(shape)
            continue
        weight = torch.randn(shape, generator=generator)
        if name.endswith("qkv"):
            weight[:, :inner] *= (model.d_model * model.head_dim) ** -0.5
            weight[:, inner:] *= model.d_model**-0.5
        elif name != "embedding":
            weight *= shape[0] ** -0.5  # o, wi and wo: one over the root of the inputs
        weights[name] = weight
    return weights


def from_t5(weights: Mapping[str, Tensor], layers: int) -> Parameters:
    """One member's parameters (no member axis) from a T5 decoder's state dict, whose matrices are [out, in].

    Takes the names of transformers' T5 decoder without cross-attention; KeyError when one is missing.
    """
    params: Parameters = {"embedding": weights["shared.weight"]}
    for i in range(layers):
        block = f"decoder.block.{i}.layer"
        attention = f"{block}.0.SelfAttention"
        params[f"layers.{i}.attention.norm"] = weights[f"{block}.0.layer_norm.weight"]
        params[f"layers.{i}.attention.qkv"] = torch.cat([weights[f"{attention}.{n}.weight"].T for n in "qkv"], dim=1)
        params[f"layers.{i}.attention.o"] = weights[f"{attention}.o.weight"].T.contiguous()
        params[f"layers.{i}.ffn.norm"] = weights[f"{block}.1.layer_norm.weight"]
        params[f"layers.{i}.ffn.wi"] = weights[f"{block}.1.DenseReluDense.wi.weight"].T.contiguous()
        params[f"layers.{i}.ffn.wo"] = weights[f"{block}.1.DenseReluDense.wo.weight"].T.contiguous()
    params["final_norm"] = weights["decoder.final_layer_norm.weight"]
    return params
