"""Whether trainings at a lower precision end where fp32 ones do: from the records, as docs/performance.md tells."""

from __future__ import annotations

import pytest

from eval.evidence.statistics import mean_interval
from eval.store.records import load
from models.spec import ModelSpec, Precision
from tests.committed import ROOT, results

PAGE = (ROOT / "docs" / "performance.md").read_text()
MARGIN = 5.0
"""Points of accuracy: conf/verdict.yaml's margin of equivalence."""


def differences(precision: str, metric: str) -> list[float]:
    """Points, lower precision minus fp32, for each training of the same task, encoding and seed."""
    full = {
        (r.task, r.pe, r.seed): getattr(r, metric)
        for r in load(results() / "quick" / "records.jsonl")
        if "paper" in r.protocols
    }
    lower = load(results() / "quick" / precision / "records.jsonl")
    assert {r.training.model.precision.value for r in lower} == {precision}
    assert all(r.status == "finished" for r in lower)
    return [100.0 * (getattr(r, metric) - full[r.task, r.pe, r.seed]) for r in lower]


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_the_table_is_that_of_the_records(precision: str) -> None:
    cells = [precision]
    for metric in ("id_accuracy", "ood_accuracy"):
        found = differences(precision, metric)
        assert len(found) == 18
        interval = mean_interval(found, 0.95)
        assert interval is not None
        cells.append(f"{sum(found) / len(found):+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]")
    assert f"| {' | '.join(cells)} |" in PAGE


def test_the_default_is_one_that_agrees() -> None:
    """fp32, until the intervals of another lie within the margin for both accuracies."""
    default = ModelSpec().precision
    if default is not Precision.fp32:
        for metric in ("id_accuracy", "ood_accuracy"):
            interval = mean_interval(differences(default.value, metric), 0.95)
            assert interval is not None
            assert -MARGIN < interval.low <= interval.high < MARGIN
