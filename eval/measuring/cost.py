"""What measuring a member takes, counted and not tried: memory and operations of a pass over one sequence."""

from __future__ import annotations

from dataclasses import replace

import torch

from eval.measuring.passes import MASK, WHOLE, in_pieces
from models.encodings import Encoding, Rotary, build
from models.memory import weight_count
from models.parameters import parameter_count
from models.precision import emulated
from models.spec import AccuracyMode, EncodingSpec, MemberSpec, ModelSpec, Precision


def pass_bytes(
    spec: MemberSpec,
    test: EncodingSpec,
    length: int,
    device: torch.device,
    mode: AccuracyMode = AccuracyMode.teacher_forced,
) -> int:
    """Memory that scoring one sequence of `length` tokens takes: a copy of the weights, what the encoding gives, and
    the activations of the widest moment. This is the smallest pass: more sequences at a time are divided where they do
    not fit."""
    model, encoding = spec.model, build(test, spec.model.head_dim)
    bias, explicit, polar = encoding.gives("bias"), encoding.explicit(), encoding.polar
    # The true tokens as int64: cut, with a BOS in front, and once more where they are compared.
    total = 4 * weight_count(spec) + 4 * 8 * length
    total += encoding.positions_bytes(length) + length * _given_bytes(encoding, model)
    pairs = length * length * encoding.pair_bytes(model) if bias else 0

    def activations(queries: int, by_pair: bool) -> int:
        own = _polar_bytes(model, queries, length) if polar else 0
        return _activation_bytes(spec, queries, length, by_pair, device) + own

    if mode is AccuracyMode.free_running:
        return total + pairs + _cache_bytes(encoding, model, length) + activations(1, True)
    if read_in_pieces(encoding, device, length):
        at_once = min(WHOLE[device.type], MASK[device.type] // length + 1)
        masks = 4 * 4 * MASK[device.type]  # rounded up, and once more: the allocator keeps an earlier one
        kept = _cache_bytes(encoding, model, length)
        return total + masks + kept + activations(at_once, explicit)
    masked = 2 * 4 * length * length if encoding.by_pair() else 0  # of a window, or between near and far
    return total + pairs + masked + activations(length, explicit)


def read_in_pieces(encoding: Encoding, device: torch.device, length: int) -> bool:
    """`in_pieces` under an encoding."""
    return in_pieces(device, length, encoding.gives("bias"), encoding.by_pair())


def _given_bytes(encoding: Encoding, model: ModelSpec) -> int:
    """For each position: the angles, their cosines and sines in float64 on the way to float32, and an embedding."""
    features = encoding.features if isinstance(encoding, Rotary) else encoding.head_dim // 2
    # Those of near pairs, those of queries and keys of distant ones, and the keys' own, of every head.
    tables = encoding.gives("rotation") * (1 + model.heads * encoding.gives("key_rotation")) + 2 * encoding.gives("far")
    embedding = model.d_model * 4 * 4 if encoding.gives("embedding") else 0
    return features * (4 * 8 + 2 * 4) * tables + embedding


def _cache_bytes(encoding: Encoding, model: ModelSpec, length: int) -> int:
    """Keys and values of all layers; keys once more where distant pairs have their own, and where they are polar."""
    kept = 2 + encoding.gives("far") + encoding.polar
    return 4 * kept * model.layers * model.heads * model.head_dim * length


def _polar_bytes(model: ModelSpec, queries: int, keys: int) -> int:
    """Magnitudes at angles: both, their two products and those side by side; and values as wide as keys."""
    return 4 * model.heads * model.head_dim * (10 * queries + 2 * keys)


def _activation_bytes(spec: MemberSpec, queries: int, keys: int, bias: bool, device: torch.device) -> int:
    """Of the widest moment of a forward pass over these positions, without gradients."""
    model, V = spec.model, spec.task.vocabulary
    D, inner, F = model.d_model, model.heads * model.head_dim, model.d_ff
    # One-hot rows are made as int64 and read as floats; logits stand beside their logarithms and a copy without seed.
    widest = max(12 * V + 4 * D, 4 * (3 * D + 9 * inner), 4 * (3 * D + 2 * F), 4 * (2 * D + 4 * V))
    total = queries * widest
    if bias or emulated(model.precision, device) or (queries == 1 and keys > 1):
        total += 4 * 4 * model.heads * queries * keys  # scores, with the mask and the bias, and probabilities
    return total


def pass_operations(spec: MemberSpec, length: int) -> int:
    """Floating-point operations of scoring one sequence: two for each weight and token, and attention's two products
    over the pairs that the causal mask shows."""
    model = spec.model
    weights = parameter_count(model, spec.task.vocabulary) + model.d_model * spec.task.vocabulary  # read and written
    pairs = length * (length + 1) // 2
    return 2 * weights * length + 4 * model.layers * model.heads * model.head_dim * pairs


def validations(spec: MemberSpec, epochs: int | None = None) -> int:
    """How many validations a training has up to this epoch (None: its last): the last epoch is one of them."""
    return -(-(epochs or spec.optim.epochs) // spec.optim.validate_every)


def as_tested(spec: MemberSpec) -> MemberSpec:
    """The member as tests compute it: in fp32, whatever the precision of its training."""
    return replace(spec, model=replace(spec.model, precision=Precision.fp32))
