"""How long L-Eval's questions take, from a few short passes of the model just now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import torch

from eval.measuring.llm.leval.answering import PIECE, Answerer
from eval.running.llm.leval import LEvalRun

SHORT = 16
"""Tokens of a short answer."""
_NEW = 6
_SUFFIX = 200  # tokens of a question after its document


@dataclass(frozen=True)
class Estimate:
    """Seconds for all encodings when every answer has `SHORT` tokens, and when each goes on to max_new_tokens; how many
    questions are counted, and the tokens of the longest document."""

    short: float
    longest: float
    questions: int
    tokens: int


def estimate(run: LEvalRun) -> Estimate:
    """Time a piece at two depths and some new tokens, and add up all questions. Questions that were answered before
    count too: it is the time of the whole."""
    near, far, deeper = _seconds(run, 4 * PIECE)
    # A piece of n tokens after p others costs base + slope p; these two had one and three pieces before them.
    slope = max(0.0, far - near) / (2 * PIECE)
    base = max(0.0, near - slope * PIECE)
    token = _seconds(run, 64)[2]
    token_slope = max(0.0, deeper - token) / (4 * PIECE - 64)
    encodings = len(run.request.ropes)
    asks = [ask for asks in run.asks.values() for ask in asks]
    reading = sum(ask.tokens / PIECE * (base + slope * ask.tokens / 2) for ask in asks)
    reading += sum(ask.count * _SUFFIX / PIECE * (base + slope * ask.tokens) for ask in asks)
    new = sum(ask.count * ask.task.judgements * (token + token_slope * ask.tokens) for ask in asks)
    limit = run.request.generation.max_new_tokens
    return Estimate(
        encodings * (reading + min(SHORT, limit) * new), encodings * (reading + limit * new), run.questions,
        max(ask.tokens for ask in asks),
    )  # fmt: skip


@torch.inference_mode()
def _seconds(run: LEvalRun, before: int) -> tuple[float, float, float]:
    """(of the second piece of so many tokens, of the last one, of a new token after them)."""
    answerer = Answerer(run.model, True, 1)
    answerer.ends = []
    ids = [run.model.tokenizer.eos_token_id or 0] * (before + 1)
    told: list[float] = [time.perf_counter()]
    answerer.begin([ids], lambda _: told.append(time.perf_counter()))
    pieces = [after - began for began, after in pairwise(told)]
    seconds = []
    for answerer.max_new_tokens in (1, 1 + _NEW):
        began = time.perf_counter()
        answerer.answer(ids)
        seconds.append(time.perf_counter() - began)
    return pieces[min(1, len(pieces) - 1)], pieces[-1], max(0.0, seconds[1] - seconds[0]) / _NEW
