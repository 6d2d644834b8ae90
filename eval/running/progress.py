"""The progress bar of long work, with time left; on a stream that is no terminal, a line now and then."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_SECONDS = 30.0


class Bar:
    """A bar over `total` steps on stderr. The time left is estimated from the last minutes, validations included."""

    def __init__(self, title: str, total: int, done: int = 0, enabled: bool = True) -> None:
        self.title, self.total, self.first, self.done = title, total, done, done
        self.enabled = enabled
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
        self._lock = threading.Lock()
        self._task = self._bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self.enabled and not self.console.is_terminal and self.done > self.first:
            self._line("")

    def at(self, done: int, note: str = "") -> None:
        """`done` steps of the total are over."""
        self.done = done
        self._bar.update(self._task, completed=done, note=note)
        if self.enabled and not self.console.is_terminal and time.monotonic() - self.last_line > LINE_EVERY_SECONDS:
            self._line(note)

    def advance(self) -> None:
        """One more step is over; from any thread."""
        with self._lock:
            self.at(self.done + 1)

    def _line(self, note: str) -> None:
        self.last_line = time.monotonic()
        seconds = self.last_line - self.began
        left = seconds / (self.done - self.first) * (self.total - self.done) if self.done > self.first else 0.0
        words = (
            f"{self.title}: {self.done} of {self.total}, {note}{', ' if note else ''}{seconds:.0f} s, {left:.0f} s left"
        )
        print(words, file=self.console.file, flush=True)
