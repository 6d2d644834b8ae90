"""Records as a pandas table, for those who want to look further than Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from eval.store.records import load

_NESTED = ("config", "history", "accuracy_by_position", "versions", "diverged_at", "metrics")


def frame(*paths: Path | str) -> pd.DataFrame:
    """One row a measurement: identity, seed, protocols and the metrics (fractions and nats) as columns.

    The nested parts (configuration, history, accuracy by position) stay in the records; `curves` unfolds the history.
    """
    records = load(*map(Path, paths))
    flat = [{**{k: v for k, v in r.items() if k not in _NESTED}, **(r["metrics"] or {})} for r in records]
    return pd.DataFrame(flat)


def curves(*paths: Path | str, keys: Sequence[str] = ("task", "pe", "protocols", "seed")) -> pd.DataFrame:
    """One row a validation, with the record's `keys` in front: what Figure 3 is drawn from."""
    records = load(*map(Path, paths))
    return pd.DataFrame([{**{k: r[k] for k in keys}, **row} for r in records for row in r["history"]])
