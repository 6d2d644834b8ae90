"""Signals that ask a training for an end: what they do at once, and what they say."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopping:
    """Set by the first Ctrl-C, SIGTERM or SIGHUP (a terminal that is closed): training saves its state and ends after
    its step, tests end with what they measure. A second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.testing = False
        """Whether what was trained is saved already: then only tests are left, or being made."""

    @property
    def asked(self) -> bool:
        return self.signal is not None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.signal = signum
            _say(
                "ending after these tests; a second signal ends at once, and they are made again"
                if self.testing
                else "saving after this step; a second signal ends at once, without it"
            )
            return
        lost = "tests are made again" if self.testing else "what was learnt since the last saved state is lost"
        _say(f"ended at once: {lost}")
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone: that is what SIGHUP says
        print(f"posgen: {line}", file=sys.stderr, flush=True)


@contextmanager
def stop_on_signal() -> Iterator[Stopping]:
    """While this lasts, Ctrl-C, SIGTERM and SIGHUP ask for an end. Outside the main thread nothing does."""
    stopping = Stopping()
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
            before[number] = signal.signal(number, stopping)
    except ValueError:  # not in the main thread: signals are the caller's business
        pass
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
