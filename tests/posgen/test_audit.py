"""The audit against brute force over all sequences, and against facts that are proved in docs/audit.md."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posgen.audit import build
from posgen.audit.build import classes, estimate, linear_coefficients, source
from posgen.audit.enumerated import Enumerated, Independent
from posgen.audit.linear import Linear
from posgen.audit.search import Audit, audit, sets_looked_at
from posgen.audit.spans import Span
from posgen.errors import BadValue
from posgen.functions import resolve
from posgen.rules import dependencies
from posgen.spec import Answers, Task

HERE = "tests.posgen.test_audit"
RULES = ("recursive", "cot", "semi_recursive")


def weighted(args: np.ndarray, modulus: int) -> np.ndarray:
    """Linear, with coefficients 1, 2, 3, ... that composite moduli have divisors in common with, and a constant."""
    return (1 + args @ np.arange(1, args.shape[1] + 1)) % modulus


def product(args: np.ndarray, modulus: int) -> np.ndarray:
    """Not linear, and not bijective in any argument."""
    return args.prod(axis=1) % modulus


def latin(args: np.ndarray, modulus: int) -> np.ndarray:
    """Not linear for modulus 5, but bijective in every argument: cubes are a permutation there."""
    return (args**3).sum(axis=1) % modulus


def sequences(task: Task, length: int) -> Iterator[tuple[list[int], dict[int, int]]]:
    """Every sequence of the task, each as likely as the others, and the answers by position, one token at a time."""
    h = resolve(task.h)
    step = 2 if task.is_interleaved else 1
    predicted = range(task.prefix_length + step - 1, length, step)
    computed = () if task.answers is Answers.hidden else predicted
    free = [position for position in range(length) if position not in computed]
    for drawn in itertools.product(range(task.modulus), repeat=len(free)):
        tokens: list[int] = []
        answers: dict[int, int] = {}
        left = iter(drawn)
        for position in range(length):
            if position in predicted:
                far, near = dependencies(task, position)
                arguments = [tokens[p] for p in (*far, *near)]
                arguments = [1 % task.modulus] * (task.far - len(far)) + arguments  # a far token that has served
                answers[position] = int(h(np.array([arguments]), task.modulus)[0])
            tokens.append(answers[position] if position in computed else next(left))
        yield tokens, answers


class Brute:
    """Bayes accuracies by counting sequences in dictionaries."""

    def __init__(self, task: Task, length: int) -> None:
        self.all = list(sequences(task, length))

    def accuracy(self, position: int, known: Sequence[int]) -> Fraction:
        seen: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for tokens, answers in self.all:
            seen[tuple(tokens[p] for p in known)][answers[position]] += 1
        return Fraction(sum(max(counts.values()) for counts in seen.values()), len(self.all))


def audited(task: Task, length: int, window: int = 8) -> Audit:
    made = source(task, length)
    return audit(made, classes(task, made.asked), window, lambda sets: None)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[int, list[list[int]], list[int]]:
    modulus, width = draw(st.integers(2, 12)), draw(st.integers(1, 3))
    row = st.lists(st.integers(0, modulus - 1), min_size=width, max_size=width)
    return modulus, draw(st.lists(row, max_size=3)), draw(row)


@given(matrices())
@settings(max_examples=300, deadline=None)
def test_order_modulo_a_span_is_that_of_brute_force(made: tuple[int, list[list[int]], list[int]]) -> None:
    modulus, rows, row = made
    combinations = {
        tuple(int(value) % modulus for value in np.array(factors, int) @ np.array(rows, int).reshape(len(rows), -1))
        if rows
        else (0,) * len(row)
        for factors in itertools.product(range(modulus), repeat=len(rows))
    }
    order = next(d for d in range(1, modulus + 1) if tuple(d * value % modulus for value in row) in combinations)
    assert Span.of(modulus, rows).order(row) == order


SMALL = [
    (rule, modulus, far, near, h)
    for rule in RULES
    for modulus, far, near in ((2, 1, 3), (3, 1, 2), (4, 1, 2), (4, 2, 1), (5, 1, 1), (6, 1, 1), (3, 0, 2), (2, 2, 2))
    for h in ("sum_mod", f"{HERE}:weighted", f"{HERE}:product")
]


@pytest.mark.parametrize(("rule", "modulus", "far", "near", "h"), SMALL)
def test_everything_is_as_brute_force_counts_it(rule: str, modulus: int, far: int, near: int, h: str) -> None:
    task = Task(rule=rule, modulus=modulus, far=far, near=near, h=h)
    length, window = far + near + 6, 4
    result, brute = audited(task, length, window), Brute(task, length)
    for each in result.answered:
        position = each.asked.position
        lasts = [tuple(p for p in range(position - w, position) if p >= 0) for w in range(1, window + 1)]
        assert list(each.windows) == [brute.accuracy(position, last) for last in lasts]
        fars = [tuple({*last, *each.asked.far}) for last in lasts]
        assert list(each.with_far) == [brute.accuracy(position, last) for last in fars]
        nears = [tuple(p for p in last if p not in each.asked.far) for last in lasts]
        assert list(each.without_far) == [brute.accuracy(position, last) for last in nears]
        for argument, value in zip(each.asked.arguments, each.without, strict=True):
            others = [p for p in range(position) if p != argument]
            assert value == brute.accuracy(position, others)
        candidates = sorted({*lasts[-1], *each.asked.far})
        determining = [
            set(known)
            for size in range(len(candidates) + 1)
            for known in itertools.combinations(candidates, size)
            if brute.accuracy(position, known) == 1
        ]
        least = min(map(len, determining), default=-1)
        assert sorted(map(sorted, each.smallest)) == sorted(sorted(s) for s in determining if len(s) == least)
        apart = [len(s) for s in determining if not s & set(each.asked.far)]
        assert each.fewest_without_far == min(apart, default=None)


@pytest.mark.parametrize(
    ("task", "length"),
    [
        (Task(rule="semi_recursive", modulus=3, far=1, near=2), 9),
        (Task(rule="recursive", modulus=4, far=1, near=2, h=f"{HERE}:weighted"), 8),
        (Task(rule="semi_recursive", modulus=3, far=1, near=2, h=f"{HERE}:product"), 9),
        (Task(rule="cot", modulus=2, far=1, near=1, gap=1, answers=Answers.hidden), 7),
        (Task(rule="cot", modulus=2, far=1, near=1, gap=1, answers=Answers.hidden, h=f"{HERE}:product"), 7),
        (Task(rule="semi_recursive", modulus=2, far=1, near=1, answers=Answers.interleaved), 11),
    ],
)  # fmt: skip
def test_few_tokens_by_position_and_by_one_function(task: Task, length: int) -> None:
    """A function that is the same at every position sees the tokens of the set, those that there are."""
    result, brute = audited(task, length, 3), Brute(task, length)
    assert {name for one in result.sets for name in one.places} >= {1, 2, 3}
    for one in result.sets:
        known = {}
        for each in result.source.asked:
            far = {"far": each.far[0]} if each.far else {}
            places = [far.get(p, -1) if isinstance(p, str) else each.position - p for p in one.places]
            known[each.position] = [p for p in places if p >= 0]
            assert one.accuracy[each.position] == brute.accuracy(each.position, known[each.position])
        for name, positions in result.classes.items():
            counted: dict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
            for position in positions:
                (each,) = (a for a in result.source.asked if a.position == position)
                far = {"far": each.far[0]} if each.far else {}
                places = [far.get(p, -1) if isinstance(p, str) else position - p for p in one.places]
                # which tokens there are, and which are the same, may be used as well
                there = tuple(-1 if p < 0 else known[position].index(p) for p in places)
                for tokens, answers in brute.all:
                    counted[there, *(tokens[p] for p in known[position])][answers[position]] += 1
            right = sum(max(counts.values()) for counts in counted.values())
            assert one.one_function[name] == Fraction(right, len(brute.all) * len(positions))


def offsets(result: Audit, position: int) -> set[tuple[int, ...]]:
    (each,) = (each for each in result.answered if each.asked.position == position)
    return {tuple(sorted(position - p for p in known)) for known in each.smallest}


def test_the_papers_tasks_have_short_cuts() -> None:
    """What docs/findings.md and docs/audit.md say, at the paper's size."""
    recursive, cot, semi = (audited(Task(rule=rule), 104) for rule in RULES)
    assert all(offsets(recursive, position) == {(1, 5)} for position in range(5, 104))
    assert all(offsets(cot, position) == {(1, 4)} for position in range(5, 104))
    assert all((1, 4) in offsets(semi, position) for position in range(5, 104, 2))
    assert (3, 5, 6) in offsets(semi, 20)
    assert (2, 6, 8) in offsets(semi, 60)
    assert (4, 7, 8) in offsets(semi, 100)
    for result in (recursive, cot, semi):
        first, *others = result.answered
        assert (first.without_far[-1], first.fewest_without_far) == (Fraction(1, 17), None)
        assert all(each.fewest_without_far in (2, 3, 4) for each in others)


