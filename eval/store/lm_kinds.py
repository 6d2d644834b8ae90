"""Records of language models: what a model of transformers did under a position encoding.

`training` holds under the key `language_model` what the model is (LanguageModel.identity of models.lm.loading) and what
else the measurement rests on; `run_id` names model and encoding together. Losses are nats a token, lengths are tokens.
"""

from __future__ import annotations

from typing import Any

from eval.store.kinds import Key, Nats, Record
from posgen.plain import digest


class LanguageModelRecord(Record, frozen=True, kw_only=True, dict=True):
    """A measurement of a language model. `model` is its label, `model_key` the digest of its identity; `encoding` is a
    name of models.lm.ropes, `rope` the rope parameters by layer type; `factor` is s, `train_length` L."""

    model: str
    model_key: str
    encoding: str
    rope: dict[str, Any]
    factor: float
    train_length: int
    dtype: str
    protocol: dict[str, Any]
    """How it was measured, spelled out."""

    @property
    def protocol_key(self) -> str:
        """12 hex digits of the protocol: numbers of different protocols are never compared."""
        return digest(self.protocol)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What every key begins with."""
        return (self.kind, self.profile, self.run_id, self.encoding, self.dtype, self.protocol_key)


def language_model_run_id(model_key: str, rope: dict[str, Any]) -> str:
    """The run id of a model with an encoding in it: 12 hex digits."""
    return digest(["language_model", model_key, rope])


class PerplexityRecord(LanguageModelRecord, frozen=True, kw_only=True, dict=True):
    """NLL of one document: means over bins of `width` token positions. `position` counts from the first text token of
    the document's pass, `scored` is the number of tokens in each bin that have a loss. `length` is the longest context
    of the pass, BOS included; encodings that follow the length have a record for each."""

    kind = "perplexity"
    shown_by = "posgen llm perplexity"

    document: str
    document_sha: str
    tokens: int
    length: int
    width: int
    nll: tuple[Nats | None, ...]
    scored: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.nll) != len(self.scored):
            raise ValueError("nll and scored should be equally many")

    @property
    def key(self) -> Key:
        return (*self.identity, self.document_sha, self.length)


class AdaptationRecord(LanguageModelRecord, frozen=True, kw_only=True, dict=True):
    """How a model was fine-tuned under an encoding. `model` and `model_key` are those of the model before; `protocol`
    is the recipe, spelled out, and `recipe` its label with the share of the paper's tokens. `losses`: mean NLL of each
    step's batch, before that step. `batches`: digest of all batches in order; tunings with equal ones saw the same
    tokens. `tokens`: of all batches. `tuned`: name of the folder that it gave, `weights` the digest of its weights."""

    kind = "adaptation"
    shown_by = "posgen llm finetune"

    recipe: str
    recipe_digest: str
    lora: bool
    batches: str
    tokens: int
    losses: tuple[Nats, ...]
    tuned: str
    weights: str
    seconds: float

    @property
    def key(self) -> Key:
        return (*self.identity, self.lora, self.batches)
