"""A file of predictions with its scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eval.measuring.llm.leval.data import Prediction, read_predictions
from eval.measuring.llm.leval.scoring import Scored, Scoring, floor, score
from eval.measuring.llm.leval.tasks import TASKS, Task, of_file_name
from posgen.errors import UserError, printable


@dataclass(frozen=True)
class ScoredFile:
    """`floor`: (the best constant answer to these questions, its mean score)."""

    path: Path
    task: Task
    rows: tuple[Prediction, ...]
    results: tuple[Scored, ...]
    floor: tuple[str, float]

    @property
    def scores(self) -> list[float]:
        return [result.score for result in self.results]

    def lines(self) -> Iterator[str]:
        """A line for each row: what was read, and the score."""
        for row, result in zip(self.rows, self.results, strict=True):
            read, key = (printable(" / ".join(parts)) for parts in (result.prediction, result.gold))
            yield f"{self.path.name}, line {row.line}: read {read}, gold {key}, score {result.score:g}"


def score_file(path: Path, task: Task | None, rules: Scoring) -> ScoredFile:
    """Score every row. UserError that names the line where one cannot be scored, or whose task is not known."""
    task = task or of_file_name(path.name, exact=not rules.task_in_file_name)
    if task is None:
        raise UserError(f"{path}: its name says no task; add --task, one of {', '.join(TASKS)}")
    rows = read_predictions(path)
    results = []
    for row in rows:
        try:
            results.append(score(task, row.gold, row.prediction, rules))
        except UserError as error:
            raise UserError(f"{path}, line {row.line}: {error}") from None
    return ScoredFile(path, task, tuple(rows), tuple(results), floor(task, [row.gold for row in rows], rules))
