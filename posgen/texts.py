"""Texts as a task: bytes of files are the tokens, each file is one document, and documents are never divided.

A corpus is a folder of .txt files or a pattern of file names. Files are taken whole, as bytes, whatever their encoding:
nothing is decoded, normalised or stripped. Its identity is the sha256 of the contents, so that names and places do not
matter and an edited file is another task. Every choice is a sort by sha256 of the seed and the content: it does not
depend on a random generator, and stays what it is on every machine.
"""

from __future__ import annotations

import functools
import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posgen.errors import BadValue, UserError, os_error_reason, os_error_remedy, require
from posgen.resources import free_memory, size
from posgen.spec import DataSpec, Splits, Task

ENDING = ".txt"
PREPARE = "posgen llm prepare --texts"
"""The command that puts the plays where conf/task/text.yaml looks for them."""


@dataclass(frozen=True)
class Document:
    """A file of a corpus: its name, its bytes, and their sha256 (hex)."""

    name: str
    content: bytes
    sha256: str


Windows = list[tuple[Document, int]]
"""(document, first byte) of sequences."""


def identified(task: Task) -> Task:
    """The task with the identity of the files that its corpus names now.

    Raises `BadValue("corpus", ...)` for a corpus that is not there, has fewer than three documents, an empty file or
    one file twice, and UserError for a file that cannot be read.
    """
    return replace(task, texts=_identity(_files(task.corpus)))


def cut(task: Task, data: DataSpec) -> tuple[dict[str, np.ndarray], dict[str, list[dict[str, Any]]]]:
    """(split -> tokens uint8 [N, L], split -> name, bytes and sha256 of its documents).

    Documents are shuffled by `data.seed`. From the front, as many as test_size whole windows of test_length bytes need
    are for the test; from the back, those for validation; all between are for training. Windows do not overlap. Test
    and validation have the first ones of their documents, training a shuffled choice of all: a smaller split is the
    beginning of a larger one.

    Raises `BadValue` with the numbers where the corpus is too small, and when its files are no longer those of `task`.
    """
    released = data.splits is not Splits.disjoint
    require(not released, "splits", data.splits.value, "texts are split by document; use disjoint")
    files = _files(task.corpus)
    documents = _documents(files)
    if _identity(files) != task.texts:
        raise BadValue("task.corpus", task.corpus, "its files have changed meanwhile; run the command again")
    order = sorted(documents, key=lambda document: _rank(data.seed, document.sha256))
    test = _enough(order, data.test_size, data.test_length)
    left = order[len(test) :]
    validation = _enough(left[::-1], data.validation_size, data.test_length)
    training = left[: len(left) - len(validation)]
    windows = {
        "train": _windows(training, data.train_length),
        "validation": _windows(validation, data.test_length),
        "test": _windows(test, data.test_length),
    }
    windows["train"].sort(key=lambda window: _rank(data.seed, window[0].sha256, window[1]))
    _check_sizes(documents, windows, data)
    taken = {"train": training, "validation": validation, "test": test}
    described = {
        split: [{"name": d.name, "bytes": len(d.content), "sha256": d.sha256} for d in of_split]
        for split, of_split in taken.items()
    }
    return {split: _tokens(of_split, *data.shape(split)) for split, of_split in windows.items()}, described


def _enough(documents: Sequence[Document], count: int, length: int) -> list[Document]:
    """The first documents with `count` windows together; all of them where these are too few."""
    found, taken = 0, 0
    while found < count and taken < len(documents):
        found += len(documents[taken].content) // length
        taken += 1
    return list(documents[:taken])


def _windows(documents: Sequence[Document], length: int) -> Windows:
    """The whole windows of `length` bytes from each document's beginning on."""
    return [(d, start) for d in documents for start in range(0, len(d.content) - length + 1, length)]


