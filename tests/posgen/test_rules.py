"""Rules and generator: the paper's Figure 2, the released code's rows, an oracle written from the paper's text."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import posgen.generate
from posgen import rules
from posgen.errors import BadValue
from posgen.generate import generate
from posgen.rules import dependencies
from posgen.spec import Task
from tests.committed import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "sequences.json").read_text())
RULES = ("recursive", "cot", "semi_recursive")


def oracle(rule: str, m: int, j: int, k: int, seed: list[int], length: int) -> list[int]:
    """Section 4.1 of the paper word by word, a token at a time, in whole numbers of any size."""
    x = list(seed)
    for position in range(j + k, length):
        near = [x[position - back] for back in range(k, 0, -1)]
        if rule == "recursive":
            far = [x[position - k - back] for back in range(j, 0, -1)]
        elif rule == "cot":
            far = [x[index] for index in range(j)]
        else:
            first = math.floor((position - (j + k)) / 2)
            far = [x[first + index] for index in range(j)]
        x.append(sum(far + near) % m)
    return x


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    far = draw(st.integers(0, 9))
    near = draw(st.integers(0 if far else 1, 9))
    modulus = draw(st.sampled_from([2, 3, 7, 17, 255, 256, 257, 32_000]) | st.integers(2, 400))
    return Task(rule=draw(st.sampled_from(RULES)), modulus=modulus, far=far, near=near)


@pytest.mark.parametrize("rule", RULES)
def test_figure_2_of_the_paper(rule: str) -> None:
    figure = GOLDEN["figure2_of_paper"]
    task = Task(rule=rule, modulus=figure["modulus"], far=figure["j"], near=figure["k"])
    assert generate(task, [figure["seed"]], figure["length"]).tolist() == [figure[rule]]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["subtask"])
def test_rows_of_the_released_code(case: dict[str, Any]) -> None:
    task = Task(rule=case["subtask"], modulus=case["modulus"], far=case["far_j"], near=case["near_k"])
    rows = np.array(case["sequences"])
    assert generate(task, rows[:, : task.prefix_length], case["length"]).tolist() == rows.tolist()


@settings(deadline=None)
@given(task=tasks(), extra=st.integers(0, 40), data=st.data())
def test_generator_agrees_with_the_oracle(task: Task, extra: int, data: st.DataObject) -> None:
    token = st.integers(0, task.modulus - 1)
    prefix = st.lists(token, min_size=task.prefix_length, max_size=task.prefix_length)
    prefixes = data.draw(st.lists(prefix, min_size=1, max_size=4))
    length = task.prefix_length + extra
    got = generate(task, prefixes, length)
    assert got.tolist() == [oracle(task.rule, task.modulus, task.far, task.near, p, length) for p in prefixes]
    assert got.dtype == (np.uint8 if task.modulus <= 256 else np.uint16)
    assert got.flags.c_contiguous


@settings(deadline=None)
@given(task=tasks(), extra=st.integers(0, 300))
def test_far_comes_before_near_and_both_before_the_token(task: Task, extra: int) -> None:
    position = task.prefix_length + extra
    far, near = dependencies(task, position)
    both = far + near
    assert (len(far), len(near)) == (task.far, task.near)
    assert near == tuple(range(position - task.near, position))
    assert list(both) == sorted(set(both))
    assert all(0 <= index < position for index in both)


def test_sums_do_not_overflow_the_small_dtype() -> None:
    for modulus, far, near in ((256, 64, 64), (32_000, 64, 64)):
        task = Task(rule="cot", modulus=modulus, far=far, near=near)
        prefix = [modulus - 1] * 128
        assert generate(task, [prefix], 160).tolist() == [oracle("cot", modulus, far, near, prefix, 160)]


def test_arguments_reach_h_far_first_in_rising_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pg_ordered.py").write_text(
        "import numpy as np\n"
        "def h(args, modulus):\n"
        "    assert args.dtype == np.int64\n"
        "    return (args @ np.arange(1, args.shape[1] + 1)) % modulus\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = Task(rule="semi_recursive", modulus=11, far=2, near=2, h="pg_ordered:h")
    # x_4 = 1 x_0 + 2 x_1 + 3 x_2 + 4 x_3 = 5 + 2 + 27 + 12 = 46 = 2; x_5: far x_0 x_1, near x_3 x_4: 5 + 2 + 9 + 8 = 2;
    # x_6: far x_1 x_2, near x_4 x_5: 1 + 18 + 6 + 8 = 0
    assert generate(task, [[5, 1, 9, 3]], 7).tolist() == [[5, 1, 9, 3, 2, 2, 0]]


@pytest.mark.parametrize("rule", RULES)
def test_blocks_do_not_show(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(rule=rule)
    prefixes = np.random.default_rng(0).integers(0, 17, (23, 4))
    whole = generate(task, prefixes, 50)
    monkeypatch.setattr(posgen.generate, "BLOCK", 5)
    assert np.array_equal(generate(task, prefixes, 50), whole)


def test_memory_is_in_proportion_to_the_output() -> None:
    prefixes = np.random.default_rng(0).integers(0, 17, (12_000, 4), dtype=np.uint8)
    tracemalloc.start()
    try:
        out = generate(Task(rule="cot"), prefixes, 256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out.nbytes == 12_000 * 256
    assert peak < 2.5 * out.nbytes


def test_prefix_alone_is_a_sequence() -> None:
    assert generate(Task(), [[1, 2, 3, 4]], 4).tolist() == [[1, 2, 3, 4]]
    assert generate(Task(), np.empty((0, 4), np.uint8), 9).shape == (0, 9)


@pytest.mark.parametrize(
    "prefixes",
    [[[1, 2, 3]], [1, 2, 3, 4], [[1, 2, 3, 17]], [[-1, 2, 3, 4]], [[1.0, 2, 3, 4]], [[1, 2], [3]], [["a"] * 4]],
)
def test_bad_prefixes_are_refused(prefixes: list[Any]) -> None:
    with pytest.raises(BadValue, match=r"^prefix=.* 4 whole tokens .* in 0\.\.16$"):
        generate(Task(), prefixes, 10)


def test_bad_lengths_and_positions_are_refused() -> None:
    with pytest.raises(BadValue, match=r"^length=3: "):
        generate(Task(), [[1, 2, 3, 4]], 3)
    with pytest.raises(BadValue, match=r"^position=3: "):
        dependencies(Task(), 3)


@pytest.mark.parametrize("rule", rules.names())
def test_the_worked_examples_in_the_docstrings(rule: str) -> None:
    result = doctest.testmod(importlib.import_module(f"posgen.rules.{rule}"))
    assert result.attempted == 4
    assert result.failed == 0


def test_what_the_package_says_of_its_rules() -> None:
    assert rules.names() == tuple(sorted(RULES))
    assert {name: rules.rule(name).period for name in RULES} == {"recursive": 1, "cot": 1, "semi_recursive": 2}
    assert all(rules.rule(name).summary.endswith((".", ":")) for name in RULES)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("x", "rule=x: one of cot, recursive, semi_recursive"),
        ("recursiv", "rule=recursiv: did you mean recursive? (one of cot, recursive, semi_recursive)"),
        ("", "rule=: one of cot, recursive, semi_recursive"),
    ],
)
def test_an_unknown_rule_is_refused_by_the_task(name: str, remedy: str) -> None:
    with pytest.raises(BadValue, match=f"^{re.escape(remedy)}$"):
        Task(rule=name)


def test_a_new_rule_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "every_third.py").write_text(
        "PERIOD = 3\n\ndef far_start(position, far, near):\n    return (position - far - near) // 3\n"
    )
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    task = Task(rule="every_third")
    assert rules.rule("every_third").period == 3
    assert dependencies(task, 10) == ((2,), (7, 8, 9))
    assert generate(task, [[1, 2, 3, 4]], 6).tolist() == [[1, 2, 3, 4, 10, 1]]
    sys.modules.pop("posgen.rules.every_third")
    rules.rule.cache_clear()
