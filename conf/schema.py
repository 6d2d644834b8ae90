"""The typed shape of a whole configuration, and what its values may be.

Task, data, model, optim and pe are the dataclasses of posgen.spec and models.spec, which own their fields and ranges;
this file adds what only an experiment has: the protocol (the ledger's switches), the profile, tracking and paths.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from conf.backends import BackendSpec
from models.spec import (
    AccuracyMode,
    EncodingSpec,
    ModelSpec,
    NtkBase,
    OptimSpec,
    Schedule,
    Selection,
    SoftmaxScale,
    YarnRamp,
    check_betas,
)
from posgen.errors import nearest, require
from posgen.naming import check_name
from posgen.spec import DataSpec, Splits, Task


class TrainWith(Enum):
    """Ledger row 2: train with the encoding itself, or with its plain form and scale only at test time."""

    named = "named"
    plain = "plain"


class ScalingLengths(Enum):
    """Ledger row 3: scalings see the text's lengths (L, s = L'/L) or the code's (ramp over L'+1, s = (L'+1)/(L+1),
    where each 1 is the BOS, if there is one)."""

    text = "text"
    code = "code"


class TrackerKind(Enum):
    """Where curves are sent besides the records on disk."""

    none = "none"
    wandb = "wandb"


class TrackMode(Enum):
    """Where tracked numbers go. `auto` is `online` when there are credentials and `offline` when there are none."""

    auto = "auto"
    online = "online"
    offline = "offline"
    disabled = "disabled"


@dataclass(frozen=True)
class ProtocolSpec:
    """One switch for each place where the paper's text and the released code differ: conf/ledger.yaml says what each
    stands for. Turns for the betas."""

    name: str = "paper"
    splits: Splits = Splits.disjoint
    train_with: TrainWith = TrainWith.named
    scaling_lengths: ScalingLengths = ScalingLengths.text
    beta_fast: float = 2.0
    beta_slow: float = 1.0
    yarn_ramp: YarnRamp = YarnRamp.index
    freeze_ffn: bool = False
    layers: int | None = None
    bos: bool = True
    softmax_scale: SoftmaxScale = SoftmaxScale.none
    schedule: Schedule = Schedule.one_cycle
    selection: Selection = Selection.first_best_id
    accuracy: AccuracyMode = AccuracyMode.teacher_forced
    ntk_base: NtkBase = NtkBase.plain

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_betas(self.beta_fast, self.beta_slow)
        require(self.layers is None or self.layers >= 1, "layers", self.layers, "use null (the model's own) or 1 to 64")


@dataclass(frozen=True)
class ProfileSpec:
    """How large an experiment is. `label` stands beside every number of it; `seeds` and `protocols` are a sweep's.
    `tasks` and `pes`: what it is about where a command names none; without them Table 1.
    `changes`: the overrides that make its numbers others than the profile's own (conf.overrides.changed)."""

    name: str = "quick"
    label: str = "unlabelled"
    seeds: list[int] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    pes: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_name("name", self.name)
        require(bool(self.label.strip()), "label", self.label, "say in a few words how large this profile is")


@dataclass(frozen=True)
class TrackerSpec:
    """W&B settings. `init_timeout` in seconds."""

    kind: TrackerKind = TrackerKind.none
    mode: TrackMode = TrackMode.auto
    project: str = "posgen"
    entity: str | None = None
    directory: str = "results/wandb"
    init_timeout: float = 15.0

    def __post_init__(self) -> None:
        require(0.0 < self.init_timeout <= 3600.0, "init_timeout", self.init_timeout, "use 0 < seconds <= 3600")


@dataclass(frozen=True)
class PathsSpec:
    """Folders, relative to the current one unless absolute."""

    results: str = "results"
    runs: str = "results/runs"
    data: str = "results/data"
    texts: str = "results/texts/shakespeare"

    def __post_init__(self) -> None:
        for key in ("results", "runs", "data", "texts"):
            require(bool(getattr(self, key).strip()), key, getattr(self, key), "name a folder")


@dataclass(frozen=True)
class Config:
    """A resolved configuration of one member: what `conf.compose` hands out. `threads` None: all that there are;
    `compiled`: fuse the step with torch.compile, None: on a GPU; `save_seconds`: how often a training saves the state
    that a later call goes on from, at most."""

    # first, so that a complaint names the wrong switch and not the fields that it is interpolated into
    protocol: ProtocolSpec = field(default_factory=ProtocolSpec)
    profile: ProfileSpec = field(default_factory=ProfileSpec)
    task: Task = field(default_factory=Task)
    data: DataSpec = field(default_factory=DataSpec)
    pe: EncodingSpec = field(default_factory=EncodingSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    optim: OptimSpec = field(default_factory=OptimSpec)
    tracker: TrackerSpec = field(default_factory=TrackerSpec)
    paths: PathsSpec = field(default_factory=PathsSpec)
    backend: BackendSpec = field(default_factory=BackendSpec)
    seed: int = 5549
    device: str = "cpu"
    threads: int | None = None
    compiled: bool | None = None
    save_seconds: float = 60.0

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")
        require(
            bool(re.fullmatch(r"cpu|cuda(:\d+)?", self.device)),
            "device",
            self.device,
            "use cpu, cuda or cuda:N",
        )
        require(self.threads is None or 1 <= self.threads <= 1024, "threads", self.threads, "use 1 to 1024")
        require(1.0 <= self.save_seconds <= 1e6, "save_seconds", self.save_seconds, "use 1 to 1000000 seconds")


SINGLES = ("seed", "device", "threads", "compiled", "save_seconds")
GROUPS = tuple(f.name for f in dataclasses.fields(Config) if f.name not in SINGLES)


def dotted_keys(node: type = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, its type) of every single value; `pe.params` counts as one, its keys are the encoding's own."""
    hints = typing.get_type_hints(node)
    for item in dataclasses.fields(node):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            yield from dotted_keys(typing.cast(type, hint), f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, hint


def remedy(hint: Any, value: object) -> str:
    """What a field of this type takes, in words, with the nearest valid word for a choice."""
    options = [t for t in typing.get_args(hint) if t is not types.NoneType]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return remedy(options[0], value) + ", or null"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return nearest(str(value), [m.name for m in hint])
    if typing.get_origin(hint) is list:
        return "use a list such as [1,2]"
    words = {int: "use a whole number", float: "use a number", bool: "use true or false", str: "use a text"}
    return words.get(hint, "use values in braces, {key: value}")
