"""Parameters of a test of which the default suite takes a sample, and `make test-slow` the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[str], sample: set[str]) -> list[Any]:
    """The cases as parameters; those outside the sample are marked slow. ValueError for a sample that is no part."""
    listed = list(cases)
    if not sample <= set(listed):
        raise ValueError(f"not among the cases: {sorted(sample - set(listed))}")
    return [case if case in sample else pytest.param(case, marks=pytest.mark.slow) for case in listed]
