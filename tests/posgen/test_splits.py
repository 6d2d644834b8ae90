"""Splits and the shuffle behind them: nothing twice, nothing missing, the same prefixes whoever draws them."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posgen import permutation
from posgen.errors import BadValue
from posgen.spec import DataSpec, Splits, Task
from posgen.splits import draw
from tests.committed import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "sequences.json").read_text())
NAMES = ("train", "validation", "test")


Sizes = tuple[int, int, int]


def sized(train: int, validation: int, test: int, seed: int = 0, splits: Splits = Splits.disjoint) -> DataSpec:
    return DataSpec(train_size=train, validation_size=validation, test_size=test, seed=seed, splits=splits)


def rows(tokens: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(row) for row in tokens.tolist()]


@st.composite
def small_tasks(draw_: st.DrawFn) -> Task:
    far = draw_(st.integers(0, 4))
    return Task(modulus=draw_(st.integers(2, 40)), far=far, near=draw_(st.integers(0 if far else 1, 4)))


@settings(deadline=None)
@given(
    task=small_tasks() | st.just(Task(modulus=32_000, far=4, near=4)) | st.just(Task(modulus=2, far=64, near=64)),
    sizes=st.tuples(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 2**32 - 1),
)
def test_disjoint_splits_are_distinct_in_range_and_repeatable(task: Task, sizes: Sizes, seed: int) -> None:
    assume(sum(sizes) <= task.modulus**task.prefix_length)
    data = sized(*sizes, seed=seed)
    drawn = draw(task, data)
    assert tuple(drawn) == NAMES
    assert [part.shape for part in drawn.values()] == [(size, task.prefix_length) for size in sizes]
    assert all(part.dtype == (np.uint8 if task.modulus <= 256 else np.uint16) for part in drawn.values())
    assert all(part.max() < task.modulus for part in drawn.values())
    everything = [row for part in drawn.values() for row in rows(part)]
    assert len(set(everything)) == sum(sizes)
    again = draw(task, data)
    assert all(np.array_equal(drawn[name], again[name]) for name in NAMES)


@pytest.mark.parametrize(("modulus", "far", "near"), [(3, 1, 1), (2, 2, 2), (7, 1, 3), (13, 0, 1)])
def test_every_prefix_can_be_used_up(modulus: int, far: int, near: int) -> None:
    everything = set(itertools.product(range(modulus), repeat=far + near))
    for validation, test in ((1, 1), (2, 3), (5, 1)):
        sizes = (len(everything) - validation - test, validation, test)
        drawn = draw(Task(modulus=modulus, far=far, near=near), sized(*sizes))
        assert {row for part in drawn.values() for row in rows(part)} == everything


@pytest.mark.parametrize("task", [Task(), Task(modulus=32_000, far=4, near=4), Task(modulus=101, far=2, near=2)])
def test_a_split_does_not_depend_on_the_size_of_another(task: Task) -> None:
    small, large = draw(task, sized(300, 20, 30)), draw(task, sized(500, 60, 40))
    for name in NAMES:
        assert np.array_equal(small[name], large[name][: len(small[name])])


def test_seeds_draw_different_prefixes() -> None:
    first, second = draw(Task(), sized(1000, 100, 100, seed=1)), draw(Task(), sized(1000, 100, 100, seed=2))
    shared = set(rows(first["train"])) & set(rows(second["train"]))
    # 1000 * 1000 / 83,521 = 12 by chance
    assert len(shared) < 40
    assert rows(first["train"]) != rows(second["train"])


@pytest.mark.parametrize("modulus_far_near", [(17, 1, 3), (32, 2, 3), (16, 4, 4), (2, 10, 20)])
def test_tokens_are_uniform_at_every_place_and_independent_of_the_next(modulus_far_near: tuple[int, int, int]) -> None:
    modulus, far, near = modulus_far_near
    drawn = draw(Task(modulus=modulus, far=far, near=near), sized(20_000, 1_000, 1_000))["train"].astype(np.int64)

    def chi_square_per_freedom(values: np.ndarray, kinds: int) -> float:
        expected = len(values) / kinds
        return float(((np.bincount(values, minlength=kinds) - expected) ** 2 / expected).sum() / (kinds - 1))

    bound = 1 + 6 * np.sqrt(2 / (modulus - 1))  # six standard deviations above the mean
    pairs_bound = 1 + 6 * np.sqrt(2 / (modulus**2 - 1))
    for place in range(far + near):
        assert chi_square_per_freedom(drawn[:, place], modulus) < bound
        rows_in_turn = drawn[:-1, place] * modulus + drawn[1:, place]
        assert chi_square_per_freedom(rows_in_turn, modulus**2) < pairs_bound
    for place in range(far + near - 1):
        side_by_side = drawn[:, place] * modulus + drawn[:, place + 1]
        assert chi_square_per_freedom(side_by_side, modulus**2) < pairs_bound


@pytest.mark.parametrize(("modulus", "width"), [(2, 2), (2, 9), (3, 5), (7, 3), (31, 2), (5, 4)])
@pytest.mark.parametrize("seed", [0, 1, 4_294_967_295])
def test_the_feistel_network_is_one_to_one(modulus: int, width: int, seed: int) -> None:
    everything = np.array(list(itertools.product(range(modulus), repeat=width)), np.uint64)
    images = permutation.feistel(everything.T.copy(), modulus, seed).T
    assert sorted(rows(images)) == rows(everything)
    assert rows(images) != rows(everything)


def test_the_sorted_shuffle_against_splitmix64_in_whole_numbers() -> None:
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def splitmix64(state: int, count: int) -> list[int]:
        out = []
        for _ in range(count):
            state = (state + golden) & mask
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            out.append(z ^ (z >> 31))
        return out

    # the generator's published test vector
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for seed in (0, 42, 4_294_967_295):
        keys = splitmix64(splitmix64(seed, 1)[0], 500)
        assert permutation.sorted_order(500, seed).tolist() == sorted(range(500), key=keys.__getitem__)


@pytest.mark.parametrize(
    ("modulus", "far", "near", "sizes"),
    [(2, 1, 2, (10_000, 1_000, 1_000)), (7, 1, 3, (2_000, 400, 2)), (3, 0, 1, (1, 10, 1)), (17, 0, 2, (1, 300, 1))],
)
def test_too_few_prefixes_name_the_largest_sizes(modulus: int, far: int, near: int, sizes: Sizes) -> None:
    task = Task(modulus=modulus, far=far, near=near)
    with pytest.raises(BadValue) as caught:
        draw(task, sized(*sizes))
    line = str(caught.value)
    assert line.startswith(f"train_size={sizes[0]}: ")
    assert f"{sum(sizes)} distinct prefixes" in line
    assert f"= {modulus}^{far + near} = {modulus ** (far + near)};" in line
    best = re.search(r"largest possible sizes are train_size=(\d+) validation_size=(\d+) test_size=(\d+)", line)
    assert best is not None
    train, validation, test = map(int, best.groups())
    assert train + validation + test == modulus ** (far + near)
    draw(task, sized(train, validation, test))


def test_two_prefixes_are_not_enough_for_three_splits() -> None:
    with pytest.raises(BadValue, match="ask for 3 distinct prefixes") as caught:
        draw(Task(modulus=2, far=0, near=1), sized(1, 1, 1))
    assert str(caught.value).endswith("= 2^1 = 2; raise modulus, far or near")


def test_released_rows_at_the_published_sizes() -> None:
    drawn = draw(Task(), sized(10_000, 1_000, 1_000, splits=Splits.released))
    table = list(itertools.combinations(range(17), 4))
    assert len(table) == 2_380
    assert rows(drawn["train"]) == [table[row % 2_380] for row in range(10_000)]
    assert rows(drawn["validation"]) == table[:1_000]
    assert rows(drawn["test"]) == table[1_000:2_000]
    assert set(rows(drawn["test"])) <= set(rows(drawn["train"]))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["subtask"])
def test_released_rows_are_those_of_the_released_code(case: dict[str, Any]) -> None:
    drawn = draw(Task(), sized(10_000, 1_000, 1_000, splits=Splits.released))
    assert drawn["train"][:4].tolist() == [row[:4] for row in case["sequences"]]


def test_released_rows_repeat_when_they_run_out_and_stop_when_they_suffice() -> None:
    tiny = draw(Task(modulus=4, far=1, near=2), sized(6, 3, 3, splits=Splits.released))
    table = [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]
    assert rows(tiny["train"]) == [*table, *table[:2]]
    assert rows(tiny["test"]) == [table[3], *table[:2]]
    huge = draw(Task(modulus=32_000, far=4, near=4), sized(5, 2, 2, splits=Splits.released))
    assert rows(huge["train"])[:2] == [(0, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6, 8)]


def test_released_rows_need_a_modulus_of_the_prefix_length() -> None:
    with pytest.raises(
        BadValue, match=r"^splits=released: needs far \+ near = 4 different tokens.*use splits=disjoint$"
    ):
        draw(Task(modulus=3), sized(5, 2, 2, splits=Splits.released))
