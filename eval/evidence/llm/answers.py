"""Scores of L-Eval answers with their errors and floors, and paired tests between encodings, question by question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from eval.evidence.statistics import holm, sign_flip
from eval.store.lm_kinds import AnswersRecord
from models.lm.ropes import NAMES, plain_of

RESAMPLES, SEED = 20_000, 20240228


def standard_error(scores: Sequence[float], judgements: int | None = None) -> float:
    """Of a mean score, 0 to 1: the binomial one, sqrt(p (1 - p) / n), of 0/1 results (`judgements`: their number, the
    questions where None), the sample's standard deviation over sqrt(n) of other scores."""
    n, mean = judgements or len(scores), sum(scores) / len(scores)
    if judgements is not None or all(score in (0.0, 1.0) for score in scores):
        return math.sqrt(mean * (1 - mean) / n)
    spread = sum((score - mean) ** 2 for score in scores) / max(1, n - 1)
    return math.sqrt(spread / n)


def sign_test(better: int, worse: int) -> float:
    """Two-sided exact p that of better + worse differing pairs so uneven a share is better (McNemar's exact test)."""
    n, least = better + worse, min(better, worse)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


@dataclass(frozen=True)
class Score:
    """One task under one encoding: mean, standard error and floor in percent."""

    percent: float
    error: float
    floor: float
    floor_answer: str
    questions: int
    of_questions: int
    unfinished: int

    @classmethod
    def of(cls, record: AnswersRecord) -> Score:
        count = None if record.judgements is None else sum(map(len, record.judgements))
        mean = sum(record.scores) / record.questions
        return cls(
            100 * mean, 100 * standard_error(record.scores, count), 100 * record.floor, record.floor_answer,
            record.questions, record.of_questions, record.unfinished,
        )  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """The difference a - b between two encodings on the same questions of a task, in points; `better` and `worse` are
    questions. `p` is of the exact sign test for 0/1 scores, of sign flips for others; `holm` is adjusted for all tests
    of the group."""

    task: str
    a: str
    b: str
    difference: float
    better: int
    worse: int
    exact: bool
    p: float
    holm: float = 1.0


@dataclass(frozen=True)
class Group:
    """Records that may be compared: one model, factor, dtype and protocol; by (encoding, task)."""

    records: dict[tuple[str, str], AnswersRecord]

    @property
    def first(self) -> AnswersRecord:
        return next(iter(self.records.values()))

    @property
    def encodings(self) -> list[str]:
        return sorted({encoding for encoding, _ in self.records}, key=NAMES.index)

    def pairs(self) -> list[Pair]:
        """Every two encodings, Resonance against its plain form first, on every task that both answered."""
        chosen = [_ordered(*two) for two in combinations(self.encodings, 2)]
        chosen.sort(key=lambda two: plain_of(two[0]) != two[1])
        tasks = dict.fromkeys(task for _, task in self.records)
        pairs = [
            _pair(task, self.records[a, task], self.records[b, task])
            for a, b in chosen for task in tasks
            if (a, task) in self.records and (b, task) in self.records
            and _comparable(self.records[a, task], self.records[b, task])
        ]  # fmt: skip
        adjusted = holm([pair.p for pair in pairs])
        return [Pair(**{**pair.__dict__, "holm": value}) for pair, value in zip(pairs, adjusted, strict=True)]


def groups(records: Iterable[AnswersRecord]) -> list[Group]:
    """Of records of one task and encoding that with the most questions counts."""
    by: dict[tuple[object, ...], dict[tuple[str, str], AnswersRecord]] = {}
    for record in records:
        place = by.setdefault((record.model_key, record.factor, record.dtype, record.protocol_key), {})
        older = place.get((record.encoding, record.task))
        if older is None or older.questions <= record.questions:
            place[record.encoding, record.task] = record
    return [Group(place) for place in by.values()]


def _ordered(a: str, b: str) -> tuple[str, str]:
    """The Resonance form, or the one that comes later in models.lm.ropes, first."""
    return (a, b) if NAMES.index(a) > NAMES.index(b) else (b, a)


def _comparable(a: AnswersRecord, b: AnswersRecord) -> bool:
    return (a.data_sha, a.questions) == (b.data_sha, b.questions)


def _pair(task: str, a: AnswersRecord, b: AnswersRecord) -> Pair:
    differences = [x - y for x, y in zip(a.scores, b.scores, strict=True)]
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    exact = all(score in (0.0, 1.0) for score in (*a.scores, *b.scores))
    p = sign_test(better, worse) if exact else sign_flip(differences, RESAMPLES, SEED)
    mean = 100 * sum(differences) / len(differences)
    return Pair(task, a.encoding, b.encoding, mean, better, worse, exact, 1.0 if p is None else p)
