"""Texts for language models: read from files, turned into tokens, chosen.

A document is a text file, a line of JSON, or a row of a Parquet or Arrow table. Its text, or its ids where it is
tokenised already, is a column that is named or guessed.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posgen.errors import BadValue, UserError, nearest, os_error_reason, told

TEXT_FIELDS = ("text", "input", "report", "content")
IDS_FIELDS = ("input_ids",)
SUFFIXES = ("txt", "jsonl", "parquet", "arrow")


@dataclass(frozen=True, eq=False)
class Document:
    """A document's name, its tokens without a BOS (int64 [T]) and the sha256 of these."""

    name: str
    ids: np.ndarray
    sha: str

    @property
    def tokens(self) -> int:
        return len(self.ids)


def tokenised(name: str, ids: Sequence[int] | np.ndarray) -> Document:
    """A document of these ids."""
    array = np.ascontiguousarray(ids, dtype="<i8")
    return Document(name, array, hashlib.sha256(array.data).hexdigest()[:16])


def corpus_digest(documents: Sequence[Document]) -> str:
    """16 hex digits of the chosen documents' ids, whatever their order."""
    return hashlib.sha256(" ".join(sorted(d.sha for d in documents)).encode()).hexdigest()[:16]


def read(
    paths: Sequence[Path],
    tokenizer: Any,
    vocabulary: int,
    text_field: str | None = None,
    ids_field: str | None = None,
    names: Sequence[str] | None = None,
) -> Iterator[Document]:
    """The documents of files and folders in the order of the paths, of a folder by file name; tokens as the tokenizer
    makes them without special ones. `names`: of those alone, in that order.

    Raises BadValue or UserError in one line for a path that is none, a file that cannot be read, a column that is not
    there, and ids beyond the vocabulary.
    """
    rows = _rows([file for path in paths for file in _files(path)], text_field, ids_field)
    if names is not None:
        there: dict[str, Callable[[], Any]] = {}
        for name, content in rows:
            there.setdefault(name, content)
        for name in names:
            if name not in there:
                raise BadValue("documents", name, nearest(name, there))
        rows = iter([(name, there[name]) for name in names])
    for name, content in rows:
        yield _document(name, content(), tokenizer, vocabulary)


def choose(documents: Iterator[Document], least: int, samples: int | None, order: str, seed: int) -> list[Document]:
    """The documents of at least `least` tokens, the first `samples` or as many at random; equal ones once."""
    seen: dict[str, Document] = {}
    for document in documents:
        if document.tokens >= max(1, least):
            seen.setdefault(document.sha, document)
        if order == "first" and samples is not None and len(seen) == samples:
            break
    kept = list(seen.values())
    if order == "random" and samples is not None and len(kept) > samples:
        at = sorted(random.Random(seed).sample(range(len(kept)), samples))
        kept = [kept[i] for i in at]
    return kept


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        if (path / "dataset_info.json").is_file():  # save_to_disk of datasets
            return [path]
        files = sorted(file for suffix in SUFFIXES for file in path.glob(f"*.{suffix}"))
        if not files:
            raise BadValue("texts", path, f"the folder has no {', '.join(f'*.{s}' for s in SUFFIXES)}; name another")
        return files
    if not path.is_file():
        raise BadValue("texts", path, "there is no such file or folder; name one")
    if path.suffix.removeprefix(".") not in SUFFIXES:
        raise BadValue("texts", path, f"name a file that ends in .{', .'.join(SUFFIXES)}")
    return [path]


def _rows(
    files: Sequence[Path], text_field: str | None, ids_field: str | None
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, what reads its text or ids) of every document."""
    for file in files:
        if file.suffix == ".txt":
            yield file.stem, lambda file=file: _text(file)  # type: ignore[misc]
            continue
        for number, row in _table(file):
            field = _field(file, row, text_field, ids_field)
            yield f"{file.stem}:{number}", lambda row=row, field=field: row[field]  # type: ignore[misc]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({os_error_reason(error)}): let this user read it") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8; convert it") from None


def _table(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered rows, from 1."""
    try:
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise ValueError(f"line {number} is no object")
                        yield number, row
            return
        number = 0
        for batch in _parquet(file) if file.suffix == ".parquet" else _arrow(file):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except OSError as error:
        raise UserError(f"{file} cannot be read ({os_error_reason(error)}); name another file") from None
    except (ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} is damaged, or no {file.suffix or 'data set'} ({told(error)}); name another") from None


def _parquet(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            yield from table.iter_batches(batch_size=16)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _arrow(place: Path) -> Iterator[Any]:
    """Batches of an Arrow file, of either format, or of a data set of one split that was saved to disk."""
    import pyarrow as pa

    for file in [place] if place.is_file() else _saved(place):
        try:
            with pa.memory_map(str(file)) as source:
                try:
                    yield from pa.ipc.open_stream(source)
                except pa.ArrowInvalid:
                    opened = pa.ipc.open_file(source)
                    yield from (opened.get_batch(i) for i in range(opened.num_record_batches))
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error


def _saved(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return [folder / part["filename"] for part in state["_data_files"]]


def _field(file: Path, row: dict[str, Any], text_field: str | None, ids_field: str | None) -> str:
    """The column that holds the document: the one that is named, else the first of the usual ones that is there."""
    for option, named in (("--ids-field", ids_field), ("--text-field", text_field)):
        if named is not None:
            if named not in row:
                raise BadValue(option, named, f"{file.name} has {', '.join(map(str, row))}")
            return named
    for name in (*TEXT_FIELDS, *IDS_FIELDS):
        if name in row:
            return name
    raise UserError(f"{file}: none of {', '.join((*TEXT_FIELDS, *IDS_FIELDS))} is among {', '.join(map(str, row))}; "
                    "name the column with --text-field or --ids-field")  # fmt: skip


def _document(name: str, content: Any, tokenizer: Any, vocabulary: int) -> Document:
    if isinstance(content, str):
        return tokenised(name, tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"])
    if not isinstance(content, (list, np.ndarray)) or not all(type(token) is int for token in content):
        raise UserError(f"{name}: holds neither a text nor a list of token ids; name another column")
    document = tokenised(name, content)
    if document.tokens and not 0 <= int(document.ids.min()) <= int(document.ids.max()) < vocabulary:
        beyond = next(token for token in content if not 0 <= token < vocabulary)
        raise UserError(
            f"{name}: token {beyond} is beyond the model's vocabulary of {vocabulary}: these ids are another "
            "tokenizer's; use texts, or ids of this one"
        )
    return document
