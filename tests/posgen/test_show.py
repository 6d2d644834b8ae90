"""The explained sequence against the paper's Figure 2, drawn by hand."""

from __future__ import annotations

from typing import Any

import pytest

from posgen import rules
from posgen.errors import BadValue
from posgen.show import Row, explain, render
from posgen.spec import Task

SEED = [2, 0, 3, 1]

FIGURE_2_SEMI = """\
position   0   1   2   3   4   5   6   7   8   9  10  11
sequence   2   0   3   1   6   5   5   2   1   4   1   0
x4        [2]  0   3   1  =6
x5        [2]      3   1   6  =5
x6            [0]      1   6   5  =5
x7            [0]          6   5   5  =2
x8                [3]          5   5   2  =1
x9                [3]              5   2   1  =4
x10                   [1]              2   1   4  =1
x11                   [1]                  1   4   1  =0
"""


def test_rows_of_figure_2() -> None:
    rows = explain(Task(rule="cot", modulus=7), SEED, 12)
    assert [row.token for row in rows] == [2, 0, 3, 1, 6, 5, 0, 6, 6, 0, 0, 1]
    assert [row.is_seed for row in rows] == [True] * 4 + [False] * 8
    assert rows[0] == Row(0, 2, (), ())
    assert rows[6] == Row(6, 0, far=((0, 2),), near=((3, 1), (4, 6), (5, 5)))


def test_every_row_adds_up() -> None:
    for rule in rules.names():
        for row in explain(Task(rule=rule, far=3, near=2), [16, 0, 5, 9, 16], 80)[5:]:
            assert sum(token for _, token in row.far + row.near) % 17 == row.token


def test_picture_lines_up_as_in_figure_2() -> None:
    task = Task(name="semi_recursive", rule="semi_recursive", modulus=7)
    text = render(task, explain(task, SEED, 12))
    assert FIGURE_2_SEMI in text
    assert "2 0 3 1 6 5 5 2 1 4 1 0\n" in text
    assert "\n       3      1                         seed\n" in text
    assert "\n       4      6  x0=2  x1=0 x2=3 x3=1   2 + 0 + 3 + 1 = 6\n" in text
    assert "\n       7      2  x1=0  x4=6 x5=5 x6=5   0 + 6 + 5 + 5 = 16 = 2 mod 7\n" in text


@pytest.mark.parametrize("rule", rules.names())
def test_long_sequences_leave_out_the_picture_but_no_token(rule: str) -> None:
    task = Task(rule=rule)
    text = render(task, explain(task, SEED, 64), width=100)
    assert "position  0" not in text
    table = text.split("\n\n")[-1].splitlines()
    assert len(table) == 1 + 64
    assert max(map(len, table)) <= 100


def test_a_users_own_function_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg_show_h.py").write_text("def last(args, modulus): return args[:, -1]\n")
    monkeypatch.syspath_prepend(tmp_path)
    task = Task(h="pg_show_h:last", modulus=7)
    text = render(task, explain(task, SEED, 6))
    assert "h = pg_show_h:last, modulus 7" in text
    assert "h(2, 0, 3, 1) = 1" in text


@pytest.mark.parametrize("prefix", [[], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 17], [1, 2, 3, -1], [1, 2, 3, 0.5]])
def test_bad_prefixes_name_the_remedy(prefix: list[Any]) -> None:
    with pytest.raises(BadValue, match=r"^prefix=\[.*\]: give 4 whole tokens \(far \+ near\), each in 0\.\.16$"):
        explain(Task(), prefix, 12)


def test_a_length_below_the_seed_is_refused() -> None:
    with pytest.raises(BadValue, match=r"^length=3: use at least far \+ near = 4 tokens$"):
        explain(Task(), SEED, 3)
    assert len(explain(Task(), SEED, 4)) == 4
