"""Texts as a task: documents are never divided among the splits, sequences are slices of files, edits are noticed."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posgen import manifest, texts
from posgen.dataset import prepare
from posgen.errors import BadValue, UserError
from posgen.plain import digest, identity
from posgen.show import explain
from posgen.spec import DataSpec, Splits, Task

DATA = DataSpec(train_length=16, test_length=48, train_size=40, validation_size=3, test_size=7, seed=3)
SPLITS = ("train", "validation", "test")


def write_corpus(folder: Path, documents: int = 12, seed: int = 0) -> Path:
    """Files of random bytes, of every value, not UTF-8, of lengths that no window divides."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        (folder / f"play{number:02}.txt").write_bytes(draw.randbytes(draw.randrange(150, 400)))
    return folder


def text_task(corpus: Path | str) -> Task:
    return texts.identified(Task("text", "text", modulus=256, far=0, near=1, h="none", corpus=str(corpus)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "plays")


def test_every_sequence_is_a_slice_of_a_file_of_its_split(corpus: Path, tmp_path: Path) -> None:
    """Brute force: where in which file are these bytes? Random bytes of this length occur once. No file serves two
    splits, and no two sequences of a split overlap."""
    made = prepare(text_task(corpus), DATA, tmp_path / "data")
    contents = {path.name: path.read_bytes() for path in corpus.iterdir()}
    names: dict[str, set[str]] = {}
    for split in SPLITS:
        tokens = getattr(made, split)
        rows, length = DATA.shape(split)
        assert tokens.shape == (rows, length)
        assert tokens.dtype == np.uint8
        places = []
        for row in tokens:
            found = [
                (name, content.find(row.tobytes())) for name, content in contents.items() if row.tobytes() in content
            ]
            assert len(found) == 1
            places += found
        assert all(start % length == 0 for _, start in places)
        assert len(set(places)) == rows
        names[split] = {name for name, _ in places}
        described = made.manifest["documents"][split]
        assert names[split] <= {entry["name"] for entry in described}
        for entry in described:
            content = contents[entry["name"]]
            assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    listed = [entry["name"] for split in SPLITS for entry in made.manifest["documents"][split]]
    assert sorted(listed) == sorted(contents)  # each file in exactly one split
    again = prepare(text_task(corpus), DATA, tmp_path / "data")
    assert not again.created
    assert np.array_equal(again.train, made.train)


def test_what_a_split_holds_does_not_depend_on_the_others(corpus: Path) -> None:
    few, _ = texts.cut(text_task(corpus), DATA)
    more, _ = texts.cut(text_task(corpus), replace(DATA, validation_size=9, train_size=50))
    assert np.array_equal(few["test"], more["test"])
    assert np.array_equal(few["validation"], more["validation"][:3])
    other, _ = texts.cut(text_task(corpus), replace(DATA, seed=4))
    assert not np.array_equal(few["test"], other["test"])


def test_a_moved_corpus_is_the_same_task_and_an_edited_one_is_another(corpus: Path, tmp_path: Path) -> None:
    before = text_task(corpus)
    moved = corpus.rename(tmp_path / "elsewhere")
    (moved / "play00.txt").rename(moved / "renamed.txt")
    after = text_task(moved)
    assert identity(after) == identity(before)
    assert manifest.folder_name(after, DATA) == manifest.folder_name(before, DATA)
    first, second = (texts.cut(task, DATA)[0]["train"] for task in (after, text_task(f"{moved}/*.txt")))
    assert np.array_equal(first, second)
    file = moved / "renamed.txt"
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    edited = text_task(moved)
    assert identity(edited) != identity(before)
    assert manifest.folder_name(edited, DATA) != manifest.folder_name(before, DATA)
    with pytest.raises(BadValue, match="its files have changed meanwhile"):
        texts.cut(after, DATA)


def test_the_identity_is_the_sha256_of_the_contents(corpus: Path) -> None:
    sums = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in corpus.iterdir())
    assert text_task(corpus).texts == hashlib.sha256("\n".join(sums).encode()).hexdigest()


def test_a_task_that_a_rule_computes_is_what_it_was(tmp_path: Path) -> None:
    """The digests that the code before texts gave, and a manifest without a word of them."""
    task = Task()
    assert digest(identity(task)) == "24e484005c84"
    assert manifest.folder_name(task, DataSpec()) == "recursive-7d96dad7002f"
    made = prepare(task, DataSpec(8, 16, 4, 2, 2), tmp_path)
    written = json.loads((made.path / "manifest.json").read_text())
    assert set(written["task"]) == {"name", "rule", "modulus", "far", "near", "h", "code"}
    assert "documents" not in written


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"test_size": 500},
            r"data.test_size=500: the corpus has 12 documents of [\d,]+ bytes, .* [\d,]+ whole windows",
        ),
        ({"validation_size": 60}, "data.validation_size=60: .* are left for validation; use at most "),
        ({"train_size": 5000}, "data.train_size=5000: .* windows of 16 bytes are left for train; use at most "),
        ({"splits": Splits.released}, "splits=released: texts are split by document; use disjoint"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_numbers(corpus: Path, changed: dict, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        texts.cut(text_task(corpus), replace(DATA, **changed))


def test_the_largest_train_size_that_is_named_fits(corpus: Path) -> None:
    with pytest.raises(BadValue, match="use at most") as refused:
        texts.cut(text_task(corpus), replace(DATA, train_size=5000))
    most = int(str(refused.value).partition("use at most ")[2].partition(",")[0])
    tokens, _ = texts.cut(text_task(corpus), replace(DATA, train_size=most))
    assert len(tokens["train"]) == most


def test_bad_corpora_are_one_line_each(tmp_path: Path) -> None:
    with pytest.raises(
        BadValue, match="there is no such folder or file; make the plays with `posgen llm prepare --texts`"
    ):
        text_task(tmp_path / "missing")
    with pytest.raises(BadValue, match=r"task.corpus='': no corpus is named"):
        text_task("")
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadValue, match=r"there is no .txt file in this folder"):
        text_task(tmp_path / "bare")
    with pytest.raises(BadValue, match="holds 2 documents; three splits"):
        text_task(write_corpus(tmp_path / "two", 2))
    empty = write_corpus(tmp_path / "empty")
    (empty / "nothing.txt").touch()
    with pytest.raises(BadValue, match=r"nothing.txt: the file is empty"):
        text_task(empty)
    twice = write_corpus(tmp_path / "twice")
    (twice / "again.txt").write_bytes((twice / "play03.txt").read_bytes())
    with pytest.raises(BadValue, match=r"is the same text as again.txt"):
        text_task(twice)
    for error in (UserError, ValueError):
        with pytest.raises(error) as told:
            text_task(tmp_path / "missing\n\0name")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(("key", "value"), [("modulus", 17), ("far", 1), ("near", 3), ("h", "sum_mod")])
def test_a_text_has_one_form(key: str, value: object) -> None:
    form: dict[str, Any] = {"rule": "text", "modulus": 256, "far": 0, "near": 1, "h": "none"}
    with pytest.raises(BadValue, match=f"^{key}="):
        Task(**{**form, key: value})


def test_a_text_has_no_rule_to_show(corpus: Path) -> None:
    with pytest.raises(BadValue, match="has no rule to explain"):
        explain(text_task(corpus), [1], 4)
