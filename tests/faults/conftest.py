"""The sweep that nothing disturbs, which every other is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.command import posgen
from tests.faults.numbers import litter
from tests.faults.scenes import HOW, SWEEP, workplace


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweeps of these tests lie side by side: they share their plans."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def clean(place: Path) -> Path:
    """Its folder."""
    folder = workplace(place / "clean")
    ended = posgen(folder, *SWEEP, **HOW)
    assert (ended.status, litter(folder / "results")) == (0, [])
    return folder
