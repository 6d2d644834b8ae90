"""Perplexity by length, loss by position and paired differences, from records of `posgen llm perplexity` alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval.evidence.llm.tuned import Own, own
from eval.evidence.llm.tuned import families as families_of
from eval.evidence.statistics import Difference, paired_t
from eval.store.lm_kinds import AtLength, PerplexityRecord
from models.lm.names import RESONANCE, order, plain_of
from posgen.errors import UserError

LEAST_DOCUMENTS = 3
"""From here on an interval comes from differences between documents, below it from blocks of positions."""


@dataclass(frozen=True)
class Point:
    """An encoding at a length: perplexity by the protocol's weighting, of so many documents, of which `reaching` are
    not shorter than the length."""

    encoding: str
    length: int
    perplexity: float
    nll: float
    documents: int
    reaching: int
    tokens: int


@dataclass(frozen=True)
class Pair:
    """Resonance minus plain, nats a token, over the first `length` tokens of documents that both have; negative where
    Resonance is better. `over`: what the interval's standard error is over, `documents` or `blocks`, `n` of them."""

    encoding: str
    plain: str
    length: int
    difference: Difference
    over: str
    n: int


@dataclass(frozen=True)
class Position:
    """NLL of one encoding by position, means over documents: `ends` of the bins, `nll` in each."""

    encoding: str
    ends: tuple[int, ...]
    nll: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """What may be compared: records of one model, dtype, factor and protocol. `tuned`: of a family of tuned models in
    the place of one model, what they are (eval.evidence.llm.tuned); each encoding is then a model's own. `left_out`:
    seeds that have not every encoding."""

    records: tuple[PerplexityRecord, ...]
    tuned: str | None = None
    left_out: int = 0

    @property
    def model(self) -> str:
        """What is measured, in words."""
        return self.tuned or self.first.model

    @property
    def first(self) -> PerplexityRecord:
        return self.records[0]

    @property
    def encodings(self) -> list[str]:
        return sorted({record.encoding for record in self.records}, key=order)

    @property
    def lengths(self) -> list[int]:
        return sorted({at.length for record in self.records for at in record.at})

    @property
    def documents(self) -> list[str]:
        return sorted({record.document for record in self.records})

    @cached_property
    def shared(self) -> frozenset[str]:
        """The documents, by sha, that every encoding has at every length: texts differ by more than encodings do, so
        that means over others could not be compared. All documents where there is none such."""
        sets = [set(self.at(encoding, length)) for encoding in self.encodings for length in self.lengths]
        return frozenset(set.intersection(*sets) or set.union(*sets))

    @cached_property
    def points(self) -> list[Point]:
        """By encoding, then by length, over the shared documents."""
        made = []
        for encoding in self.encodings:
            for length in self.lengths:
                told = self.at(encoding, length)
                scored = [(r, at) for sha, (r, at) in told.items() if sha in self.shared and at.nll is not None]
                if scored:
                    nll = _weighted([at for _, at in scored], self.first.protocol["weighting"])
                    reaching = sum(record.tokens >= self.window(length) for record, _ in scored)
                    tokens = sum(at.scored for _, at in scored)
                    made.append(Point(encoding, length, _exp(nll), nll, len(scored), reaching, tokens))
        return made

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every encoding with Resonance that was measured without it too, by length."""
        return [
            pair
            for name in self.encodings
            if name.startswith(RESONANCE) and plain_of(name) in self.encodings
            for length in self.lengths
            if (pair := self._pair(name, plain_of(name), length)) is not None
        ]

    def position(self, encoding: str, width: int) -> Position:
        """NLL by position over the shared documents, in bins of `width`, a multiple of the records' own. Of an encoding
        that follows the length each position is taken from the shortest pass that has it: the context that ends there.
        """
        totals: dict[int, list[float]] = {}
        truncated = self.first.protocol["mode"] == "truncate"
        for record in self._of(encoding):
            if record.document_sha not in self.shared:
                continue
            if not truncated and record.length < self.lengths[-1]:
                continue  # every pass has all positions
            start = self._before(record) if truncated else 0
            for index, (nll, count) in enumerate(zip(record.nll, record.scored, strict=True)):
                end = (index + 1) * record.width
                if nll is not None and end > start:
                    total = totals.setdefault(-(-end // width) * width, [0.0, 0.0])
                    total[0] += nll * count
                    total[1] += count
        ends = sorted(totals)
        return Position(encoding, tuple(ends), tuple(totals[end][0] / totals[end][1] for end in ends))

    def at(self, encoding: str, length: int) -> dict[str, tuple[PerplexityRecord, AtLength]]:
        """(record, what it says of the length), by document."""
        return {
            record.document_sha: (record, at)
            for record in self._of(encoding)
            for at in record.at
            if at.length == length
        }

    def window(self, length: int) -> int:
        """Text tokens in a window of this length."""
        protocol = self.first.protocol
        return length - 1 if protocol["bos_counted"] and protocol["bos"] != "none" else length

    def _of(self, encoding: str) -> list[PerplexityRecord]:
        return [record for record in self.records if record.encoding == encoding]

    def _before(self, record: PerplexityRecord) -> int:
        """The longest pass of the same document and encoding below this record's: what it has is not taken again."""
        same = (r for r in self._of(record.encoding) if r.document_sha == record.document_sha)
        return max((r.length for r in same if r.length < record.length), default=0)

    def _pair(self, encoding: str, plain: str, length: int) -> Pair | None:
        ours, others = self.at(encoding, length), self.at(plain, length)
        both = [(ours[sha], others[sha]) for sha in ours if sha in others]
        means = [a.nll - b.nll for (_, a), (_, b) in both if a.nll is not None and b.nll is not None]
        if not means:
            return None
        if len(means) >= LEAST_DOCUMENTS:
            difference = paired_t(means)
            assert difference is not None
            return Pair(encoding, plain, length, difference, "documents", len(means))
        weights = [a.scored for (_, a), (_, b) in both if a.nll is not None and b.nll is not None]
        mean = float(np.average(means, weights=weights))
        last = length if self.first.protocol["mode"] == "truncate" else max(a.tokens for (a, _), _ in both) + 1
        blocks = [value for (a, _), (b, _) in both for value in _blocks(a, b, last)]
        spread = paired_t(blocks)
        if spread is None or spread.low is None or spread.high is None:
            return Pair(encoding, plain, length, Difference(mean), "blocks", len(blocks))
        half = (spread.high - spread.low) / 2
        difference = Difference(mean, mean - half, mean + half, None, spread.standard_error, spread.freedom)
        return Pair(encoding, plain, length, difference, "blocks", len(blocks))


