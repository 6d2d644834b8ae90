"""How queries and keys take their positions: as pairs that rotate, with a table each, or as magnitudes at angles.

Shapes as in models.transformer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from models.elementwise import phase_of, rotate, rotated
from models.encodings.inputs import PositionInputs

Rotation = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""q, k and v [P, B, H, T, .] from the fused projection [P, B, T, 3, H, K]."""


def rotation_of(positions: PositionInputs) -> Rotation | None:
    """What the positions do to queries and keys in every layer; None: nothing."""
    if positions.rotation is None:
        return None
    if positions.key_rotation is None and not positions.polar:
        return partial(rotate, phase=phase_of(*positions.rotation))
    turned = _at_angles if positions.polar else rotated
    queries, keys = (_over_heads(*pair) for pair in (positions.rotation, positions.key_rotation or positions.rotation))

    def apart(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        return turned(q, *queries), turned(k, *keys), v

    return apart


def far_rotation_of(positions: PositionInputs) -> Rotation | None:
    """`rotation_of` for pairs that are far apart; None: they are rotated as all are."""
    far = positions.far
    return None if far is None else rotation_of(PositionInputs(far.query, key_rotation=far.key))


def _over_heads(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """[P, 1, H or 1, T, F] from [P, T, F] or [P, H, T, F]."""
    if cos.dim() == 3:
        cos, sin = cos[:, None], sin[:, None]
    return cos[:, None], sin[:, None]


def _at_angles(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[..., T, 2 K] from x [..., T, K]: a vector of length softplus(x) at its position's angle for each of K features
    (PoPE, arXiv 2509.10534)."""
    magnitudes = F.softplus(x.float())
    return torch.cat((magnitudes * cos, magnitudes * sin), -1).to(x.dtype)
