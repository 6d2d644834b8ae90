"""Texts as training sequences of equal length, in an order that depends on texts, tokenizer and recipe alone: every
encoding that is tuned by one recipe on the same texts sees the same batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from conf.finetuning import Recipe
from eval.measuring.llm import reading
from posgen.errors import BadValue, nearest


@dataclass(frozen=True)
class Text:
    """A document, as text or as token ids. `name`: its file without suffix, and of a table `file:row`."""

    name: str
    content: str | Sequence[int]

    @property
    def sha(self) -> str:
        """16 hex digits of its content's sha256."""
        content = self.content
        raw = content.encode() if isinstance(content, str) else np.asarray(content, "<i8").tobytes()
        return hashlib.sha256(raw).hexdigest()[:16]


def read_texts(place: Path, leave_out: Iterable[str] = (), field: str | None = None) -> Iterator[Text]:
    """The documents of a file, or of all files of a folder, by name (`eval.measuring.llm.reading`). `leave_out`: file
    names without suffix. `field`: the column of a table; None: guessed.

    Raises BadValue or UserError where there is none, or one cannot be read.
    """
    files = reading.files(place)
    out = set(leave_out)
    for name in sorted(out - {file.stem for file in files}):
        raise BadValue("leave-out", name, nearest(name, [file.stem for file in files]))
    for name, content in reading.contents([file for file in files if file.stem not in out], field, None):
        yield Text(name, reading.text_or_ids(name, content()))


@dataclass(frozen=True)
class Sequences:
    """Token ids [N, length], int32, and the sha256 of each document that they come from, by its name."""

    ids: np.ndarray
    documents: dict[str, str]
    recipe: Recipe

    def batch(self, step: int) -> np.ndarray:
        """Token ids [batch, length] of the step that comes after `step` others."""
        at = np.arange(step * self.recipe.batch, (step + 1) * self.recipe.batch)
        count = len(self.ids)
        orders = {epoch: self._order(int(epoch)) for epoch in np.unique(at // count)}
        batch: np.ndarray = self.ids[[orders[n // count][n % count] for n in at]]
        return batch

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.ids))

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the sha256 of all batches, in order: equal digests are the same training data."""
        total = hashlib.sha256()
        for step in range(self.recipe.steps):
            total.update(np.ascontiguousarray(self.batch(step), "<i4").tobytes())
        return total.hexdigest()[:16]

    @property
    def epochs(self) -> float:
        """How many times the texts are gone through."""
        return self.recipe.sequences / len(self.ids)


def sequences(
    texts: Iterable[Text], tokenizer: Any, recipe: Recipe, vocabulary: int, told: Callable[[str], object] = str
) -> Sequences:
    """Join the texts, with the tokenizer's BOS before and EOS after each as the recipe says, and cut them: the first
    `length` tokens of every `block`. What is left at the end is dropped. `told` is called with each text's name.

    Raises BadValue when the texts give fewer sequences than the recipe takes (unless it repeats them), or a token
    that the model's vocabulary does not have.
    """
    parts: list[np.ndarray] = []
    documents: dict[str, str] = {}
    for text in texts:
        told(text.name)
        documents[text.name] = text.sha
        parts.append(np.asarray(_tokens(text.content, tokenizer, recipe.separators), np.int32))
    stream = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    if len(stream) and int(stream.max()) >= vocabulary:
        raise BadValue("texts", int(stream.max()), f"is a token beyond the model's vocabulary of {vocabulary}; use the "
                       "model's own tokenizer")  # fmt: skip
    block = recipe.block or recipe.length
    count = len(stream) // block
    if not count:
        remedy = f"hold {len(stream):,} tokens, less than one sequence takes (block={block:,}); add texts"
        raise BadValue("texts", f"{len(documents)} texts", f"{remedy}, or set a smaller length or block")
    if count < recipe.sequences and not recipe.repeat:
        remedy = f"give {count:,} sequences, and {recipe.steps:,} steps of {recipe.batch:,} take {recipe.sequences:,}"
        raise BadValue("texts", f"{len(documents)} texts", f"{remedy}; add texts, take fewer steps, or set repeat=true")
    ids = stream[: count * block].reshape(count, block)[:, : recipe.length]
    return Sequences(np.ascontiguousarray(ids), documents, recipe)


def _tokens(content: str | Sequence[int], tokenizer: Any, separators: str) -> Sequence[int]:
    text = isinstance(content, str)
    ids = tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"] if text else content
    first = [tokenizer.bos_token_id] if separators == "bos_eos" else []
    last = [tokenizer.eos_token_id] if separators != "none" else []
    return [token for token in (*first, *ids, *last) if token is not None]