def collect(records: Sequence[PerplexityRecord], profile: str | None = None) -> list[Curves]:
    """The records in groups that may be compared, in the order in which they were made, those of tuned models last.
    UserError without any."""
    chosen = [record for record in records if profile in (None, record.profile)]
    if not chosen:
        there = ", ".join(dict.fromkeys(record.profile for record in records))
        raise UserError(f"profile={profile}: no record of it ({f'there are {there}' if there else 'there are none'}); "
                        "measure with `posgen llm perplexity`")  # fmt: skip
    by_model: dict[tuple[Hashable, ...], list[PerplexityRecord]] = {}
    families: dict[tuple[Hashable, ...], list[Own]] = {}
    for record in chosen:
        tuned = own(record)
        shown = record if tuned is None else tuned.record
        place = (shown.profile, shown.dtype, f"{shown.factor:g}", shown.protocol_key)
        by_model.setdefault((*place, shown.model_key), []).append(shown)
        if tuned is not None:
            families.setdefault((*place, tuned.family), []).append(tuned)
    # A tuned model is a group of its own where it was measured under more than its own encoding.
    groups = [Curves(tuple(group)) for group in by_model.values() if not all(map(own, group))]
    made = [family for group in families.values() for family in families_of(group)]
    return [*groups, *(Curves(family.records, family.title, family.left_out) for family in made)]


def _weighted(at: Sequence[AtLength], weighting: str) -> float:
    """The mean NLL in which tokens, windows or documents count the same."""
    weights: dict[str, Callable[[AtLength], float]] = {
        "token": lambda a: a.scored, "window": lambda a: a.windows, "document": lambda a: 1.0,
    }  # fmt: skip
    values = [(a.window_nll if weighting == "window" else a.nll) or 0.0 for a in at]
    return float(np.average(values, weights=[weights[weighting](a) for a in at]))


def _blocks(ours: PerplexityRecord, other: PerplexityRecord, last: int) -> list[float]:
    """Differences of the two records' means over the blocks of positions that end at `last` or before."""
    parts = zip(ours.nll, other.nll, ours.scored, other.scored, strict=False)
    return [
        a - b
        for index, (a, b, n, m) in enumerate(parts)
        if a is not None and b is not None and n == m and (index + 1) * ours.width <= last
    ]


def _exp(nll: float) -> float:
    return math.exp(nll) if nll < 700 else math.inf
