"""What the encodings of a population hand the decoder, in training step by step and when members are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.encodings.base import PREFIX, Encoding, Weights
from models.encodings.inputs import Far, Gate, PositionInputs, Tables
from models.encodings.rotary import Rotary
from models.spec import ModelSpec
from models.streams import stream
from posgen.errors import BadValue, UserError, require, told
from posgen.resources import free_memory, size


def measured_positions(
    encodings: Sequence[Encoding], weights: Weights, model: ModelSpec, length: int, inputs: int, device: torch.device
) -> PositionInputs:
    """The first `inputs` positions of sequences of `length` tokens, BOS included. `encodings` (all of one structure)
    and `weights` [P, ...] belong to the same members in the same order."""
    rotation = fixed_rotation(encodings, length, inputs, device)
    return _with_weights(rotation, encodings, weights, model, length, inputs, device)


def fixed_rotation(
    encodings: Sequence[Encoding], length: int, inputs: int, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """The part of `measured_positions` that no weight can change."""
    return _rotation(encodings, [e.positions(length)[:inputs] for e in encodings], length, device)


def _with_weights(
    rotation: tuple[Tensor, Tensor] | None,
    encodings: Sequence[Encoding],
    weights: Weights,
    model: ModelSpec,
    length: int,
    inputs: int,
    device: torch.device,
) -> PositionInputs:
    """What the encodings give beside their rotation, of the same length, from weights [P, ...]."""
    # Rotations differ from member to member. All else comes from encodings that are equal in every field
    # (`Encoding.structure`), so the first one computes it for all, from the weights of all.
    first = encodings[0]
    shared = first.positions(length)[:inputs].to(device)
    keys = None if rotation is None else first.key_rotation(weights, rotation, shared, model)
    return PositionInputs(
        rotation,
        _to(first.bias(weights, shared, model), device),
        _to(first.embedding(weights, shared, model), device),
        None if keys is None else (keys[0].to(device), keys[1].to(device)),
        first.polar,
        _logit_scale(encodings, weights, model, inputs, device),
        first.layers(),
        _far(encodings, length, inputs, device),
        _gates(first.gates(weights, model), device),
    )


def _logit_scale(
    encodings: Sequence[Encoding], weights: Weights, model: ModelSpec, inputs: int, device: torch.device
) -> Tensor | None:
    """Scales of the queries [P or 1, layers or 1, heads or 1, T]. Those without weights may differ from member to
    member, and be none: a factor of 1. How many keys a query sees is its place in the sequence, whatever its position
    is called, and at most its layer's window."""
    scalings = [encoding.logit_scaling for encoding in encodings]
    first = scalings[0]
    if all(scaling is None for scaling in scalings):
        return None
    keys, layers = torch.arange(1, inputs + 1)[None], encodings[0].layers()
    if layers is not None and layers.window is not None:
        windows = [layers.window_of(layer) or inputs for layer in range(model.layers)]
        keys = keys.clamp(max=torch.tensor(windows)[:, None])
    own = {name.removeprefix(PREFIX): weight for name, weight in weights.items() if name.startswith(PREFIX)}
    if first is not None and first.trained:
        return first.scale(own, keys.to(device))
    none = torch.ones(1, len(keys), 1, inputs)
    return torch.cat([none if scaling is None else scaling.scale(own, keys) for scaling in scalings]).to(device)


def try_out(encoding: Encoding, model: ModelSpec, lengths: Sequence[int]) -> None:
    """Ask the encoding for the first and last position of sequences of these lengths (BOS included), with initial
    weights. Raises BadValue for mistakes that would otherwise end a training half-way, and for what does not fit into
    memory."""
    needed = 4 * sum(torch.Size(shape).numel() for shape in encoding.all_shapes(model).values())
    needed += max(map(encoding.positions_bytes, lengths))
    free = free_memory()
    remedy = f"needs about {size(needed)} of memory and {size(free or 0)} are free: use smaller parameters or lengths"
    require(free is None or needed <= free, "pe", encoding.name, remedy)
    try:
        _try_out(encoding, model, lengths)
    except UserError:
        raise
    except Exception as error:  # a user's own encoding may raise anything
        raise BadValue("pe", encoding.name, f"its code fails ({told(error)}); fix it") from error


