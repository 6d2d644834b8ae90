"""Records of language models: what a model of transformers did under a position encoding.

`training` holds under the key `language_model` what the model is (LanguageModel.identity of models.lm.loading) and what
else the measurement rests on; `run_id` names model and encoding together. Losses are nats a token, lengths are tokens.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eval.store.kinds import Fraction, Key, Nats, Record
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
        return self.identity_of(self.profile, self.run_id, self.encoding, self.dtype, self.protocol_key)

    @classmethod
    def identity_of(cls, profile: str, run_id: str, encoding: str, dtype: str, protocol_key: str) -> tuple[Any, ...]:
        """The identity of a record that is not there yet."""
        return (cls.kind, profile, run_id, encoding, dtype, protocol_key)


def language_model_run_id(model_key: str, rope: dict[str, Any]) -> str:
    """The run id of a model with an encoding in it: 12 hex digits."""
    return digest(["language_model", model_key, rope])


class AtLength(Struct, frozen=True, kw_only=True):
    """What a document's losses come to at one length: the mean over the `scored` tokens, and over the means of
    `windows` windows. Null where nothing is scored."""

    length: int
    nll: Nats | None
    scored: int
    window_nll: Nats | None
    windows: int


class PerplexityRecord(LanguageModelRecord, frozen=True, kw_only=True, dict=True):
    """NLL of one document under one encoding. `length` is the longest of `at`, the lengths that one pass serves: all of
    them where the document is truncated and the encoding does not follow the length, else one alone.

    `nll` are means over bins of `width` positions, `scored` the number of tokens in each that have a loss; positions
    count from the document's first token, from its BOS where lengths count that, so that lengths end where bins do.
    """

    kind = "perplexity"
    shown_by = "posgen llm perplexity"

    document: str
    document_sha: str
    tokens: int
    length: int
    at: tuple[AtLength, ...]
    width: int
    nll: tuple[Nats | None, ...]
    scored: tuple[int, ...]
    seconds: float

    def __post_init__(self) -> None:
        if len(self.nll) != len(self.scored):
            raise ValueError("nll and scored should be equally many")
        if not self.at or self.length != max(each.length for each in self.at):
            raise ValueError("length should be the longest of at")

    @property
    def key(self) -> Key:
        return self.key_of(self.identity, self.document_sha, self.length)

    @classmethod
    def key_of(cls, identity: tuple[Any, ...], document_sha: str, length: int) -> Key:
        """The key of a record that is not there yet, from `identity_of`."""
        return (*identity, document_sha, length)


class HarnessRecord(LanguageModelRecord, frozen=True, kw_only=True, dict=True):
    """A metric of a standard task of lm-eval. `length`: tokens that the task's samples were made for, None of a task
    that has no length. `stderr`: of a mean over `samples`, None of anything else. `samples_hash`: of the prompts and
    targets, equal where two encodings were asked the same. `longest`: tokens of the longest sequence that the model
    saw."""

    kind = "harness"
    shown_by = "posgen llm tasks"

    task: str
    asked: str
    """The name that the task was asked for by: its own, or that of a group."""
    task_version: str
    samples_hash: str
    length: int | None
    metric: str
    value: float
    stderr: float | None
    samples: int
    longest: int

    @property
    def key(self) -> Key:
        return (*self.identity, self.task, self.length, self.metric)


class AnswersRecord(LanguageModelRecord, frozen=True, kw_only=True, dict=True):
    """Scores of a model's answers to one task of L-Eval, in the order of its data file: `scores` of each question, and
    where a question is judged twice (sci_fi) `judgements`, both of each. `of_questions`: how many the task has; fewer
    were asked where `--limit` said so. `floor` is the mean score of the best constant answer to these questions."""

    kind = "answers"
    shown_by = "posgen llm table2"

    task: str
    scores: tuple[Fraction, ...]
    judgements: tuple[tuple[Fraction, ...], ...] | None = None
    of_questions: int
    data_sha: str
    predictions_sha: str
    floor: Fraction
    floor_answer: str
    unfinished: int
    """Answers that were cut off at max_new_tokens."""

    def __post_init__(self) -> None:
        if not self.scores or len(self.scores) > self.of_questions:
            raise ValueError("scores should be at least one, and no more than of_questions")
        if self.judgements is not None and len(self.judgements) != len(self.scores):
            raise ValueError("judgements and scores should be equally many")

    @property
    def questions(self) -> int:
        return len(self.scores)

    @property
    def key(self) -> Key:
        return (*self.identity, self.task, self.data_sha, self.questions)


class AdaptationRecord(LanguageModelRecord, frozen=True, kw_only=True, dict=True):
    """How a model was fine-tuned under an encoding. `model` and `model_key` are those of the model before; `protocol`
    is the recipe, spelled out, and `recipe` its label with the share of the paper's tokens. `losses`: mean NLL of each
    step's batch, before that step. `batches`: digest of all batches in order; tunings with equal ones saw the same
    tokens. `tokens`: of all batches. `tuned`: name of the folder that it gave, `weights` the digest of its weights."""

    kind = "adaptation"
    shown_by = "posgen llm tunings"

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


LANGUAGE_MODEL_KINDS: tuple[type[LanguageModelRecord], ...] = (
    PerplexityRecord,
    HarnessRecord,
    AnswersRecord,
    AdaptationRecord,
)
