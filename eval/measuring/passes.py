"""Forward passes that score sequences: whole, in pieces where they are long, or by the model's own continuation.

Tokens and answers are [E, n, L']: E members, n sequences. Answers are the tokens themselves, or posgen.answers.labels.
Each pass returns correct answers and losses [E, L'] summed over sequences, and tells as it goes what share is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import Cache
from models.encodings import PositionInputs
from models.spec import ModelSpec
from models.transformer import forward, model_inputs
from models.workers import checkpoint
from posgen.answers import NOT_SCORED

Ticked = Callable[[float], None]
"""Called with the share of the work that was just done; the shares of one work add up to 1."""

WHOLE = {"cpu": 8_192, "cuda": 524_288}
"""Tokens of one sequence that a pass takes at once; longer ones are read in pieces."""
MASK = {"cpu": 2**24, "cuda": 2**28}
"""Elements of the mask of one piece: queries times the keys that they see."""


_FAR = 16_384
"""Positions from which on a step of generation takes about twice what its fixed cost is: its share of the work."""


def nothing(share: float) -> None:
    """Nobody watches."""


def in_pieces(device: torch.device, length: int, has_bias: bool, by_pair: bool) -> bool:
    """Whether a sequence of `length` tokens is read in pieces. Not under an attention bias, which is made for all
    positions at once; sooner where attention makes numbers for each pair of a query and a key (`Encoding.by_pair`)."""
    longer = length > WHOLE[device.type] or (by_pair and length**2 > MASK[device.type])
    return longer and not has_bias


def teacher_forced(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    tokens: Tensor,
    answers: Tensor,
    prefix: int,
    bos: int | None,
    positions: PositionInputs,
) -> tuple[Tensor, Tensor]:
    """Each answer predicted from the true tokens before it."""
    shift = int(bos is not None)
    # The output at an input predicts the token after it: the first that counts stands at the seed's last token.
    logits = forward(params, model, model_inputs(tokens, bos), positions)[:, :, prefix - 1 + shift :]
    hits, nats = _scored(logits, answers[:, :, prefix:])
    return F.pad(hits, (prefix, 0)), F.pad(nats, (prefix, 0))


def teacher_forced_in_pieces(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    tokens: Tensor,
    answers: Tensor,
    prefix: int,
    bos: int | None,
    positions: PositionInputs,
    ticked: Ticked,
) -> tuple[Tensor, Tensor]:
    """`teacher_forced` with some positions at a time, and the keys and values of those before them kept: the memory is
    that of the sequence and not of its square, and an hour for one sequence is an hour with progress."""
    shift = int(bos is not None)
    inputs = model_inputs(tokens, bos)
    hits, nats = (torch.zeros(tokens.shape[0], tokens.shape[2], device=tokens.device) for _ in range(2))
    cache = Cache(inputs.shape[2])
    for now in pieces(inputs.shape[2], inputs.device):
        logits = forward(params, model, inputs[:, :, now], positions.rows(now), cache=cache)
        # The token that the output at an input predicts.
        after = slice(now.start + 1 - shift, now.stop + 1 - shift)
        hits[:, after], nats[:, after] = _scored(logits, answers[:, :, after])
        ticked((now.stop**2 - now.start**2) / inputs.shape[2] ** 2)  # as attention counts
        checkpoint()
    hits[:, :prefix] = nats[:, :prefix] = 0.0
    return hits, nats


def pieces(length: int, device: torch.device) -> Iterator[slice]:
    """The positions of a sequence, as many at a time as `WHOLE` and `MASK` take."""
    start, whole, mask = 0, WHOLE[device.type], MASK[device.type]
    while start < length:
        # The largest count with count * (start + count) <= mask.
        stop = min(length, start + max(1, min(whole, int((start**2 / 4 + mask) ** 0.5 - start / 2))))
        yield slice(start, stop)
        start = stop


def free_running(
    params: Mapping[str, Tensor],
    model: ModelSpec,
    tokens: Tensor,
    answers: Tensor,
    prefix: int,
    bos: int | None,
    positions: PositionInputs,
    ticked: Ticked,
) -> tuple[Tensor, Tensor]:
    """The model continues the seed greedily from its own answers; it has no losses. Tokens that are no answers
    (`answers` below 0) are given."""
    # Keys and values of earlier tokens stay in the cache; only what is new goes through the model.
    length, shift = tokens.shape[2], int(bos is not None)
    cache, seen = Cache(length - 1 + shift), model_inputs(tokens, bos)[:, :, : prefix + shift]
    hits = torch.zeros(tokens.shape[0], length, device=tokens.device)
    whole = sum(1 + position / _FAR for position in range(prefix, length))
    for position in range(prefix, length):
        now = slice(cache.length, cache.length + seen.shape[2])
        logits = forward(params, model, seen, positions.rows(now), cache=cache)
        answered, right = logits[:, :, -1:].argmax(-1), answers[:, :, position : position + 1]
        hits[:, position] = (answered == right)[:, :, 0].sum(1)
        seen = torch.where(right < 0, tokens[:, :, position : position + 1], answered)
        ticked((1 + position / _FAR) / whole)
        checkpoint()
    return hits, torch.full_like(hits, float("nan"))


def _scored(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Correct tokens and losses of `targets` [E, n, T], summed over sequences; nothing where they are NOT_SCORED."""
    nats = (
        F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none", ignore_index=NOT_SCORED)
        .view(targets.shape)
        .sum(1)
    )
    return (logits.argmax(-1) == targets).sum(1), nats
