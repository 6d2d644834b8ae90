"""Records as pandas tables: `frame` one row a measurement, `curves` one row a validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from msgspec import structs

from eval.store.kinds import AccuracyRecord
from eval.store.records import load

_NESTED = (
    "training",
    "encoding",
    "protocol",
    "history",
    "accuracy_by_position",
    "measured_by",
    "diverged_at",
    "metrics",
    "experiment",
)


def frame(*paths: Path | str) -> pd.DataFrame:
    """One row a measurement: identity, seed, protocols and the metrics (fractions and nats) as columns.

    The nested parts (configuration, history, accuracy by position) stay in the records; `curves` unfolds the history.
    """
    records = load(*map(Path, paths))
    names = [name for name in AccuracyRecord.__struct_fields__ if name not in _NESTED]
    return pd.DataFrame(
        [
            {**{name: getattr(r, name) for name in names}, **(structs.asdict(r.metrics) if r.metrics else {})}
            for r in records
        ]
    )


def curves(*paths: Path | str, keys: Sequence[str] = ("task", "pe", "protocols", "seed")) -> pd.DataFrame:
    """One row a validation, with the record's `keys` in front: what Figure 3 is drawn from."""
    records = load(*map(Path, paths))
    return pd.DataFrame(
        [{**{key: getattr(r, key) for key in keys}, **structs.asdict(row)} for r in records for row in r.history]
    )
