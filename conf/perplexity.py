"""How perplexity is measured: the presets of conf/llm/perplexity, checked. Nothing of it is chosen silently: what is
chosen here changes a number by more than the encodings that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from conf import files
from conf.rules import declared
from posgen.errors import BadValue, nearest, require

PRESETS = ("paper", "yarn", "token", "lm_eval")
_LONGEST = 1 << 24  # tokens


@dataclass(frozen=True)
class PerplexityProtocol:
    """A file of conf/llm/perplexity; what each key means stands there. Lengths, positions and stride in tokens."""

    min_tokens: int
    samples: int | None
    select: str
    seed: int
    short: str
    bos: str
    bos_counted: bool
    mode: str
    lengths: list[int] | None
    stride: int | None
    context: int
    fill: bool
    score_from: int
    score_to: int | None
    weighting: str

    def __post_init__(self) -> None:
        for key, known in (
            ("select", ("first", "random")),
            ("short", ("drop", "keep", "error")),
            ("bos", ("none", "document", "window")),
            ("mode", ("truncate", "sliding", "disjoint")),
            ("weighting", ("token", "window", "document")),
        ):
            require(getattr(self, key) in known, key, getattr(self, key), nearest(getattr(self, key), known))
        require(self.min_tokens >= 0, "min_tokens", self.min_tokens, "use 0 or more tokens")
        require(self.samples is None or self.samples >= 1, "samples", self.samples, "use at least 1, or null for all")
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")
        require(self.score_from >= 0, "score_from", self.score_from, "use a position, 0 or more")
        end = "use a position after score_from, or null for the end"
        require(self.score_to is None or self.score_to > self.score_from, "score_to", self.score_to, end)
        if self.lengths is not None:
            growing = bool(self.lengths) and self.lengths == sorted(set(self.lengths))
            inside = growing and self.lengths[0] >= 2 and self.lengths[-1] <= _LONGEST
            require(inside, "lengths", self.lengths, f"use growing numbers of tokens, 2 to {_LONGEST}")
        self._check_windows()

    def _check_windows(self) -> None:
        if self.mode == "sliding":
            shortest = self.window(self.lengths[0]) if self.lengths else _LONGEST
            bos = " without its BOS" if self.bos_counted and self.bos != "none" else ""
            remedy = f"use 1 to {shortest}, the shortest window{bos}: a longer stride skips tokens"
            if self.stride is None or not 1 <= self.stride <= shortest:
                raise BadValue("stride", self.stride, remedy if self.lengths else "use at least 1 token")
        else:
            require(self.stride is None, "stride", self.stride, "is of mode=sliding alone; set stride=null")
        if self.mode == "disjoint":
            shortest = self.window(self.lengths[0]) if self.lengths else _LONGEST
            require(0 <= self.context < shortest, "context", self.context, f"use 0 to {shortest - 1} tokens")
        else:
            require(self.context == 0, "context", self.context, "is of mode=disjoint alone; set context=0")
            require(not self.fill, "fill", self.fill, "is of mode=disjoint alone; set fill=false")

    def window(self, length: int) -> int:
        """Text tokens in a window of this length."""
        return length - 1 if self.bos_counted and self.bos != "none" else length

    def at(self, lengths: Sequence[int]) -> PerplexityProtocol:
        """The same at these lengths, checked. BadValue where the stride is longer than a window."""
        return replace(self, lengths=list(lengths))


def perplexity_protocol(preset: str, overrides: Sequence[str] = ()) -> PerplexityProtocol:
    """A preset with overrides in Hydra's grammar, `stride=64` or `perplexity.stride=64`.

    Raises BadValue or UserError, one line, for a preset or key that there is not, and for a value that is none.
    """
    if preset not in PRESETS:
        raise BadValue("preset", preset, nearest(preset, PRESETS))
    named = [text if text.startswith("perplexity.") else f"perplexity.{text}" for text in overrides]
    return declared(PerplexityProtocol, "perplexity", named, f"llm/perplexity/{preset}")


@dataclass(frozen=True)
class PlanPart:
    """Encodings under one factor s on some documents; `documents` names a list of the plan's `lists` file, or several
    as `test+tuning`."""

    factor: float
    rope: list[str]
    documents: str
    set: list[str]


@dataclass(frozen=True)
class PerplexityPlan:
    """conf/llm/figure4.yaml and its like: several measurements of one model, made by one command."""

    name: str
    model: str
    texts: str
    dtype: str
    preset: str
    lists: str
    parts: list[PlanPart]

    def documents(self, part: PlanPart) -> list[str]:
        """The names of a part's documents. BadValue where the lists have no such one."""
        lists = files.load(files.FOLDER / "llm" / f"{self.lists}.yaml")
        documents: list[str] = []
        for name in part.documents.split("+"):
            if not isinstance(named := lists.get(name), list):
                raise BadValue("documents", part.documents, nearest(name, map(str, lists)))
            documents += map(str, named)
        return documents


def perplexity_plan(name: str) -> PerplexityPlan:
    """conf/llm/<name>.yaml. BadValue for a plan that there is not."""
    from omegaconf import OmegaConf

    plans = [file.stem for file in files.group("llm") if "parts" in files.load(file)]
    if name not in plans:
        raise BadValue("plan", name, nearest(name, plans))
    node = OmegaConf.merge(
        OmegaConf.structured(PerplexityPlan), files.load(files.FOLDER / "llm" / f"{name}.yaml") | {"name": name}
    )
    plan = OmegaConf.to_object(node)
    assert isinstance(plan, PerplexityPlan)
    return plan
