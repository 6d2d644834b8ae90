"""Documents for language models: texts or ids from files, turned into tokens, chosen."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.measuring.llm import reading
from posgen.errors import BadValue, UserError, nearest


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
    places = [file for path in paths for file in reading.files(path)]
    rows = reading.contents(places, text_field, ids_field)
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


def _document(name: str, content: Any, tokenizer: Any, vocabulary: int) -> Document:
    content = reading.text_or_ids(name, content)
    if isinstance(content, str):
        return tokenised(name, tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"])
    document = tokenised(name, content)
    if document.tokens and not 0 <= int(document.ids.min()) <= int(document.ids.max()) < vocabulary:
        beyond = next(token for token in content if not 0 <= token < vocabulary)
        raise UserError(
            f"{name}: token {beyond} is beyond the model's vocabulary of {vocabulary}: these ids are another "
            "tokenizer's; use texts, or ids of this one"
        )
    return document
