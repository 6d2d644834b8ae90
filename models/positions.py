"""What the encodings of a population hand the decoder, in training step by step and when members are measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.encodings.base import PREFIX, Encoding, PositionInputs, Weights
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
    positions = [encoding.positions(length)[:inputs] for encoding in encodings]
    # Rotations differ from member to member. A bias or an embedding comes from encodings that are equal in every field
    # (`Encoding.structure`), so the first one computes it for all, from the weights of all.
    first = encodings[0]
    shared = positions[0].to(device)
    return PositionInputs(
        _rotation(encodings, positions, length, device),
        _to(first.bias(weights, shared, model), device),
        _to(first.embedding(weights, shared, model), device),
    )


def try_out(encoding: Encoding, model: ModelSpec, lengths: Sequence[int]) -> None:
    """Ask the encoding for the first and last position of sequences of these lengths (BOS included), with initial
    weights. Raises BadValue for mistakes that would otherwise end a training half-way, and for what does not fit into
    memory."""
    needed = 4 * sum(torch.Size(shape).numel() for shape in encoding.shapes(model).values())
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
    initial = encoding.initialise(model, stream(0, "try"))
    weights = {PREFIX + name: weight[None] for name, weight in initial.items()}
    for length in lengths:
        if isinstance(encoding, Rotary):
            once, again = (encoding.frequencies(length)[0] for _ in range(2))
            features = encoding.head_dim // 2
            good = once.shape == (features,) and bool(once.isfinite().all()) and torch.equal(once, again)
            remedy = f"its inv_freq must be {features} finite numbers for heads of {encoding.head_dim}, always the same"
            require(good, "pe", encoding.name, remedy)
        encoding.training_positions(length, stream(0, "try"))
        ends = encoding.positions(length)[[0, -1]]
        rotation = encoding.rotation(ends, length)
        bias, embedding = encoding.bias(weights, ends, model), encoding.embedding(weights, ends, model)
        for name, table in zip(("rotation's cos", "rotation's sin"), rotation or (), strict=False):
            _check_table(encoding, name, table, (2, encoding.head_dim // 2))
        _check_table(encoding, "bias", bias, (1, model.heads, 2, 2))
        _check_table(encoding, "embedding", embedding, (1, 2, model.d_model))
        if encoding.structure() == "rotary":
            alone = bias is None and embedding is None and not weights and not encoding.trainable
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
        # None where the encoding has weights: what it gives the decoder changes with every step.
        self._fixed = None
        if not encodings[0].trainable:
            self._fixed = measured_positions(encodings, {}, model, length, inputs, device)

    def at(self, step: int, chunk: slice, seeds: Sequence[int], weights: Weights) -> PositionInputs:
        """What the decoder reads at `step` for the members of `chunk`; `weights` [p, ...] are theirs."""
        if self._fixed is None:
            return measured_positions(self.encodings[chunk], weights, self.model, self.length, self.inputs, self.device)
        inputs = self._fixed.members(chunk)
        drawn = [i for i in self._random if chunk.start <= i < chunk.stop]
        if not drawn or inputs.rotation is None:
            return inputs
        cos, sin = (table.clone() for table in inputs.rotation)  # copies: the fixed rows of the others must stay
        for i in drawn:
            positions = self._draw(self.encodings[i], seeds[i], step)
            assert positions is not None
            rotation = self.encodings[i].rotation(positions[: self.inputs], self.length)
            assert rotation is not None
            cos[i - chunk.start], sin[i - chunk.start] = (table.to(self.device) for table in rotation)
        return PositionInputs((cos, sin), inputs.bias, inputs.embedding)

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


def _to(x: Tensor | None, device: torch.device) -> Tensor | None:
    return None if x is None else x.to(device)
