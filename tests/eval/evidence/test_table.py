"""A table says the same in every form, and nothing in it becomes markup."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from eval.evidence.latex import latex
from eval.evidence.table import Cell, Column, Table, Words, cells, csv_text, markdown, terminal, wandb_table

NUMBER = Column("OOD", key="ood", number=True, decimals=2)
TABLE = Table(
    (Column("Encoding", key="pe"), NUMBER, Column("diff.", number=True, decimals=1, signed=True)),
    (
        (Cell("RoPE"), Cell(27.5244, "27.52 ± 4.54", strong=True), Cell(-0.04)),
        cells("a|b_c & 50 %", None, 7.05),
    ),
    title="A table",
    caption="What it shows.",
    notes=("A note.",),
)


def printed(*parts: Table | Words) -> str:
    out = io.StringIO()
    terminal(parts, Console(file=out, width=200))
    return out.getvalue()


def test_markdown_is_a_table_that_a_parser_reads_back() -> None:
    html = MarkdownIt("commonmark").enable("table").render(markdown([TABLE]))
    rows = [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", line) for line in re.findall("<tr>(.*?)</tr>", html, re.DOTALL)]
    assert rows == [
        ["Encoding", "OOD", "diff."],
        ["RoPE", "<strong>27.52 ± 4.54</strong>", "+0.0"],  # no minus zero
        ["a|b_c &amp; 50 %", "—", "+7.0"],
    ]
    assert markdown([TABLE]).startswith("**A table.** What it shows.\n\n|")
    assert markdown([TABLE]).endswith("\n\n- A note.\n")


def test_a_csv_has_values_and_not_their_texts() -> None:
    long = Table((Column("x", key="x"), Column("y")), (cells(1 / 3, True), cells(76.99999999999999, math.nan)))
    assert list(csv.reader(io.StringIO(csv_text(long)))) == [["x", "y"], ["0.333333", "True"], ["77.0", ""]]
    read = list(csv.DictReader(io.StringIO(csv_text(TABLE))))
    assert [row["ood"] for row in read] == ["27.5244", ""]
    assert [row["pe"] for row in read] == ["RoPE", "a|b_c & 50 %"]


@pytest.mark.parametrize("name", ['=HYPERLINK("http://a.example")', "=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_text_that_a_spreadsheet_would_compute_is_not(name: str) -> None:
    table = Table((Column("x"), Column("y")), (cells(name, -1.5),))
    assert list(csv.reader(io.StringIO(csv_text(table), newline="")))[1] == [f"'{name}", "-1.5"]  # a number is a number


def test_latex_leaves_no_command_in_a_text() -> None:
    text = latex(TABLE, "own")
    assert r"a|b\_c \& 50 \%" in text
    assert r"\textbf{27.52$\pm$4.54}" in text
    assert r"\label{tab:own}" in text
    unescaped = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}", "", text)
    assert not re.search(r"(?<!\\)[%#~^]", unescaped)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert [text.count(f"\\{word}{{table*}}") for word in ("begin", "end")] == [1, 1]


def test_a_terminal_shows_every_text_and_stars_what_stands_out() -> None:
    shown = printed(TABLE, Words(("A sentence [not markup].",)))
    for text in ("A table", "*27.52 ± 4.54", "a|b_c & 50 %", "What it shows.", "A note.", "[not markup]"):
        assert text in shown
    assert "[bold]" not in shown
    hostile = Table((Column("[red]x[/red]"),), (cells("[link=http://a.example]y[/link]"),), title="[blink]t[/blink]")
    assert all(
        text in printed(hostile) for text in ("[red]x[/red]", "[link=http://a.example]y[/link]", "[blink]t[/blink]")
    )


def test_sections_are_headings_in_a_terminal_and_a_column_elsewhere() -> None:
    table = Table(
        (Column("Encoding"), NUMBER), (cells("RoPE", 1.0), cells("YaRN", 2.0), cells("RoPE", 3.0)),
        sections=((0, "CoT"), (2, "Recursive")), section="Task",
    )  # fmt: skip
    rows = list(csv.reader(io.StringIO(csv_text(table))))
    assert rows == [
        ["Task", "Encoding", "ood"],
        ["CoT", "RoPE", "1.0"],
        ["CoT", "YaRN", "2.0"],
        ["Recursive", "RoPE", "3.0"],
    ]
    assert "| CoT | YaRN | 2.00 |" in markdown([table])
    lines = [line.split() for line in printed(table).splitlines() if line.strip()]
    assert [line for line in lines if len(line) == 1 and line[0].isalpha()] == [["CoT"], ["Recursive"]]


def test_groups_stand_above_their_columns() -> None:
    table = Table(
        (Column("Encoding"), Column("ID", number=True, group="paper"), Column("OOD", number=True, group="paper"),
         Column("ID", number=True, group="zero_shot")),
        (cells("RoPE", 1, 2, 3),),
    )  # fmt: skip
    head = next(line for line in markdown([table]).splitlines() if line.startswith("| Enc"))
    assert head == "| Encoding | paper ID | paper OOD | zero_shot ID |"
    assert r"\multicolumn{2}{c}{paper}" in latex(table)
    above, below = printed(table).splitlines()[:2]
    assert above.split() == ["paper", "zero_shot"]
    assert below.split() == ["Encoding", "ID", "OOD", "ID"]


def test_wandb_gets_numbers_where_a_column_holds_nothing_else() -> None:
    table = wandb_table(TABLE)
    assert table.columns == ["Encoding", "OOD", "diff."]
    assert table.data == [["RoPE", "27.52 ± 4.54", -0.04], ["a|b_c & 50 %", None, 7.05]]


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(AssertionError, match="every column"):
        Table((Column("a"), Column("b")), (cells(1),))
