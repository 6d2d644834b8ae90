"""Makers of made-up records, as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eval.store.kinds import AccuracyRecord
from tests.eval import made


@pytest.fixture
def record() -> Callable[..., AccuracyRecord]:
    """Maker of one record."""
    return made.synthetic_record


@pytest.fixture
def full_sweep() -> Callable[..., list[AccuracyRecord]]:
    """Maker of a whole sweep: 12 cells, two protocols."""
    return made.synthetic_sweep
