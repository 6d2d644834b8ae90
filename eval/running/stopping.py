"""Signals that ask a training for an end: what they do at once, and what they say."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Sent ahead of a preemption by schedulers such as Slurm, often together with SIGTERM.
_WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Stopping:
    """Set by the first Ctrl-C, SIGTERM, SIGHUP (a terminal that is closed), SIGUSR1 or SIGUSR2 (a scheduler's warning):
    training saves its state and ends after its step, tests end with what they measure. A second one, unless it is a
    warning, ends the process at once. `signal`: the first, or a scheduler's warning that came later."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.testing = False
        """Whether what was trained is saved already: then only tests are left, or being made."""

    @property
    def asked(self) -> bool:
        return self.signal is not None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.asked and signum in _WARNINGS:
            self.signal = signum
            return
        if not self.asked or self.signal in _WARNINGS:
            self.signal = signum
            say(
                "ending after these tests; a second signal ends at once, and they are made again"
                if self.testing
                else "saving after this step; a second signal ends at once, without it"
            )
            return
        lost = "tests are made again" if self.testing else "what was learnt since the last saved state is lost"
        say(f"ended at once: {lost}")
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)


def say(line: str) -> None:
    """A line on stderr, even where nobody reads it."""
    with contextlib.suppress(OSError):  # the terminal may be gone: that is what SIGHUP says
        print(f"posgen: {line}", file=sys.stderr, flush=True)


@contextmanager
def stop_on_signal() -> Iterator[Stopping]:
    """While this lasts, the signals that `Stopping` names ask for an end. Outside the main thread nothing does."""
    stopping = Stopping()
    before = {}
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    try:
        for number in (signal.SIGINT, signal.SIGTERM, *hangup, *_WARNINGS):
            before[number] = signal.signal(number, stopping)
    except ValueError:  # not in the main thread: signals are the caller's business
        pass
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
