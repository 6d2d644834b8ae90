"""What is asked of a model at each position of a sequence: whether anything is, and the right answer to it.

The one owner of both. Generation, training, validation and measurements ask here, so that a new kind of answers
(posgen.spec.Answers) is one more case in this file.
"""

from __future__ import annotations

import numpy as np

from posgen.functions import Function, resolve
from posgen.rules import dependencies
from posgen.spec import Answers, Task

SERVED = 1
"""The argument in the place of a far token that has served already (`dependencies`): with h = sum the near-only answer
is the one before, plus 1."""


def scored_positions(task: Task, length: int) -> range:
    """The positions with an answer, in a sequence of `length` tokens: all after the seed, and of interleaved answers
    every second one."""
    first = task.prefix_length
    return range(first + 1, length, 2) if task.is_interleaved else range(first, length)


def scored(task: Task, length: int) -> np.ndarray:
    """Which positions have an answer: bool [length]. Loss and accuracy are means over these alone."""
    mask = np.zeros(length, bool)
    positions = scored_positions(task, length)
    mask[positions.start : positions.stop : positions.step] = True
    return mask


def answers(task: Task, tokens: np.ndarray) -> np.ndarray:
    """The right answers for sequences `tokens` [N, L], in the same dtype and shape. Where nothing is scored, the entry
    means nothing.

    The answer at position l is predicted from the tokens before l. Fed back or interleaved it is the token at l, and
    the array is `tokens` itself; hidden it is computed by h, and 0 in the seed.
    """
    if task.answers is not Answers.hidden:
        return tokens
    h, labels = resolve(task.h), np.zeros_like(tokens)
    for position in scored_positions(task, tokens.shape[1]):
        labels[:, position] = answer(task, h, tokens.T, position)
    return labels


NOT_SCORED = -100
"""The label where nothing is asked: the value that torch and transformers leave out of a loss."""


def labels(task: Task, tokens: np.ndarray) -> np.ndarray:
    """The right answers [N, L] for sequences `tokens` [N, L], and `NOT_SCORED` where there is none, in `label_dtype`.
    Both in one array, as files and training have it; a label belongs to the token at its own place."""
    out = answers(task, tokens).astype(label_dtype(task.modulus))
    out[:, ~scored(task, tokens.shape[1])] = NOT_SCORED
    return out


def label_dtype(modulus: int) -> np.dtype:
    """The smallest signed dtype that holds modulus - 1 and `NOT_SCORED`."""
    return np.result_type(np.min_scalar_type(-modulus), np.min_scalar_type(NOT_SCORED))


def labelled(task: Task) -> bool:
    """Whether tokens and labels differ, beyond the seed: then a data set has both."""
    return task.answers is not Answers.fed_back


def answer(task: Task, h: Function, columns: np.ndarray, position: int) -> np.ndarray:
    """The right answer at one scored position, integers [N]. `columns` [L, N] holds a position's tokens of all
    sequences in a row; those at `position` and later are not read. `h`: posgen.functions.resolve(task.h)."""
    far, near = dependencies(task, position)
    # int64 for this position's arguments only: sums do not overflow, and h may write into its own copy
    args = columns[[*far, *near]].astype(np.int64)
    if len(far) < task.far:
        args = np.concatenate([np.full((task.far - len(far), args.shape[1]), SERVED % task.modulus), args])
    return h(args.T, task.modulus)
