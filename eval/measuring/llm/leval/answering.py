"""Greedy answers of a language model to prompts that share a beginning, with a cache of keys and values.

Questions about one document have the same beginning, which is computed once: with a fixed position table its keys and
values do not depend on what follows. It is always the beginning that all questions of the document share, in the same
pieces, so that an answer does not depend on which questions were asked before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria

from eval.measuring.llm.leval.cache import ROOM, growing_cache
from models.lm.loading import LanguageModel
from posgen.errors import UserError
from posgen.resources import free_memory, size

PIECE = 1024
"""Tokens that are computed at once, beside the cache of those before them."""


class InterruptedAnswerError(Exception):
    """A signal came while the model was answering: what it said so far is no answer."""


@dataclass(frozen=True)
class Answer:
    """`text` without the token that ends it; `ended`: whether the model came to an end by itself."""

    text: str
    tokens: int
    ended: bool


class Answerer:
    """One model with one encoding in it. `fixed`: whether its table is the same at every length. `asked` is looked at
    after each token: once it is true, `InterruptedAnswerError` is raised."""

    def __init__(
        self, model: LanguageModel, fixed: bool, max_new_tokens: int, asked: Callable[[], bool] = lambda: False
    ) -> None:
        self.model, self.max_new_tokens, self.asked = model, max_new_tokens, asked
        self.shares = fixed and self._empty_cache() is not None
        self._cache: Any = None
        self._shared = 0
        ends = model.owner.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or ())
        own = model.tokenizer.eos_token_id
        self.ends = list(dict.fromkeys([*ends, *([own] if own is not None else [])]))

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Sequence[int]], told: Callable[[float], None] = lambda share: None) -> None:
        """Compute what these prompts (token ids) share. `told` hears the share that is done."""
        self._cache, self._shared = None, 0
        if not self.shares:
            return
        ids = list(prompts[0][: shared_length(prompts)])
        cache = self._empty_cache()
        for start in range(0, len(ids), PIECE):
            self._check()
            piece = torch.tensor([ids[start : start + PIECE]], device=self.model.device)
            self.model.model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
            told(min(1.0, (start + PIECE) / len(ids)))
        self._cache, self._shared = cache, len(ids)

    @torch.inference_mode()
    def answer(self, ids: Sequence[int], shared: bool = True) -> Answer:
        """The greedy continuation of a prompt. `shared`: it begins with what `begin` computed."""
        tensor = torch.tensor([list(ids)], device=self.model.device)
        cache = self._cache if shared and self._shared else self._empty_cache()
        made = self.model.model.generate(
            input_ids=tensor,
            attention_mask=torch.ones_like(tensor),
            past_key_values=cache,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=self.ends or None,
            pad_token_id=(self.ends or [0])[0],
            stopping_criteria=[_Stop(self.asked)],
        )
        if cache is self._cache is not None and cache.get_seq_length() > self._shared:
            cache.crop(self._shared - cache.get_seq_length())
        self._check()
        new = made[0, tensor.shape[1] :].tolist()
        ended = bool(new) and new[-1] in self.ends
        return Answer(self.model.tokenizer.decode(new[:-1] if ended else new), len(new), ended)

    def _empty_cache(self) -> Any:
        return growing_cache(self.model.owner.config)

    def _check(self) -> None:
        if self.asked():
            raise InterruptedAnswerError


class _Stop(StoppingCriteria):
    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.asked(), device=input_ids.device, dtype=torch.bool)


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, of each at most all but the last: an answer needs one to continue."""
    first, last = min(map(list, prompts)), max(map(list, prompts))
    most = min(map(len, prompts)) - 1
    return next((at for at in range(most) if first[at] != last[at]), most)


def needed_bytes(model: LanguageModel, tokens: int, shares: bool) -> int:
    """Memory that answering a prompt of so many tokens takes beside the weights: keys and values, and the activations
    of a piece, or of the whole prompt where pieces are not allowed."""
    config, element = model.config, next(model.model.parameters()).element_size()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * heads * width * (tokens + ROOM) * element
    at_once = min(PIECE, tokens) if shares else tokens
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    active = at_once * (8 * config.hidden_size + 3 * inner) * max(element, 4)
    # Growing a layer's cache holds it twice for a moment; the mask of a piece, for all heads at worst.
    mask = at_once * tokens * 4 * (2 if shares else 0)
    return int(kept * (1 + 1 / config.num_hidden_layers) + active + mask + 4 * config.vocab_size * 2)


def check_memory(model: LanguageModel, tokens: int, shares: bool) -> int:
    """`needed_bytes`. UserError when the device does not have them."""
    needed = needed_bytes(model, tokens, shares)
    free = torch.cuda.mem_get_info(model.device)[0] if model.device.type == "cuda" else free_memory()
    if free is not None and needed > free:
        raise UserError(
            f"prompts of {tokens:,} tokens need {size(needed)} beside the model, and {size(free)} are free; "
            "use a smaller --max-length, or --dtype bf16"
        )
    return needed
