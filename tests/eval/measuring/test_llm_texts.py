"""Texts of every format, read as the libraries that write them would have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.measuring.llm.texts import Document, choose, read, tokenised
from posgen.errors import UserError

TEXTS = ["a b", "ccc"]


def letters(text: str, **_: Any) -> dict[str, list[int]]:
    """A tokenizer: the ordinals of the characters."""
    return {"input_ids": [ord(character) for character in text]}


def ids(path: Path | list[Path], **options: Any) -> list[list[int]]:
    paths = path if isinstance(path, list) else [path]
    return [document.ids.tolist() for document in read(paths, letters, 200, **options)]


WANTED = [[97, 32, 98], [99, 99, 99]]


def write(folder: Path, form: str, field: str) -> Path:
    rows = [{"id": i, field: text} for i, text in enumerate(TEXTS)]
    path = folder / f"rows.{form}"
    if form == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.Table.from_pylist(rows).schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows))
    return path


@pytest.mark.parametrize("form", ["jsonl", "parquet", "arrow"])
@pytest.mark.parametrize("field", ["text", "input", "report", "content", "body"])
def test_rows_of_tables(tmp_path: Path, form: str, field: str) -> None:
    options = {"text_field": "body"} if field == "body" else {}
    assert ids(write(tmp_path, form, field), **options) == WANTED


def test_a_data_set_that_datasets_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"input_ids": WANTED, "tokenized_len": [3, 3]}).save_to_disk(str(tmp_path / "saved"))
    assert ids(tmp_path / "saved") == WANTED
    named = [document.name for document in read([tmp_path / "saved"], letters, 200)]
    assert named == ["saved:1", "saved:2"]


def test_text_goes_before_ids_in_the_guess_and_a_name_decides(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    path.write_text(json.dumps({"input_ids": [5, 6], "text": "a b"}))
    assert ids(path) == WANTED[:1]
    assert ids(path, ids_field="input_ids") == [[5, 6]]


def test_a_folder_by_name_and_chosen_documents(tmp_path: Path) -> None:
    for name, text in (("b", "ccc"), ("a", "a b"), ("z", "z")):
        (tmp_path / f"{name}.txt").write_text(text)
    assert ids(tmp_path) == [*WANTED, [122]]
    assert ids(tmp_path, names=["z", "a"]) == [[122], WANTED[0]]
    with pytest.raises(UserError, match=r"documents=y: one of a, b, z"):
        ids(tmp_path, names=["y"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"text": 3}', "neither a text nor a list of token ids"),
        ('{"input_ids": [1, 200]}', "token 200 is beyond the model's vocabulary of 200"),
        ('{"input_ids": [1, -1]}', "token -1 is beyond"),
        ('{"title": "x"}', "name the column with --text-field or --ids-field"),
        ("{", "is damaged, or no .jsonl"),
        ("[1]", "line 1 is no object"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match=told):
        ids(tmp_path / "a.jsonl")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no table")
    (tmp_path / "b.arrow").write_bytes(b"no table")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "d.csv").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, told in (("a.parquet", "damaged"), ("b.arrow", "damaged"), ("c.txt", "not UTF-8"),
                       ("d.csv", "ends in .txt"), ("empty", "the folder has no")):  # fmt: skip
        with pytest.raises(UserError, match=told):
            ids(tmp_path / name)
    (tmp_path / "e.jsonl").write_text('{"text": "a"}')
    with pytest.raises(UserError, match=r"--text-field=body: e\.jsonl has text"):
        ids(tmp_path / "e.jsonl", text_field="body")


def documents(*lengths: int) -> list[Document]:
    return [tokenised(str(n), np.arange(n) + index) for index, n in enumerate(lengths)]


def test_the_first_and_random_ones_of_enough_tokens() -> None:
    made = documents(5, 1, 7, 9, 3)
    names = [d.name for d in choose(iter(made), 3, 2, "first", 0)]
    assert names == ["5", "7"]
    assert [d.name for d in choose(iter([*made, made[0]]), 0, None, "first", 0)] == ["5", "1", "7", "9", "3"]
    drawn = {tuple(d.name for d in choose(iter(made), 3, 2, "random", seed)) for seed in range(30)}
    assert len(drawn) == 6  # every pair of the four
    assert choose(iter(made), 3, 2, "random", 1)[0].name == choose(iter(made), 3, 2, "random", 1)[0].name


def test_the_first_ones_are_not_read_beyond_the_last() -> None:
    def endless() -> Any:
        yield from documents(4, 5)
        raise AssertionError

    assert len(choose(endless(), 0, 2, "first", 0)) == 2
