"""h by name: the built-in one, users' own, and every way in which a user's own can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posgen.errors import BadValue
from posgen.functions import resolve
from posgen.generate import generate
from posgen.spec import Task

MODULE = """
import numpy as np

def product(args, modulus): return args.prod(axis=1) % modulus
def as_list(args, modulus): return [int(row[0]) for row in args]
def scribbles(args, modulus):
    first = args[:, 0].copy()
    args[:] = 0
    return first
def wrong_shape(args, modulus): return args % modulus
def scalar(args, modulus): return 1
def floats(args, modulus): return args.mean(axis=1)
def too_big(args, modulus): return args[:, 0] + modulus
def negative(args, modulus): return args[:, 0] - modulus
def raises(args, modulus): raise RuntimeError("two\\nlines")
def takes_one(args): return args[:, 0]
ragged = lambda args, modulus: [[1], [1, 2]]
constant = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg_user_h.py").write_text(MODULE)
    (tmp_path / "pg_broken_h.py").write_text("1 / 0\n")
    (tmp_path / "pg_needs_h.py").write_text("import pg_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_sum_mod() -> None:
    args = np.array([[16, 16, 16, 16], [0, 1, 2, 3]])
    assert resolve("sum_mod")(args, 17).tolist() == [64 % 17, 6]


def test_a_users_own_function() -> None:
    task = Task(modulus=7, far=1, near=2, h="pg_user_h:product")
    # recursive: 2*3*4 = 24 = 3, 3*4*3 = 36 = 1, 4*3*1 = 12 = 5
    assert generate(task, [[2, 3, 4]], 6).tolist() == [[2, 3, 4, 3, 1, 5]]
    assert generate(Task(h="pg_user_h:as_list"), [[2, 3, 4, 5]], 6).tolist() == [[2, 3, 4, 5, 2, 3]]


def test_a_function_that_writes_into_its_arguments_does_no_harm() -> None:
    task = Task(modulus=7, far=1, near=2, h="pg_user_h:scribbles")
    assert generate(task, [[2, 3, 4]], 6).tolist() == [[2, 3, 4, 2, 3, 4]]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("sum_mode", r"did you mean sum_mod\? .*, or name your own function as package.module:function"),
        ("product", "one of sum_mod, or name your own"),
        (":product", "or name your own"),
        ("pg_user_h:", "or name your own"),
        ("pg_absent_h:f", "there is no module pg_absent_h; put the folder that holds it on PYTHONPATH"),
        ("pg_needs_h:f", "there is no module pg_not_there; "),
        ("pg_broken_h:f", "importing pg_broken_h raised ZeroDivisionError"),
        ("pg_user_h:absent", "has no attribute 'absent'; name a function that the module defines"),
        ("pg_user_h:constant", "constant is not a function"),
        ("pg_user_h:wrong_shape", r"it returned shape \(1, 4\); return one token a row, shape \(1,\)"),
        ("pg_user_h:scalar", r"it returned shape \(\);"),
        ("pg_user_h:floats", "it returned float64; return integers"),
        ("pg_user_h:too_big", r"it returned tokens in 18\.\.18; return tokens in 0\.\.16"),
        ("pg_user_h:negative", r"it returned tokens in -16\.\.-16; return tokens in 0\.\.16"),
        ("pg_user_h:raises", "it raised RuntimeError: two lines; "),
        ("pg_user_h:takes_one", "it raised TypeError: .*; it is called as h"),
        ("pg_user_h:ragged", "it raised ValueError"),
    ],
)
def test_what_is_wrong_with_h_is_told_in_one_line(name: str, complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint) as caught:
        generate(Task(h=name), [[1, 2, 3, 4]], 6)
    assert str(caught.value).startswith(f"h={name}: ")
    assert "\n" not in str(caught.value)
