"""Scored files of predictions as a table."""

from __future__ import annotations

from collections.abc import Sequence

from eval.evidence.llm.answers import standard_error
from eval.evidence.table import Column, Table, cells
from eval.measuring.llm.leval.scored_file import ScoredFile


def table(files: Sequence[ScoredFile], scoring: str) -> Table:
    """A row for each file: its task, score and standard error in percent, and the best constant answer's score."""
    columns = (
        Column("File"), Column("Task"), Column("Questions", number=True), Column("Score", number=True, decimals=4),
        Column("± SE", "standard_error", number=True, decimals=2), Column("Floor", number=True, decimals=2),
        Column("Floor's answer"),
    )  # fmt: skip
    rows = []
    for file in files:
        scores = file.scores
        judgements = sum(len(r.scores) for r in file.results) if file.task.judgements > 1 else None
        answer, lowest = file.floor
        rows.append(cells(
            "/".join(file.path.parts[-2:]), file.task.name, len(scores), 100 * sum(scores) / len(scores),
            100 * standard_error(scores, judgements), 100 * lowest, answer[:30],
        ))  # fmt: skip
    notes = ["Floor: the best that one and the same answer to every question would score."]
    for file in files:
        if file.task.answer == "truth":
            loyalty, fact = (
                100 * sum(part) / len(part) for part in zip(*(r.scores for r in file.results), strict=True)
            )
            notes.append(f"{file.path.name}: by the document {loyalty:.2f}, by the facts {fact:.2f}")
    return Table(columns, tuple(rows), "", f"Scores in percent, scoring {scoring}.", tuple(notes))
