"""Sequences from prefixes: the one loop of the benchmark, over positions and never over sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from posgen.answers import answer, scored_positions
from posgen.errors import BadValue, require
from posgen.fresh import Fresh
from posgen.functions import Function, resolve
from posgen.spec import Answers, Task

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

    Answers that are tokens of the sequence are computed. All other tokens after the prefix are fresh (posgen.fresh):
    with hidden answers these are all, and posgen.answers computes the answers from the sequence.

    prefixes: integers [N, w] in 0..modulus-1. w is the seed's length (`Task.prefix_length`), of hidden answers that or
    more. Returns [N, length] in `token_dtype(modulus)`, row-major, whose first w columns are the prefixes. Raises
    `BadValue` for prefixes of another shape or range, a length below the prefix's, and an h that is unknown or
    misbehaves.
    """
    seeds = checked_prefixes(task, prefixes)
    width = seeds.shape[1]
    require(length >= width, "length", length, f"use at least {given_tokens(task, width)}")
    h = resolve(task.h)
    out = np.empty((len(seeds), length), token_dtype(task.modulus))
    for start in range(0, len(seeds), BLOCK):
        block = seeds[start : start + BLOCK]
        out[start : start + BLOCK] = _block(task, h, block, length, ticked).T
    return out


def given_tokens(task: Task, count: int) -> str:
    """How many tokens of a sequence are given, for a message: `far + near = 4 tokens`."""
    if count != task.prefix_length:
        return f"{count} tokens"
    parts = "far + gap + near" if task.gap else "far + near"
    return f"2 ({parts}) = {count} tokens" if task.is_interleaved else f"{parts} = {count} tokens"


def checked_prefixes(task: Task, prefixes: ArrayLike) -> np.ndarray:
    """The prefixes as an array [N, w], or `BadValue("prefix", ...)` that says what is wrong with them."""
    hidden = task.answers is Answers.hidden
    count = f"{'at least ' if hidden else ''}{task.prefix_length}"
    parts = given_tokens(task, task.prefix_length).partition(" =")[0]
    remedy = f"give {count} whole tokens ({parts}), each in 0..{task.modulus - 1}"
    try:
        seeds = np.asarray(prefixes)
    except ValueError as error:  # rows of unequal length
        raise BadValue("prefix", prefixes, remedy) from error
    shown = seeds[0].tolist() if seeds.ndim == 2 and len(seeds) == 1 else f"array of shape {seeds.shape}"
    good_shape = seeds.ndim == 2 and seeds.dtype.kind in "iu"
    require(good_shape, "prefix", shown, remedy)
    width = seeds.shape[1]
    require(width >= task.prefix_length if hidden else width == task.prefix_length, "prefix", shown, remedy)
    require(not seeds.size or bool(seeds.min() >= 0 and seeds.max() < task.modulus), "prefix", shown, remedy)
    return seeds


def _block(task: Task, h: Function, seeds: np.ndarray, length: int, ticked: Ticked) -> np.ndarray:
    """Tokens [length, n] of n seeds. Transposed, so that all sequences' tokens at one position lie side by side."""
    width = seeds.shape[1]
    tokens = np.empty((length, len(seeds)), token_dtype(task.modulus))
    tokens[:width] = seeds.T
    hidden, computed = task.answers is Answers.hidden, scored_positions(task, length)
    fresh = None if task.answers is Answers.fed_back else Fresh(seeds, task.modulus)
    for position in range(width, length):
        if fresh is None or (not hidden and position in computed):
            tokens[position] = answer(task, h, tokens, position)
        else:
            tokens[position] = fresh.at(position)
        if position % TOLD == 0:
            ticked(TOLD)
    return tokens
