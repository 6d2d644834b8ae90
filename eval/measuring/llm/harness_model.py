"""A language model as lm-eval asks it, in one progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lm_eval.models.huggingface import HFLM

from models.lm.loading import LanguageModel


class Told:
    """Parts of a whole, told on; never more than 1 in all."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self.advance, self.sum = advance, 0.0

    def __call__(self, part: float) -> None:
        part = min(part, 1.0 - self.sum)
        self.sum += part
        self.advance(part)

    def finish(self) -> None:
        self(1.0)


class AskedModel(HFLM):  # type: ignore[misc, unused-ignore]
    """lm-eval's own model around ours, which also says how far it is and how long the longest sequence was."""

    def __init__(self, model: LanguageModel, context: int, advance: Callable[[float], None]) -> None:
        super().__init__(
            pretrained=model.model, tokenizer=model.tokenizer, backend="causal", batch_size=1, max_length=context
        )
        self._advance, self._requests, self.longest = advance, 1, 0

    # Whoever calls wants to see how far it is in one bar, not in lm-eval's beside it.

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self._requests = max(1, len(requests))
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self._requests = sum(max(1, math.ceil(len(self.tok_encode(r.args[0])) / self.max_length)) for r in requests)
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self._requests = max(1, len(requests))
        return super().generate_until(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, **named: Any) -> Any:
        return super()._loglikelihood_tokens(requests, disable_tqdm=True, **named)  # a rolling one asks for a bar

    def _model_call(self, inps: Any, *arguments: Any, **named: Any) -> Any:
        logits = super()._model_call(inps, *arguments, **named)
        self._seen(inps)
        return logits

    def _model_generate(self, *arguments: Any, **named: Any) -> Any:
        generated = super()._model_generate(*arguments, **named)
        self._seen(generated)
        return generated

    def _seen(self, ids: Any) -> None:
        self.longest = max(self.longest, int(ids.shape[1]))
        self._advance(ids.shape[0] / self._requests)