def test_the_even_short_cuts_of_the_semi_recursive_task_are_no_rule() -> None:
    """Some near tokens give the answer at every even position, but others each time: no function of three tokens that
    is the same at all of them is right much more often than a guess."""
    result = audited(Task(rule="semi_recursive"), 64)
    best = max(one.one_function["even l"] or 0 for one in result.sets if "far" not in one.places)
    assert f"{100 * float(best):.2f}" == "12.16"
    assert max(one.one_function["odd l"] or 0 for one in result.sets) == 1


@pytest.mark.parametrize("h", ["sum_mod", f"{HERE}:latin"])
@pytest.mark.parametrize("rule", RULES)
def test_hidden_answers_need_every_argument(rule: str, h: str) -> None:
    """h is bijective in each argument, the tokens are independent: without one argument every answer is as likely."""
    task = Task(rule=rule, modulus=5, far=1, gap=1, near=2, h=h, answers=Answers.hidden)
    result = audited(task, 40)
    assert isinstance(result.source, Linear if h == "sum_mod" else Independent)
    for each in result.answered:
        assert set(each.without) == {Fraction(1, 5)}
        assert [set(known) for known in each.smallest] == [set(each.asked.arguments)]


def test_hidden_and_interleaved_answers_against_brute_force() -> None:
    for task, length in (
        (Task(rule="semi_recursive", modulus=3, far=1, near=1, gap=1, answers=Answers.hidden), 7),
        (Task(rule="semi_recursive", modulus=3, near=1, answers=Answers.hidden, h=f"{HERE}:product"), 7),
        (Task(rule="recursive", modulus=2, near=1, gap=1, answers=Answers.interleaved), 16),
        (Task(rule="semi_recursive", modulus=2, near=1, answers=Answers.interleaved), 16),
        (Task(rule="recursive", modulus=2, near=1, answers=Answers.interleaved, h=f"{HERE}:product"), 14),
    ):
        result, brute = audited(task, length, 4), Brute(task, length)
        for each in result.answered:
            position = each.asked.position
            for w, value in enumerate(each.windows, 1):
                assert value == brute.accuracy(position, range(max(0, position - w), position))
            for argument, value in zip(each.asked.arguments, each.without, strict=True):
                assert value == brute.accuracy(position, [p for p in range(position) if p != argument])


