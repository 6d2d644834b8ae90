"""What a benchmark is: its task and its splits, as plain values that check themselves.

Source: arXiv 2403.00071, section 4 (PosGen). Lengths count generated and seed tokens, never the BOS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from posgen import rules
from posgen.errors import require
from posgen.naming import check_name

TEXT = "text"
"""The `rule` of a task whose sequences are read from files (posgen.texts) instead of computed by a rule."""
BYTES = 256


class Splits(Enum):
    """How the seed prefixes are divided among the splits: ledger row 1."""

    disjoint = "disjoint"
    released = "released"


class Answers(Enum):
    """What becomes of the right answer at a position (docs/hidden-answers.md).

    `fed_back` (the paper): the answer is the next token, x_l = h(...), and later answers are computed from it.
    `hidden`: all tokens are independent and uniform; the answer is a label, the model's target and never its input.
    `interleaved`: tokens alternate, a fresh uniform one, then an answer; each fresh one is the far token of one answer.
    """

    fed_back = "fed_back"
    hidden = "hidden"
    interleaved = "interleaved"


DRAWN = 12
"""Tokens at the beginning of a sequence with hidden answers that no two sequences of a data set have in common: enough
for 17^12 sequences."""


@dataclass(frozen=True)
class Task:
    """One subtask of PosGen: the answer at l is h(far tokens, near tokens) over the vocabulary {0..modulus-1}.

    `rule` names a module of posgen.rules. `far` (the paper's j) and `near` (k) count the tokens; `gap` tokens between
    the far and the near ones are skipped (the paper: none). The first far + gap + near tokens are the seed. `h` names
    a function of posgen.functions or, as `package.module:function`, one of the user's own. `answers` says whether the
    answers are tokens of the sequence.

    With rule `text` the tokens are the bytes of text files and nothing is computed: modulus 256, h `none`, far 0 and
    near 1, which says that the first byte of a sequence is given and every later one is predicted. `corpus` says where
    the files are, `texts` which they are.
    """

    name: str = "recursive"
    rule: str = "recursive"
    modulus: int = 17
    far: int = 1
    near: int = 3
    h: str = "sum_mod"
    # Of a user's own h the sha256 of its file (12 hex digits): an edited function is another task.
    code: str = field(default="", metadata={"neutral": ""})
    # Of a text: a folder of .txt files, or a pattern. A place is no part of an identity: a corpus may be moved.
    corpus: str = field(default="", metadata={"neutral": "", "place": True})
    # Of a text: the sha256 of its files' contents (posgen.texts), so that an edited file is another task.
    texts: str = field(default="", metadata={"neutral": ""})
    gap: int = field(default=0, metadata={"neutral": 0})
    answers: Answers = field(default=Answers.fed_back, metadata={"neutral": Answers.fed_back.value})

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if self.is_text:
            self._check_text()
        else:
            rules.rule(self.rule)
        require(2 <= self.modulus <= 32_000, "modulus", self.modulus, "use 2 to 32000 (the paper: 17)")
        require(0 <= self.far <= 64, "far", self.far, "use 0 to 64 far tokens (the paper: 1)")
        require(0 <= self.near <= 64, "near", self.near, "use 0 to 64 near tokens (the paper: 3)")
        require(self.far + self.near >= 1, "near", self.near, "far + near must be at least 1")
        require(0 <= self.gap <= 4096, "gap", self.gap, "skip 0 to 4096 tokens between far and near (the paper: 0)")
        require(self.gap == 0 or self.far > 0, "gap", self.gap, "without far tokens nothing lies between: use gap=0")
        if self.is_interleaved:
            self._check_interleaved()

    def _check_interleaved(self) -> None:
        require(self.far == 1, "far", self.far, "interleaved answers have one far token each: use far=1")
        require(self.near >= 1, "near", self.near, "interleaved answers continue the one before: use near=1 or more")
        rule, width = rules.rule(self.rule), self.gap + self.near
        starts = [rule.far_start(step, self.far, width) for step in range(self.steps_given, self.steps_given + 64)]
        remedy = (
            "each far token serves one interleaved answer, and this rule's never moves: use recursive or semi_recursive"
        )
        require(starts[0] != starts[-1], "rule", self.rule, remedy)

    def _check_text(self) -> None:
        """A text has one form, so that equal texts are equal tasks."""
        profiles = "a profile for texts has that: text, text_quick or text_smoke"
        require(self.modulus == BYTES, "modulus", self.modulus, f"a text has {BYTES} bytes: use {BYTES}; {profiles}")
        for key, value in (("far", 0), ("near", 1), ("h", "none"), ("gap", 0)):
            given = getattr(self, key)
            require(given == value, key, given, f"a text is read and not computed: use {key}={value}")
        fed_back, answers = Answers.fed_back, self.answers.value
        require(self.answers is fed_back, "answers", answers, "a text's answers are its tokens: use answers=fed_back")

    @property
    def is_text(self) -> bool:
        """Whether the sequences are read from files. Such a task is measured by its losses, not by accuracy."""
        return self.rule == TEXT

    @property
    def is_interleaved(self) -> bool:
        """Whether every second token only is an answer."""
        return self.answers is Answers.interleaved

    @property
    def steps_given(self) -> int:
        """Answers that the rule does not define, at the beginning: far + gap + near."""
        return self.far + self.gap + self.near

    @property
    def prefix_length(self) -> int:
        """Seed tokens of a sequence, given and never predicted: far + gap + near, and of interleaved answers twice as
        many, as each has a fresh token before it."""
        return self.steps_given * (2 if self.is_interleaved else 1)

    @property
    def drawn_length(self) -> int:
        """Tokens at the beginning of a sequence that posgen.splits draws, and that no two sequences have in common: the
        seed, and with hidden answers, whose tokens are random everywhere, at least `DRAWN`."""
        return max(self.prefix_length, DRAWN) if self.answers is Answers.hidden else self.prefix_length

    @property
    def shortest(self) -> int:
        """The fewest tokens of a sequence of a data set: one answer, and as many tokens as are drawn."""
        return max(self.prefix_length + (2 if self.is_interleaved else 1), self.drawn_length)

    @property
    def vocabulary(self) -> int:
        """Token ids of the model: the modulus and five special ids, 22 for the paper's 17 (released code)."""
        return self.modulus + 5

    @property
    def bos(self) -> int:
        """The beginning-of-sequence id: the last of the vocabulary, 21 for the paper's modulus."""
        return self.vocabulary - 1


LONGEST = 100_000_000
"""An upper limit for lengths, in tokens: ten times the longest context of a language model."""


@dataclass(frozen=True)
class DataSpec:
    """Lengths (tokens) and sizes (sequences) of the three splits, and the seed that draws their prefixes."""

    train_length: int = 64
    test_length: int = 256
    train_size: int = 10_000
    validation_size: int = 1_000
    test_size: int = 1_000
    splits: Splits = Splits.disjoint
    seed: int = 0

    def __post_init__(self) -> None:
        require(2 <= self.train_length <= LONGEST, "train_length", self.train_length, f"use 2 to {LONGEST} tokens")
        require(
            self.train_length <= self.test_length <= LONGEST,
            "test_length",
            self.test_length,
            f"use at least train_length ({self.train_length}) and at most {LONGEST} tokens",
        )
        for key in ("train_size", "validation_size", "test_size"):
            require(1 <= getattr(self, key) <= 10_000_000, key, getattr(self, key), "use 1 to 10000000 sequences")
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")

    def shape(self, split: str) -> tuple[int, int]:
        """(sequences, tokens of each) of "train", "validation" or "test"."""
        size: int = getattr(self, f"{split}_size")
        return size, self.train_length if split == "train" else self.test_length
