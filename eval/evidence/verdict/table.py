"""Every number behind the verdicts, a line a judgement."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from conf import names
from eval.evidence.statistics import Difference
from eval.evidence.verdict.judge import Verdicts

_COLUMNS = (
    "kind", "profile", "profile_label", "protocol", "name", "task", "pe", "against", "epoch", "unit", "verdict", "n",
    "seeds", "diverged_seeds", "difference", "low", "high", "p", "p_holm", "p_equivalence", "p_equivalence_holm",
    "bootstrap_low", "bootstrap_high", "bootstrap_improvement", "improvement", "p_sign_flip", "smallest_p_sign_flip",
    "power_equal", "power_effect", "p_holds", "p_fails",
)  # fmt: skip


def tidy_csv(verdicts: Verdicts) -> str:
    """Lines of kind cell, pair, claim and part (a comparison of a claim), one table for all; six decimals, an empty
    field where there is no number. Differences: cell measured - published, pair Resonance - plain, part such that
    above 0 agrees with the claim. Units: points of OOD accuracy, or nats of validation loss."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=_COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    common = {"profile": verdicts.collection.profile, "profile_label": verdicts.collection.label}
    for line in _lines(verdicts):
        numbers = {key: f"{value:.6f}" for key, value in line.items() if isinstance(value, float)}
        writer.writerow(common | {key: value for key, value in line.items() if value is not None} | numbers)
    return out.getvalue()


def _lines(verdicts: Verdicts) -> Iterator[dict[str, object]]:
    for cell in verdicts.cells:
        yield {
            "kind": "cell", "protocol": cell.protocol, "task": cell.task, "pe": cell.pe, "against": "published",
            "unit": "points", "verdict": cell.outcome, **_seeds(cell.seeds, cell.diverged),
            **_difference(cell.difference), "p_holm": cell.p_adjusted, "p_equivalence": cell.p_equivalence,
            "p_equivalence_holm": cell.p_equivalence_adjusted, "power_equal": cell.power_equal,
            "power_effect": cell.power_effect,
        }  # fmt: skip
    for pair in verdicts.pairs:
        yield {
            "kind": "pair", "protocol": pair.protocol, "task": pair.task, "pe": pair.pe,
            "against": names.counterpart(pair.pe), "unit": "points", "verdict": pair.outcome,
            **_seeds(pair.seeds, pair.diverged), **_difference(pair.difference), "p_holm": pair.p_adjusted,
            "bootstrap_low": pair.bootstrap and pair.bootstrap.low,
            "bootstrap_high": pair.bootstrap and pair.bootstrap.high,
            "bootstrap_improvement": pair.bootstrap_improvement, "improvement": pair.improvement,
            "p_sign_flip": pair.sign_flip, "smallest_p_sign_flip": pair.smallest_sign_flip,
            "power_effect": pair.power,
        }  # fmt: skip
    for claim in verdicts.claims:
        named: dict[str, object] = {"protocol": claim.protocol, "name": claim.name, "unit": claim.unit}
        yield {
            "kind": "claim", **named, "verdict": claim.outcome, "p_holds": claim.p_holds, "p_fails": claim.p_fails,
        }  # fmt: skip
        for part in claim.comparisons:
            yield {
                "kind": "part", **named, "task": part.task, "pe": part.better, "against": part.worse,
                "epoch": part.epoch, **_seeds(part.seeds, part.diverged), **_difference(part.difference),
                "p_holm": part.p_adjusted,
            }  # fmt: skip


def _seeds(seeds: tuple[int, ...], diverged: tuple[int, ...]) -> dict[str, object]:
    return {"n": len(seeds), "seeds": " ".join(map(str, seeds)), "diverged_seeds": " ".join(map(str, diverged))}


def _difference(difference: Difference | None) -> dict[str, object]:
    if difference is None:
        return {}
    return {"difference": difference.mean, "low": difference.low, "high": difference.high, "p": difference.p}