def _try_out(encoding: Encoding, model: ModelSpec, lengths: Sequence[int]) -> None:
    initial = encoding.all_initial(model, stream(0, "try"))
    weights = {PREFIX + name: weight[None] for name, weight in initial.items()}
    for length in lengths:
        if isinstance(encoding, Rotary):
            once, again = (encoding.frequencies(length)[0] for _ in range(2))
            features = encoding.features
            good = once.shape == (features,) and bool(once.isfinite().all()) and torch.equal(once, again)
            remedy = f"its inv_freq must be {features} finite numbers for heads of {encoding.head_dim}, always the same"
            require(good, "pe", encoding.name, remedy)
        encoding.training_positions(length, stream(0, "try"))
        ends = encoding.positions(length)[[0, -1]]
        rotation = encoding.rotation(ends, length)
        bias, embedding = encoding.bias(weights, ends, model), encoding.embedding(weights, ends, model)
        features = encoding.head_dim // (1 if encoding.polar else 2)
        for name, table in zip(("rotation's cos", "rotation's sin"), rotation or (), strict=False):
            _check_table(encoding, name, table, (2, features))
        members = rotation and (rotation[0][None], rotation[1][None])
        keys = members and encoding.key_rotation(weights, members, ends, model)
        for name, table in zip(("key_rotation's cos", "key_rotation's sin"), keys or (), strict=False):
            _check_keys(encoding, name, table, (model.heads, 2, features))
        _check_table(encoding, "bias", bias, (1, model.heads, 2, 2))
        _check_table(encoding, "embedding", embedding, (1, 2, model.d_model))
        if (far := encoding.far(ends, length)) is not None:
            for name, tables in (("query", far.query), ("key", far.key)):
                for which, table in zip(("cos", "sin"), tables, strict=True):
                    _check_table(encoding, f"far {name}'s {which}", table, (2, features))
        gates = encoding.gates(weights, model) or ()
        good = len(gates) in (0, model.layers)
        require(good, "pe", encoding.name, f"has {len(gates)} gates for {model.layers} layers; fix it")
        for gate in gates:
            _check_table(encoding, "gate's weight", gate.weight, (1, model.d_model, model.heads))
            _check_table(encoding, "gate's bias", gate.bias, (1, model.heads))
        if encoding.structure() == "rotary":
            alone = bias is None and embedding is None and keys is None and not encoding.polar
            alone = alone and not encoding.shapes(model) and not encoding.trainable
            alone = alone and far is None and not gates and encoding.layers() is None
            require(alone, "pe", encoding.name, "gives the decoder more than a rotation; declare only_rotates = False")
    TrainingPositions([encoding], model, 2, 2, torch.device("cpu"))  # refuses what it cannot train


def _check_table(encoding: Encoding, name: str, table: object, shape: tuple[int, ...]) -> None:
    """Raise BadValue unless what the encoding gives for 2 positions is None or a tensor of this shape; a bias for all
    heads may have 1 in their place."""
    if table is None:
        return
    remedy = f"its {name} for 2 positions should be floats of shape {list(shape)}"
    if not (isinstance(table, Tensor) and table.is_floating_point()):
        raise BadValue("pe", encoding.name, f"{remedy}, not {getattr(table, 'dtype', type(table).__name__)}; fix it")
    heads_shared = (shape[0], 1, *shape[2:]) if len(shape) == 4 else shape
    good = tuple(table.shape) in (shape, heads_shared)
    require(good, "pe", encoding.name, f"{remedy}, not {list(table.shape)}; fix it")


def _check_keys(encoding: Encoding, name: str, table: object, shape: tuple[int, ...]) -> None:
    """`_check_table` of a key's table, which has an axis of members, and may have one of heads."""
    with_heads = isinstance(table, Tensor) and table.dim() == 4
    _check_table(encoding, name, table, (1, *(shape if with_heads else shape[1:])))


