"""Work in several threads ends when the main thread is interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from models import workers


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_ctrl_c_ends_items_that_would_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """And items that have not begun never do. Afterwards all is as before."""
    wait, ended, begun = workers.wait, list[int](), threading.Barrier(3)

    def endless(item: int) -> None:
        begun.wait(60)
        try:
            while True:
                time.sleep(0.001)
                workers.checkpoint()
        finally:
            ended.append(item)

    def pressed(work: object) -> object:
        monkeypatch.setattr(workers, "wait", wait)
        begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "wait", pressed)
    with pytest.raises(KeyboardInterrupt):
        workers.parallel(endless, range(5))
    assert sorted(ended) == [0, 1]
    workers.checkpoint()
    assert workers.parallel(lambda item: 2 * item, range(5)) == [0, 2, 4, 6, 8]
