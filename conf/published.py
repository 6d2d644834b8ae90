"""The paper's own numbers: Tables 1 and 2, and the axes of Figure 3, from the CSV files of conf/published."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from posgen.errors import UserError


class Source(Protocol):
    """A file to read: a Path, or a resource inside a package."""

    def read_text(self, encoding: str | None = None) -> str: ...


@dataclass(frozen=True)
class Published:
    """One cell of the paper's Table 1: mean OOD accuracy in percent and what it prints after the ±."""

    ood_percent: float
    variance: float


@dataclass(frozen=True)
class Axes:
    """One panel of the paper's Figure 3: the ranges of its axes, epochs and nats."""

    epochs: tuple[float, float]
    loss: tuple[float, float]


@dataclass(frozen=True)
class PublishedAnswers:
    """A row of the paper's Table 2: L-Eval scores in percent by task, and their mean. `fine_tune`: length x steps."""

    model: str
    encoding: str
    fine_tune: str
    context: int
    scores: dict[str, float]
    average: float


def variance_from_std(std_points: float) -> float:
    """A standard deviation in points -> the paper's unit, 100 times the variance of the fractions (6.56 -> 0.43)."""
    return (std_points / 100.0) ** 2 * 100.0


def largest_std(printed_variance: float) -> float:
    """The largest standard deviation in points that prints as this variance (0.43 -> 6.6, 0.00 -> 0.71).

    The paper prints two decimals, so that 0.00 stands for anything below 0.005: taking it for no spread at all, or for
    the middle of what it stands for, would make a test surer than the paper was.
    """
    return 10.0 * math.sqrt(printed_variance + 0.005)


def load_table1(source: Source) -> dict[tuple[str, str], Published]:
    """(task, pe) -> published cell. Tasks and encodings keep the order in which the file first names them.

    Raises UserError when the file has not the columns pe, task, ood_accuracy_percent, variance_as_printed.
    """
    columns = ("pe", "task", "ood_accuracy_percent", "variance_as_printed")
    return {
        (row["task"], row["pe"]): Published(float(row[columns[2]]), float(row[columns[3]]))
        for row in _rows(source, columns)
    }


def load_figure3(source: Source) -> dict[str, Axes]:
    """task -> the ranges of its panel in the paper, in the paper's order.

    Raises UserError when the file has not the columns task, epoch_min, epoch_max, loss_min, loss_max.
    """
    columns = ("task", "epoch_min", "epoch_max", "loss_min", "loss_max")
    return {
        row["task"]: Axes(
            (float(row["epoch_min"]), float(row["epoch_max"])), (float(row["loss_min"]), float(row["loss_max"]))
        )
        for row in _rows(source, columns)
    }


def _rows(source: Source, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(source.read_text(encoding="utf-8")))
    if tuple(reader.fieldnames or ()) != columns:
        raise UserError(f"{source}: the columns should be {', '.join(columns)}; restore the file")
    return list(reader)


def table1() -> dict[tuple[str, str], Published]:
    """(task, position encoding) -> what Table 1 prints for it, in its order."""
    return load_table1(files("conf") / "published" / "table1.csv")


def figure3() -> dict[str, Axes]:
    """Task -> the axes of its panel in Figure 3."""
    return load_figure3(files("conf") / "published" / "figure3.csv")


def table1_names() -> tuple[list[str], list[str]]:
    """(tasks, position encodings) of Table 1 in its order: what `all` means."""
    places = table1()
    return list(dict.fromkeys(task for task, _ in places)), list(dict.fromkeys(pe for _, pe in places))


_TABLE2_TASKS = {"coursera": "coursera", "gsm": "gsm", "quality": "quality", "toefl": "tpo", "codeu": "codeU",
                 "sfiction": "sci_fi"}  # fmt: skip


def table2() -> list[PublishedAnswers]:
    """The rows of Table 2 in its order, tasks by their L-Eval names."""
    columns = ("model", "pe", "fine_tune", "context", *_TABLE2_TASKS, "average")
    return [
        PublishedAnswers(
            row["model"], row["pe"], row["fine_tune"], int(row["context"]),
            {task: float(row[column]) for column, task in _TABLE2_TASKS.items()}, float(row["average"]),
        )
        for row in _rows(files("conf") / "published" / "table2.csv", columns)
    ]  # fmt: skip