class TrainingPositions:
    """`measured_positions` for training: what does not change from step to step is computed once."""

    def __init__(
        self, encodings: Sequence[Encoding], model: ModelSpec, length: int, inputs: int, device: torch.device
    ) -> None:
        self.encodings, self.model, self.length, self.inputs, self.device = encodings, model, length, inputs, device
        self._random = [i for i, e in enumerate(encodings) if self._draw(e, 0, 0) is not None]
        for i in self._random:
            remedy = "draws training positions, which only an encoding can that declares only_rotates = True"
            require(encodings[i].structure() == "rotary", "pe", encodings[i].name, remedy)
        # None where the encoding has weights: what it gives the decoder beside the rotation changes with every step.
        self._rotation = fixed_rotation(encodings, length, inputs, device)
        self._fixed: PositionInputs | None = None
        if not encodings[0].trains:
            self._fixed = self._now(slice(None), self._rotation, {})

    def at(self, step: int, chunk: slice, seeds: Sequence[int], weights: Weights) -> PositionInputs:
        """What the decoder reads at `step` for the members of `chunk`; `weights` [p, ...] are theirs."""
        rotation = self._rotation_at(step, chunk, seeds)
        if self._fixed is None:
            return self._now(chunk, rotation, weights)
        return replace(self._fixed.members(chunk), rotation=rotation)

    def _now(self, chunk: slice, rotation: tuple[Tensor, Tensor] | None, weights: Weights) -> PositionInputs:
        encodings = self.encodings[chunk]
        return _with_weights(rotation, encodings, weights, self.model, self.length, self.inputs, self.device)

    def _rotation_at(self, step: int, chunk: slice, seeds: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """The rotation of the members of `chunk`, with the positions that some draw anew for each step."""
        if self._rotation is None:
            return None
        cos, sin = (table[chunk] for table in self._rotation)
        drawn = [i for i in self._random if chunk.start <= i < chunk.stop]
        if drawn:
            cos, sin = cos.clone(), sin.clone()  # copies: the fixed rows of the others must stay
        for i in drawn:
            positions = self._draw(self.encodings[i], seeds[i], step)
            assert positions is not None
            rotation = self.encodings[i].rotation(positions[: self.inputs], self.length)
            assert rotation is not None
            cos[i - chunk.start], sin[i - chunk.start] = (table.to(self.device) for table in rotation)
        return cos, sin

    def _draw(self, encoding: Encoding, seed: int, step: int) -> Tensor | None:
        return encoding.training_positions(self.length, stream(seed, "positions", step))


def _rotation(
    encodings: Sequence[Encoding], positions: Sequence[Tensor], length: int, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    tables = [e.rotation(p, length) for e, p in zip(encodings, positions, strict=True)]
    rotations = [table for table in tables if table is not None]
    if not rotations:
        return None
    cos, sin = (torch.stack(parts).to(device) for parts in zip(*rotations, strict=True))
    return cos, sin


def _far(encodings: Sequence[Encoding], length: int, inputs: int, device: torch.device) -> Far | None:
    tables = [far for e in encodings if (far := e.far(e.positions(length)[:inputs], length)) is not None]
    if not tables:
        return None

    def stacked(pairs: Sequence[Tables]) -> Tables:
        return torch.stack([pair[0] for pair in pairs]).to(device), torch.stack([pair[1] for pair in pairs]).to(device)

    # Encodings of one structure are far at one distance.
    return Far(stacked([far.query for far in tables]), stacked([far.key for far in tables]), tables[0].beyond)


def _gates(gates: tuple[Gate, ...] | None, device: torch.device) -> tuple[Gate, ...] | None:
    return None if gates is None else tuple(Gate(_to(g.weight, device), g.bias.to(device)) for g in gates)


def _to(x: Tensor | None, device: torch.device) -> Tensor | None:
    return None if x is None else x.to(device)
