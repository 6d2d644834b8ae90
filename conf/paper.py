"""The paper's printed numbers, from conf/published."""

from __future__ import annotations

from importlib.resources import files

from eval.published import Axes, Published, load_figure3, load_table1


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
