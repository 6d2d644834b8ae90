"""How far a rotary encoding's features at new positions lie from all that training showed: the paper's section 3.

Wavelengths and lengths count tokens. Everything here is numpy in float64, and exact: no position is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from models.encodings import Encoding, Rotary
from posgen.errors import require
from posgen.resources import free_memory, size

_CHUNK = 8_192  # positions whose angles are held at once


@dataclass(frozen=True)
class Features:
    """The features of one rotary encoding under a training and a test length.

    `inv_freq` (radians a token), `wavelengths` (infinite where a feature does not rotate) and `gaps` have one entry a
    feature. `critical` None: every wavelength is below `train_length`. `gaps` None: "new position" has no
    meaning: those of training are drawn at random from more than the training length, or distances are remapped.
    """

    train_length: int
    test_length: int
    inv_freq: np.ndarray
    wavelengths: np.ndarray
    attention_factor: float
    critical: int | None
    gaps: np.ndarray | None


def chunks(train_length: int, test_length: int) -> int:
    """How often what walks over the positions from `train_length` to `test_length` calls `ticked`."""
    return -(-(test_length - train_length) // _CHUNK)


def check_lengths(encoding: Rotary, train_length: int, test_length: int) -> None:
    """Raise BadValue, with the numbers, where features over these lengths cannot fit into memory: the angles of all
    trained positions, sorted, and those of one feature at all positions."""
    trained = train_length * encoding.features * 8 * 4
    free = free_memory()
    for key, value, needed in (
        ("train_length", train_length, trained),
        ("test_length", test_length, test_length * 8 * 6 + encoding.positions_bytes(test_length)),
    ):
        remedy = f"{encoding.name} takes about {size(needed)} of memory and {size(free or 0)} are free"
        require(free is None or needed <= free, key, value, f"{remedy}: use a shorter one")


def features(
    encoding: Rotary, train_length: int, test_length: int, ticked: Callable[[], None] = lambda: None
) -> Features:
    """All of it, as the encoding is in a sequence of `test_length` tokens (dynamic ones depend on that). `ticked`: as
    `feature_gaps` has it. Raises BadValue as `check_lengths` does."""
    check_lengths(encoding, train_length, test_length)
    inv_freq, attention_factor = encoding.frequencies(test_length)
    by_feature = wavelengths(encoding, test_length)
    apart = draws_positions(encoding, train_length) or encoding.gives("far")
    return Features(
        train_length=train_length,
        test_length=test_length,
        inv_freq=inv_freq.double().numpy(),
        wavelengths=by_feature,
        attention_factor=float(attention_factor),
        critical=critical_feature(by_feature, train_length),
        gaps=None if apart else feature_gaps(encoding, train_length, test_length, ticked),
    )


def draws_positions(encoding: Encoding, train_length: int) -> bool:
    """Whether training sees positions drawn at random instead of 0..train_length-1."""
    return encoding.training_positions(train_length, Generator().manual_seed(0)) is not None


def wavelengths(encoding: Rotary, length: int) -> np.ndarray:
    """lambda_j = 2 pi / theta_j, float64 [head_dim / 2], infinite where theta_j is 0; whole numbers under Resonance."""
    return encoding.wavelengths(length).numpy()


def critical_feature(wavelengths: np.ndarray, train_length: int) -> int | None:
    """The first feature whose wavelength reaches the training length (paper, section 3); None when none does."""
    reached = np.flatnonzero(wavelengths >= train_length)
    return int(reached[0]) if reached.size else None


def feature_gaps(
    encoding: Rotary, train_length: int, test_length: int, ticked: Callable[[], None] = lambda: None
) -> np.ndarray:
    """The feature gap (paper, eq. 8) of every feature for unit vectors, float64 [head_dim / 2], from 0 to 2.

    max over new positions n, train_length <= n < test_length, of min over trained positions m < train_length of
    |f(x, m)_j - f(x, n)_j|: a feature turns x by an angle, so that its points lie on a circle, and the nearest trained
    point is one of the two neighbours among the sorted angles. NaN when no position is new. Without the attention
    factor, which lengthens all vectors alike; and within one table, that of the test length, also where the frequencies
    depend on the length (dynamic NTK, LongRoPE). `ticked` is called after every few thousand positions (`chunks`).
    """
    widest = np.full(encoding.features, np.nan)
    for gaps in _gaps(encoding, train_length, test_length):
        widest = np.fmax(widest, gaps.max(axis=0))
        ticked()
    return widest


def gaps_by_position(encoding: Rotary, train_length: int, test_length: int) -> np.ndarray:
    """What `feature_gaps` takes the maximum of: the distance of each new position's features to the nearest trained
    ones, float64 [test_length - train_length, head_dim / 2], row 0 for position `train_length`."""
    return np.concatenate([*_gaps(encoding, train_length, test_length), np.empty((0, encoding.features))])


def _gaps(encoding: Rotary, train_length: int, test_length: int) -> Iterator[np.ndarray]:
    """`gaps_by_position`, some positions at a time."""
    trained = np.sort(_angles(encoding, 0, train_length, test_length).T, axis=1)  # (head_dim / 2, train_length)
    for new in angle_chunks(encoding, train_length, test_length):
        nearest = [_to_nearest(known, new[:, feature]) for feature, known in enumerate(trained)]
        yield 2 * np.sin(np.stack(nearest, axis=1) / 2)


def repetition_length(wavelengths: Sequence[float] | np.ndarray, train_length: int) -> int:
    """After how many tokens the pre-critical features, rounded as Resonance does, are together where they began: the
    least common multiple of their wavelengths (paper, section 3). 1 when there is no such feature."""
    critical = critical_feature(np.asarray(wavelengths), train_length)
    return math.lcm(*(round(float(wavelength)) for wavelength in wavelengths[:critical]))


def feature_angles(encoding: Rotary, feature: int, length: int) -> np.ndarray:
    """Angles [length], float64, of one feature at all positions of a sequence of `length` tokens, within one turn."""
    return np.concatenate([angles[:, feature] for angles in angle_chunks(encoding, 0, length)])


def angle_chunks(encoding: Rotary, start: int, length: int) -> Iterator[np.ndarray]:
    """Angles [a few thousand, head_dim / 2] within one turn, float64, of all positions from `start` on in a sequence of
    `length` tokens, some positions at a time."""
    for at in range(start, length, _CHUNK):
        yield _angles(encoding, at, min(at + _CHUNK, length), length)


def _angles(encoding: Rotary, start: int, stop: int, length: int) -> np.ndarray:
    """Angles [stop - start, head_dim / 2] within one turn, in a sequence of `length` tokens."""
    # Not the float32 product that models read: its rounding would add to the gap at long lengths.
    angles = encoding.exact_angles(torch.arange(start, stop), length)
    return np.mod(angles.numpy(), 2 * np.pi)


def _to_nearest(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The smallest turn (radians, 0 to pi) from each wanted angle to a known one; `known` is sorted, both in a turn."""
    after = np.searchsorted(known, wanted)
    # Beyond either end the neighbour is the other end, a turn away.
    turns = np.abs(wanted[:, None] - known[np.stack([after - 1, after % len(known)], axis=1)])
    return np.minimum(turns, 2 * np.pi - turns).min(axis=1)


def gaps_between(trained: Rotary, trained_length: int, tested: Rotary, tested_length: int) -> np.ndarray:
    """`feature_gaps` where the table of the test is another one than that of the training, as when a scaling is applied
    at test time only: the distance of every test position's features to the nearest that training showed, float64
    [head_dim / 2]."""
    features = range(trained.features)
    known = [np.sort(feature_angles(trained, feature, trained_length)) for feature in features]
    nearest = [_to_nearest(known[j], feature_angles(tested, j, tested_length)).max() for j in features]
    return 2 * np.sin(np.array(nearest) / 2)