@pytest.mark.parametrize("rule", ["recursive", "semi_recursive"])
def test_interleaved_answers_need_their_far_token(rule: str) -> None:
    task = Task(rule=rule, near=1, gap=2, answers=Answers.interleaved)
    for each in audited(task, 80).answered:
        assert all(value == Fraction(1, 17) for value in each.without[: len(each.asked.far)])
        assert each.asked.far or each.smallest == ((each.asked.position - 2,),)


def test_a_composite_modulus_gives_part_of_an_answer() -> None:
    """h = 1 + x_far + 2 x_near mod 4: without the near token one bit of two is known; without the far one neither."""
    task = Task(rule="recursive", modulus=4, far=1, near=1, h=f"{HERE}:weighted", answers=Answers.hidden)
    assert linear_coefficients(task) == (1, 2)
    assert {each.without for each in audited(task, 12).answered} == {(Fraction(1, 4), Fraction(1, 2))}


def test_linear_is_what_is_linear_on_all_arguments() -> None:
    assert linear_coefficients(Task(modulus=6, near=2, h=f"{HERE}:weighted")) == (1, 2, 3)
    assert linear_coefficients(Task(modulus=6, near=2, h=f"{HERE}:product")) is None
    assert linear_coefficients(Task(modulus=3, near=2, h=f"{HERE}:latin")) == (1, 1, 1)  # x^3 = x mod 3
    assert linear_coefficients(Task(modulus=32_000, far=60, near=60)) == (1,) * 120
    assert isinstance(source(Task(modulus=3, near=2, h=f"{HERE}:product"), 9), Enumerated)


@pytest.mark.parametrize(("rule", "h"), [(rule, h) for rule in RULES for h in ("sum_mod", f"{HERE}:weighted")])
def test_algebra_and_enumeration_agree(rule: str, h: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(rule=rule, modulus=6, far=1, near=2, h=h)
    algebra = audited(task, 14, 5)
    monkeypatch.setattr(build, "linear_coefficients", lambda task: None)
    counted = audited(task, 14, 5)
    assert (type(algebra.source), type(counted.source)) == (Linear, Enumerated)
    assert (algebra.answered, algebra.sets) == (counted.answered, counted.sets)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Task(modulus=97, far=2, near=4, h=f"{HERE}:product")
    with pytest.raises(
        BadValue, match=r"h=.*97\^6 = 8.3e\+11 values, and at most 6.7e\+07 are enumerated; use a smaller"
    ):
        source(large, 20)
    with pytest.raises(BadValue, match=r"2\^27 = 1.3e\+08 seeds takes"):
        source(Task(modulus=2, near=1, answers=Answers.interleaved, h=f"{HERE}:product"), 50)
    monkeypatch.setattr(build, "free_memory", lambda: 1000)
    with pytest.raises(BadValue, match=r"it is not linear, and enumerating 5\^4 = 6.2e\+02 seeds takes 0.1 MiB"):
        source(Task(modulus=5, h=f"{HERE}:product"), 20)
    with pytest.raises(BadValue, match="length=4: use 5 to 4096 tokens: the first 4 are given"):
        source(Task(), 4)
    wide = source(Task(), 200)
    with pytest.raises(BadValue, match="window=65: use 1 to 64"):
        estimate(wide, 65)
    with pytest.raises(BadValue, match=r"window=60: looking at every set would take up to \d.*use a smaller window"):
        estimate(source(Task(far=8, near=12), 200), 60)


def test_the_estimate_counts_what_is_looked_at() -> None:
    """Ticks are what `sets_looked_at` promised: the bar ends at its end."""
    for task in (Task(), Task(rule="semi_recursive", far=2, near=5)):
        made = source(task, 20)
        ticks: list[float] = []
        audit(made, classes(task, made.asked), 4, ticks.append)
        assert sum(ticks) == sets_looked_at(made.asked, 4)
