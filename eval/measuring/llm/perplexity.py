"""Losses of a document's tokens under a protocol, and what they come to at each length.

In a causal model whose rotary table is the same at every length, a document cut to n tokens has the losses of the first
n tokens of a longer pass: one pass at the longest length serves all. A table that follows the length (dynamic NTK)
takes a pass for each length at which it is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conf.perplexity import PerplexityProtocol
from eval.measuring.llm.windows import Window, windows
from eval.store.lm_kinds import AtLength
from models.lm.nll import token_nll

WIDTH = 128
"""Positions in a bin."""

Table = Callable[[int], Hashable]
"""What identifies an encoding's rotary table by the number of tokens that a model reads."""


@dataclass(frozen=True)
class Pass:
    """What has to be computed of a document for some lengths: the windows of the longest of them."""

    lengths: tuple[int, ...]
    windows: tuple[Window, ...]

    @property
    def length(self) -> int:
        return self.lengths[-1]


def passes(count: int, protocol: PerplexityProtocol, lengths: Sequence[int], table: Table) -> list[Pass]:
    """Those that a document of `count` text tokens takes: lengths that one serves are together."""
    if protocol.mode != "truncate":
        return [Pass((length,), tuple(windows(count, protocol, length))) for length in lengths]
    together: dict[Hashable, list[int]] = {}
    for length in lengths:
        read = sum(window.ids for window in windows(count, protocol, length))
        together.setdefault(table(read), []).append(length)
    return [Pass(tuple(group), tuple(windows(count, protocol, group[-1]))) for group in together.values()]


def measure(
    model: Any,
    ids: np.ndarray,
    bos: int | None,
    todo: Pass,
    nll: np.ndarray,
    done: int,
    after: Callable[[int], bool],
) -> None:
    """Fill `nll` [T] with the losses of a document's tokens `ids` [T], from window `done` on. After each window `after`
    is told how many are done; it says whether to go on."""
    for index in range(done, len(todo.windows)):
        window = todo.windows[index]
        piece = ids[window.begin : window.end].tolist()
        assert bos is not None or not window.bos
        losses = token_nll(model, torch.tensor([bos, *piece] if window.bos else piece))
        nll[window.first : window.end] = losses[len(losses) - window.scored :]
        if not after(index + 1):
            return


def at_lengths(nll: np.ndarray, protocol: PerplexityProtocol, lengths: Sequence[int], count: int) -> list[AtLength]:
    """What the losses of a pass [T] come to at each length, in float64, of the tokens that the protocol scores."""
    values = nll.astype(np.float64)
    values[: protocol.score_from] = np.nan
    if protocol.score_to is not None:
        values[protocol.score_to :] = np.nan
    results = []
    for length in lengths:
        parts = [values[window.first : window.end] for window in windows(count, protocol, length)]
        parts = [part[~np.isnan(part)] for part in parts]
        parts = [part for part in parts if len(part)]
        scored = sum(map(len, parts))
        results.append(AtLength(
            length=length, scored=scored, windows=len(parts),
            nll=float(np.concatenate(parts).mean()) if scored else None,
            window_nll=float(np.mean([part.mean() for part in parts])) if scored else None,
        ))  # fmt: skip
    return results


def bins(nll: np.ndarray, before: int) -> tuple[tuple[float | None, ...], tuple[int, ...]]:
    """(means, numbers of losses) over bins of `WIDTH` positions; `before`: positions before the first text token, such
    as the BOS where lengths count it. Means are rounded to a millionth."""
    padded = np.concatenate([np.full(before, np.nan), nll.astype(np.float64)])
    means: list[float | None] = []
    counts = []
    for start in range(0, len(padded), WIDTH):
        part = padded[start : start + WIDTH]
        part = part[~np.isnan(part)]
        counts.append(len(part))
        means.append(round(float(part.mean()), 6) if len(part) else None)
    return tuple(means), tuple(counts)
