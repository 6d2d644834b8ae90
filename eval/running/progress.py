"""The progress bar of long work, with time left; on a stream that is no terminal, a line now and then."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_SECONDS = 30.0


class Bar:
    """A bar over `total` steps on stderr. The time left is estimated from the last minutes, validations included.
    Steps that take long may be told in parts. `after`: of work beside the point, seconds before its bar comes; a stream
    that is no terminal gets a line of it only where it takes as long as lines are apart."""

    def __init__(self, title: str, total: int, done: float = 0, enabled: bool = True, after: float = 0.0) -> None:
        self.title, self.total, self.first, self.done = title, total, done, done
        self.enabled, self.after, self.aside = enabled, after, after > 0
        self.console = Console(stderr=True)
        self.began = self.last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            speed_estimate_period=300.0,
            disable=not (enabled and self.console.is_terminal),
        )
        self._lock, self._told = threading.Lock(), self.first
        self._task = self._bar.add_task(title, total=total, note="")
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> Bar:
        if not self.after:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        long = time.monotonic() - self.began >= (LINE_EVERY_SECONDS if self.aside else 0.0)
        if (
            kind is None  # an error is told by its own line, and nothing is over
            and self.enabled
            and not self.console.is_terminal
            and self.done > self.first
            and long
            and self._told != self.done
        ):
            self._line("")

    def at(self, done: float, note: str = "") -> None:
        """`done` steps of the total are over."""
        self.done = done
        if self.after and time.monotonic() - self.began >= self.after:
            self.after = 0.0
            self._bar.start()
        self._bar.update(self._task, completed=done, note=note)
        if self.enabled and not self.console.is_terminal and time.monotonic() - self.last_line > LINE_EVERY_SECONDS:
            self._line(note)

    def advance(self, steps: float = 1) -> None:
        """One more step is over, or a part of one; from any thread."""
        with self._lock:
            self.at(self.done + steps)

    def say(self, note: str) -> None:
        """Another note beside the bar, between two steps."""
        self.at(self.done, note)

    def _line(self, note: str) -> None:
        self.last_line, self._told = time.monotonic(), self.done
        seconds = self.last_line - self.began
        left = seconds / (self.done - self.first) * (self.total - self.done) if self.done > self.first else 0.0
        left = max(0.0, left)  # parts of steps may add up to a little more than all of them
        # Parts of steps add up to whole ones but for their rounding.
        whole = abs(self.done - round(self.done)) < 1e-6
        done = f"{round(self.done)} of {self.total}" if whole else f"{100 * self.done / self.total:.3g} %"
        words = f"{self.title}: {done}, {note}{', ' if note else ''}{_words(seconds)}, {_words(left)} left"
        print(words, file=self.console.file, flush=True)


def _words(seconds: float) -> str:
    """`40 s`, `12 min`, `5.2 h`, `3.1 days`."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 10 * size or (seconds >= 2 * size and unit != "min"):
            return f"{seconds / size:.0f} {unit}" if unit == "min" else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
