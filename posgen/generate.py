"""Sequences from prefixes: the one loop of the benchmark, over positions and never over sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from posgen.errors import BadValue, require
from posgen.functions import Function, resolve
from posgen.rules import dependencies
from posgen.spec import Task

# Sequences made at once. Bounds the working memory beside the output and keeps a block's columns in the cache.
BLOCK = 8_192
# Positions between two words on how far it is.
TOLD = 1_024


def token_dtype(modulus: int) -> np.dtype:
    """The smallest unsigned dtype that holds modulus - 1."""
    return np.min_scalar_type(modulus - 1)


Ticked = Callable[[int], None]
"""Called with the number of positions that were just made, of every `BLOCK` sequences."""


def nothing(positions: int) -> None:
    """Nobody watches."""


def generate(task: Task, prefixes: ArrayLike, length: int, ticked: Ticked = nothing) -> np.ndarray:
    """Continue every prefix to `length` tokens by the task's rule (paper, section 4.1).

    prefixes: integers [N, far + near] in 0..modulus-1. Returns [N, length] in `token_dtype(modulus)`, row-major, whose
    first far + near columns are the prefixes. Raises `BadValue` for prefixes of another shape or range, a length
    below the prefix's, and an h that is unknown or misbehaves.
    """
    seeds = checked_prefixes(task, prefixes)
    require(length >= task.prefix_length, "length", length, f"use at least far + near = {task.prefix_length} tokens")
    h = resolve(task.h)
    out = np.empty((len(seeds), length), token_dtype(task.modulus))
    for start in range(0, len(seeds), BLOCK):
        block = seeds[start : start + BLOCK]
        out[start : start + BLOCK] = _block(task, h, block, length, ticked).T
    return out


def checked_prefixes(task: Task, prefixes: ArrayLike) -> np.ndarray:
    """The prefixes as an array [N, far + near], or `BadValue("prefix", ...)` that says what is wrong with them."""
    remedy = f"give {task.prefix_length} whole tokens (far + near), each in 0..{task.modulus - 1}"
    try:
        seeds = np.asarray(prefixes)
    except ValueError as error:  # rows of unequal length
        raise BadValue("prefix", prefixes, remedy) from error
    shown = seeds[0].tolist() if seeds.ndim == 2 and len(seeds) == 1 else f"array of shape {seeds.shape}"
    good_shape = seeds.ndim == 2 and seeds.shape[1] == task.prefix_length and seeds.dtype.kind in "iu"
    require(good_shape, "prefix", shown, remedy)
    require(not seeds.size or bool(seeds.min() >= 0 and seeds.max() < task.modulus), "prefix", shown, remedy)
    return seeds


def _block(task: Task, h: Function, seeds: np.ndarray, length: int, ticked: Ticked) -> np.ndarray:
    """Tokens [length, n] of n seeds. Transposed, so that all sequences' tokens at one position lie side by side."""
    tokens = np.empty((length, len(seeds)), token_dtype(task.modulus))
    tokens[: task.prefix_length] = seeds.T
    for position in range(task.prefix_length, length):
        far, near = dependencies(task, position)
        # int64 for this position's arguments only: sums do not overflow, and h may write into its own copy
        args = tokens[[*far, *near]].astype(np.int64)
        tokens[position] = h(args.T, task.modulus)
        if position % TOLD == 0:
            ticked(TOLD)
    return tokens
