"""Verdicts from records alone: cells against the paper, Resonance against its plain form, and the paper's claims.

The rules are declared in conf/verdict.yaml. Published values are compared only with runs of the paper's sizes; pairs
and claims compare runs of one size with each other, and say nothing beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conf.published import Published
from conf.rules import VerdictRules
from eval.evidence.cells import Collection, differences
from eval.evidence.verdict.cells import CellVerdict, cells
from eval.evidence.verdict.claims import Claim, claims
from eval.evidence.verdict.paired import Place
from eval.evidence.verdict.pairs import PairVerdict, pairs

_PUBLISHED_MODE = "teacher_forced"  # how the released code measures what the paper prints


@dataclass(frozen=True)
class Verdicts:
    """All verdicts on a collection, by protocol. `no_cells` says why no cell is compared with the paper; else empty.

    `declared` are the rules of conf/verdict.yaml, from which `rules` may differ.
    """

    collection: Collection
    rules: VerdictRules
    declared: VerdictRules
    no_cells: str
    cells: tuple[CellVerdict, ...]
    pairs: tuple[PairVerdict, ...]
    claims: tuple[Claim, ...]


def judge(
    collection: Collection,
    published: Mapping[Place, Published],
    rules: VerdictRules,
    declared: VerdictRules | None = None,
) -> Verdicts:
    """The verdicts on every protocol of a collection. `declared`: what was declared, where `rules` were changed."""
    no_cells = _no_cells(collection)
    protocols = collection.protocols
    return Verdicts(
        collection,
        rules,
        declared or rules,
        no_cells,
        tuple(c for name in protocols if not no_cells for c in cells(collection, name, published, rules)),
        tuple(pair for name in protocols for pair in pairs(collection, name, published, rules)),
        tuple(claim for name in protocols for claim in claims(collection, name, published, rules)),
    )


def _no_cells(collection: Collection) -> str:
    found, resized = differences(collection)
    if resized:
        return f"the sizes of profile {collection.profile} are not the paper's ({', '.join(found)})"
    if collection.accuracy_mode != _PUBLISHED_MODE:
        return f"the published accuracies are {_PUBLISHED_MODE}, these are {collection.accuracy_mode}"
    return ""
