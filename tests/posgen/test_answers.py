"""Data with hidden and interleaved answers, against loops over single tokens; and what is refused."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from posgen import files, manifest
from posgen.answers import NOT_SCORED, labels, scored
from posgen.dataset import Dataset, load, prepare
from posgen.errors import BadValue, UserError
from posgen.generate import generate
from posgen.plain import digest, identity
from posgen.rules import dependencies
from posgen.spec import Answers, DataSpec, Splits, Task
from posgen.splits import draw
from tests.posgen.hidden_tasks import NAMED, TASKS, hidden, interleaved

# Where the far token stands, from the definitions of the paper with j = 1 and k = 3.
FAR: dict[str, Callable[[int], int]] = {
    "recursive": lambda position: position - 4,
    "cot": lambda position: 0,
    "semi_recursive": lambda position: math.floor((position - 4) / 2),
}
SIZES = DataSpec(train_length=20, test_length=33, train_size=300, validation_size=40, test_size=50)


# The data, against loops over single tokens.


def mixed(x: int) -> int:
    """SplitMix64's finaliser on Python's integers (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def fresh(start: Sequence[int], position: int, modulus: int) -> int:
    """The fresh token at a position of the sequence that begins with `start`."""
    golden, state = 0x9E3779B97F4A7C15, mixed(len(start))
    for token in start:
        state = mixed((state + (token + 1) * golden) % 2**64)
    return mixed((state + (position + 1) * golden) % 2**64) % modulus


def by_hand(task: Task, start: list[int], length: int) -> tuple[list[int], list[int]]:
    """(tokens, labels) of one sequence, a token at a time."""
    m, tokens, asked = task.modulus, list(start), [NOT_SCORED] * length
    for position in range(length):
        step, is_answer = divmod(position, 2)
        value: int | None = None
        if task.answers is Answers.interleaved and is_answer and step >= 4:
            if task.rule == "recursive":
                value = (tokens[2 * (step - 4)] + tokens[position - 2]) % m
            elif step % 2 == 0:
                value = (tokens[2 * ((step - 4) // 2)] + tokens[position - 2]) % m
            else:
                value = (1 + tokens[position - 2]) % m
            asked[position] = value
        if position >= len(start):
            tokens.append(fresh(start, position, m) if value is None else value)
        if task.answers is Answers.hidden and position >= 4:
            near = tokens[position - 1] if task.near else 0
            asked[position] = (tokens[FAR[task.rule](position)] + near) % m
    return tokens, asked


@pytest.mark.parametrize("task", TASKS, ids=NAMED)
def test_data_sets_are_those_of_the_loops(task: Task, tmp_path: Path) -> None:
    made = prepare(task, SIZES, tmp_path)
    found = load(made.path)
    drawn = 12 if task.answers is Answers.hidden else 8
    for split in ("train", "validation", "test"):
        tokens, asked = getattr(found, split), (found.labels or {})[split]
        assert (asked.dtype, asked.shape) == (np.int8, tokens.shape)
        for row, label in zip(tokens[:40].tolist(), asked[:40].tolist(), strict=True):
            assert (row, label) == by_hand(task, row[:drawn], len(row))
        assert np.array_equal(asked != NOT_SCORED, np.tile(scored(task, tokens.shape[1]), (len(tokens), 1)))
        assert np.array_equal(labels(task, tokens), asked)
    starts = [tuple(row[:drawn]) for split in ("train", "validation", "test") for row in getattr(found, split).tolist()]
    assert len(set(starts)) == len(starts)  # no sequence begins as another one, in whatever split
    assert prepare(task, SIZES, tmp_path).created is False


@pytest.mark.parametrize(("modulus", "dtype"), [(2, "int8"), (128, "int8"), (129, "int16"), (32_000, "int16")])
def test_labels_hold_every_token(modulus: int, dtype: str) -> None:
    task = hidden("recursive", modulus)
    asked = labels(task, np.array([[modulus - 1, 0, 0, 0, 0]], np.uint16))
    assert (asked.tolist(), asked.dtype) == ([[-100] * 4 + [modulus - 1]], np.dtype(dtype))


@pytest.mark.parametrize("task", TASKS, ids=NAMED)
def test_sequences_go_on_the_same_way_to_any_length(task: Task) -> None:
    start = np.random.default_rng(0).integers(0, 17, (20, task.drawn_length))
    long = generate(task, start, 100)
    for length in (task.drawn_length, 33, 64):
        assert np.array_equal(generate(task, start, length), long[:, :length])
        assert np.array_equal(labels(task, long[:, :length]), labels(task, long)[:, :length])


def test_hidden_tasks_ask_about_the_same_sequences(tmp_path: Path) -> None:
    """So that rules, and the copies that are their controls, differ in the question alone."""
    made = [prepare(task, SIZES, tmp_path / task.rule / str(task.near)) for task in TASKS[:6]]
    assert len({files.checksum(data.test) for data in made}) == 1
    assert len({files.checksum((data.labels or {})["test"]) for data in made}) == 6


@pytest.mark.parametrize("modulus", [2, 5, 17, 300])
def test_tokens_are_uniform_and_independent(modulus: int) -> None:
    """Chi-square tests of single tokens, and of pairs of near and distant ones, where a p below 1e-4 is no chance."""
    starts = draw(hidden("cot", modulus), DataSpec(64, 64, 2000, 1, 1))["train"]
    rows = generate(hidden("cot", modulus), starts, 64).astype(int)
    assert stats.chisquare(np.bincount(rows.ravel(), minlength=modulus)).pvalue > 1e-4
    for apart in (1, 2, 4, 30):
        if modulus <= 17:  # each pair often enough
            counts = np.bincount((rows[:, apart:] * modulus + rows[:, :-apart]).ravel(), minlength=modulus**2)
            assert stats.chisquare(counts).pvalue > 1e-4
        assert abs(np.corrcoef(rows[:, apart:].ravel(), rows[:, :-apart].ravel())[0, 1]) < 5 / math.sqrt(rows.size / 2)


def test_tokens_of_different_positions_do_not_repeat_the_stream() -> None:
    """Neither do sequences that begin alike but for one token, nor the same tokens given in another number."""
    starts = [[0] * 12, [0] * 11 + [1], [1] + [0] * 11]
    rows = generate(hidden("cot"), starts, 2000)[:, 12:].astype(int)
    longer = generate(hidden("cot"), [[0] * 13], 2000)[:, 12:].astype(int)
    for first, second in itertools.combinations([*rows, *longer], 2):
        for shift in (0, 1, 5):
            same = np.mean(first[shift:] == second[: len(second) - shift])
            assert abs(same - 1 / 17) < 5 * math.sqrt(1 / 17 / 1988)


# Files.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(hidden("cot"), SIZES, tmp_path_factory.mktemp("hidden"))


def test_hugging_face_and_the_manifest_tell_where_nothing_is_asked(
    made: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    file = str(made.path / "train.parquet")
    opened = datasets.load_dataset("parquet", data_files=file, cache_dir=str(tmp_path))["train"]
    assert opened.column_names == ["tokens", "labels"]
    assert opened["labels"][0][:4] == [-100] * 4
    assert np.array_equal(np.array(opened["labels"]), (made.labels or {})["train"])
    described = json.loads((made.path / "manifest.json").read_text())
    assert described["task"]["answers"] == "hidden"
    assert described["splits"]["train"]["labels_not_scored"] == -100


def rewritten(made: Dataset, folder: Path, edit: Callable[[np.ndarray], None], honest: bool) -> Path:
    """A copy with other labels in train.parquet; `honest`: the manifest has their checksum."""
    copy = folder / made.path.name
    copy.mkdir()
    for file in made.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    asked = (made.labels or {})["train"].copy()
    edit(asked)
    files.write(made.train, copy / "train.parquet", asked)
    if honest:
        described = json.loads((copy / "manifest.json").read_text())
        del described["digest"]
        described["splits"]["train"]["labels_sha256"] = files.checksum(asked)
        (copy / "manifest.json").write_text(json.dumps(described))
    return copy


def other_label(asked: np.ndarray) -> None:
    asked[3, 9] = (asked[3, 9] + 1) % 17


def test_damaged_and_foreign_labels_are_told(made: Dataset, tmp_path: Path) -> None:
    copy = rewritten(made, tmp_path, other_label, honest=False)
    with pytest.raises(UserError, match=r"train\.parquet: damaged, its labels do not have the sha256"):
        load(copy)


def test_labels_that_do_not_follow_h_are_told(made: Dataset, tmp_path: Path) -> None:
    rewritten(made, tmp_path, other_label, honest=True)
    with pytest.raises(UserError, match=r"train\.parquet: its sequences do not follow h=sum_mod, was it edited"):
        prepare(hidden("cot"), SIZES, tmp_path)


def test_a_file_without_its_labels_is_told(made: Dataset, tmp_path: Path) -> None:
    copy = rewritten(made, tmp_path, other_label, honest=False)
    pq.write_table(pq.read_table(copy / "train.parquet").select(["tokens"]), copy / "train.parquet")
    with pytest.raises(UserError, match=r"it has the columns \['tokens'\], not \['tokens', 'labels'\]"):
        load(copy)


# Identities and refusals.


def test_identities_of_tasks_that_feed_answers_back_are_what_they_were() -> None:
    """Digests that the code before hidden answers gave."""
    assert digest(identity(Task())) == "24e484005c84"
    assert manifest.folder_name(Task(), DataSpec()) == "recursive-7d96dad7002f"
    others = {digest(identity(task)) for task in (*TASKS, Task(gap=2), Task(near=1), Task(near=1, gap=2))}
    assert len(others) == len(TASKS) + 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gap": -1}, "gap=-1: skip 0 to 4096"),
        ({"gap": 2, "far": 0}, "gap=2: without far tokens nothing lies between"),
        ({"answers": Answers.interleaved, "rule": "cot"}, "rule=cot: each far token serves one interleaved answer"),
        ({"answers": Answers.interleaved, "far": 2}, "far=2: interleaved answers have one far token each"),
        ({"answers": Answers.interleaved, "near": 0}, "near=0: interleaved answers continue the one before"),
        ({"rule": "text", "modulus": 256, "far": 0, "near": 1, "h": "none", "gap": 1}, "gap=1: "),
        (
            {"rule": "text", "modulus": 256, "far": 0, "near": 1, "h": "none", "answers": Answers.hidden},
            "answers=hidden: a text's answers are its tokens",
        ),
    ],
)
def test_tasks_that_make_no_sense_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadValue, match=told):
        Task(**change)


@pytest.mark.parametrize(
    ("task", "change", "told"),
    [
        (hidden("cot"), {"splits": Splits.released}, "splits=released: sorted prefixes are not random"),
        (interleaved("recursive"), {"splits": Splits.released}, "interleaved answers need random tokens"),
        (hidden("cot"), {"train_length": 11}, "train_length=11: use at least 12"),
        (interleaved("recursive"), {"train_length": 9}, "train_length=9: use at least 10"),
        (interleaved("recursive", 2), {"train_size": 300}, r"modulus\^\(2\(far\+gap\+near\)\) = 2\^8 = 256"),
        (hidden("cot", 2), {"train_size": 5000}, r"modulus\^\(tokens drawn\) = 2\^12 = 4096"),
    ],
)
def test_data_that_do_not_fit_the_task_are_refused(
    task: Task, change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    sizes = {"train_length": 20, "test_length": 33, "train_size": 50, "validation_size": 4, "test_size": 4}
    with pytest.raises(BadValue, match=told):
        prepare(task, DataSpec(**(sizes | change)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_gap_moves_the_far_token_of_a_sequence_that_feeds_answers_back() -> None:
    task = Task(rule="recursive", near=1, gap=2)
    assert task.prefix_length == 4
    assert dependencies(task, 9) == ((5,), (8,))
    (row,) = generate(task, [[1, 2, 3, 4]], 10).tolist()
    assert row == [1, 2, 3, 4, 5, 7, 10, 14, 2, 9]