def _tokens(windows: Windows, count: int, length: int) -> np.ndarray:
    """The first `count` windows as bytes [count, length]."""
    rows = [np.frombuffer(d.content, np.uint8, length, start) for d, start in windows[:count]]
    return np.stack(rows)


def _rank(*parts: object) -> str:
    """What documents and windows are shuffled by."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def _check_sizes(documents: Sequence[Document], windows: dict[str, Windows], data: DataSpec) -> None:
    # Test comes first, then validation; training has what they leave.
    for split in ("test", "validation", "train"):
        wanted, length = data.shape(split)
        found = len(windows[split])
        if found < wanted:
            total = sum(len(document.content) for document in documents)
            raise BadValue(
                f"data.{split}_size", wanted,
                f"the corpus has {len(documents)} documents of {total:,} bytes, split by document, and {found:,} whole "
                f"windows of {length:,} bytes are left for {split}; use {_smaller(found)}or more texts",
            )  # fmt: skip


def _smaller(found: int) -> str:
    return f"at most {found}, " if found else "smaller test and validation splits, "


def _files(corpus: str) -> tuple[Path, ...]:
    """The files that a corpus names, by name. Raises BadValue where there are none."""
    remedy = f"make the plays with `{PREPARE}`, or name a folder of {ENDING} files or a pattern with task.corpus=DIR"
    require(bool(corpus.strip()), "task.corpus", "''", f"no corpus is named; {remedy}")
    folder = Path(corpus)
    try:
        pattern = glob.escape(corpus) + f"/*{ENDING}" if folder.is_dir() else corpus
        files = tuple(path for path in map(Path, sorted(glob.glob(pattern))) if path.is_file())
    except (OSError, ValueError) as error:  # a name that no file system takes
        raise BadValue("task.corpus", corpus, f"cannot be looked up ({os_error_reason(error)}); {remedy}") from None
    what = f"there is no {ENDING} file in this folder" if folder.is_dir() else "there is no such folder or file"
    require(bool(files), "task.corpus", corpus, f"{what}; {remedy}")
    return files


def _identity(files: tuple[Path, ...]) -> str:
    """64 hex digits: the sha256 of the sorted sha256 of all contents."""
    try:
        state = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    except OSError as error:
        raise UserError(
            f"{error.filename}: {os_error_reason(error)}; {os_error_remedy(error, 'task.corpus')}"
        ) from None
    return _identity_of_state(state)


@functools.lru_cache(maxsize=16)
def _identity_of_state(state: tuple[tuple[Path, int, int], ...]) -> str:
    """Kept, because a plan of fifty encodings asks fifty times, as long as no file changes."""
    documents = _documents(tuple(path for path, _, _ in state))
    return hashlib.sha256("\n".join(sorted(document.sha256 for document in documents)).encode()).hexdigest()


def _documents(files: tuple[Path, ...]) -> list[Document]:
    """The files, read and checked."""
    documents: dict[str, Document] = {}
    try:
        total, free = sum(path.stat().st_size for path in files), free_memory()
        fits = free is None or 4 * total <= free
        require(
            fits, "task.corpus", files[0].parent, f"{size(total)} of texts do not fit into memory; name fewer files"
        )
        for path in files:
            content = path.read_bytes()
            require(bool(content), "task.corpus", path, "the file is empty; fill it or take it away")
            document = Document(path.name, content, hashlib.sha256(content).hexdigest())
            if twin := documents.get(document.sha256):
                # Or one text might be learnt from in training and asked for in the test.
                raise BadValue("task.corpus", path, f"is the same text as {twin.name}; take one of them away")
            documents[document.sha256] = document
    except (OSError, MemoryError) as error:
        place = getattr(error, "filename", None) or files[0].parent
        raise UserError(f"{place}: {os_error_reason(error)}; {os_error_remedy(error, 'task.corpus=DIR')}") from None
    enough = len(documents) >= 3
    require(
        enough, "task.corpus", files[0].parent, f"holds {len(documents)} documents; three splits take three or more"
    )
    return list(documents.values())
