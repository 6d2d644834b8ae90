"""Experiments that are declared before they run: a file of conf/experiment each, as a typed value with a digest.

A declaration says what is asked, which settings are crossed (factors with levels), where it is measured (tasks,
profiles with their seeds, a protocol), and what is expected (hypotheses), with the rule that decides. Its digest stands
in every record that is made for it. docs/experiments.md describes the file; reading it needs neither torch nor hydra.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from conf import files
from conf.factors import DesignCell, Factor, crossed, nearest_setting, setting
from conf.hypotheses import Hypothesis, Rule
from conf.overrides import changed
from conf.schema import ProfileSpec, dotted_keys
from posgen.errors import BadValue, UserError, nearest, require, shortened
from posgen.naming import check_name
from posgen.plain import digest, identity, restore
from posgen.spec import TEXT

FOLDER = "experiment"
MOST_CELLS = 256


@dataclass(frozen=True)
class DeclaredProfile:
    """A profile of conf/profile with the seeds that are declared, which may go beyond its own, and settings of the run
    that all cells have otherwise than the profile (`model.heads`)."""

    name: str
    seeds: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = _names("profile")
        require(self.name in known, "profiles.name", self.name, nearest(self.name, known))
        several = len(self.seeds) >= 2 and len(set(self.seeds)) == len(self.seeds)
        right = several and all(0 <= seed < 2**32 for seed in self.seeds)
        listed = ", ".join(map(str, self.seeds))
        remedy = "list two or more different seeds, 0 to 4294967295"
        require(right, f"profiles.{self.name}.seeds", listed, remedy)
        keys = {key for key, _ in dotted_keys() if key.startswith(("model.", "optim.", "data."))}
        for key, value in self.settings.items():
            require(key in keys, f"profiles.{self.name}.{key}", value, f"is no setting; {nearest_setting(key, keys)}")

    @property
    def overrides(self) -> list[str]:
        """The settings in Hydra's grammar."""
        return [setting(key, value) for key, value in self.settings.items()]

    @cached_property
    def recorded(self) -> str:
        """What records call it: `quick+model.heads=2`, as every sweep with these settings would."""
        return changed(ProfileSpec(self.name), self.overrides).name


@dataclass(frozen=True)
class Experiment:
    """A declaration. `interactions`: pairs of factors whose interaction is reported beside all main effects."""

    name: str
    title: str
    date: str
    question: str
    factors: tuple[Factor, ...]
    tasks: tuple[str, ...]
    profiles: tuple[DeclaredProfile, ...]
    hypotheses: tuple[Hypothesis, ...]
    rule: Rule = field(default_factory=Rule)
    encoding: str = "rope"
    protocol: str = "paper"
    interactions: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        check_name("name", self.name)
        _check_date(self.date)
        for key in ("title", "question"):
            require(bool(getattr(self, key).strip()), key, getattr(self, key), "say it in a sentence")
        self._check_choices()
        self._check_factors()
        self._check_hypotheses()

    def _check_choices(self) -> None:
        tasks, known = self.tasks, _names("task")
        require(bool(tasks) and len(set(tasks)) == len(tasks), "tasks", ", ".join(tasks), "name tasks, each once")
        for group, names in (
            ("task", tasks), ("pe", (self.encoding, *self._files())),
            ("protocol", (self.protocol.partition("+")[0],)),
        ):  # fmt: skip
            known = _names(group)
            for name in names:
                require(name in known, group, name, nearest(str(name), known))
        for task in tasks:
            text = files.load(files.FOLDER / "task" / f"{task}.yaml").get("rule") == TEXT
            require(not text, "task", task, "is a text, which has no accuracy; experiments measure OOD accuracy")
        profiles = [profile.name for profile in self.profiles]
        once = bool(profiles) and len(set(profiles)) == len(profiles)
        require(once, "profiles", ", ".join(profiles), "name one or more, each once, with its seeds")

    def _files(self) -> list[str]:
        return [str(level.settings["pe"]) for f in self.factors for level in f.levels if "pe" in level.settings]

    def _check_factors(self) -> None:
        require(bool(self.factors), "factors", "[]", "name what is varied")
        names = [factor.name for factor in self.factors]
        require(len(set(names)) == len(names), "factors", ", ".join(names), "give every factor a name of its own")
        # Names of cells are made of these: two alike would be one cell.
        marks = [level.name for factor in self.factors for level in factor.levels[1:]]
        twice = next((mark for mark in marks if marks.count(mark) > 1), None)
        require(twice is None, "levels.name", twice, "names two levels; every level but the baselines needs its own")
        count = 1
        for factor in self.factors:
            count *= len(factor.levels)
        require(count <= MOST_CELLS, "factors", f"{count} cells", f"cross fewer: at most {MOST_CELLS} cells")
        for pair in self.interactions:
            for name in pair:
                require(name in names, "interactions", name, nearest(name, names))
            require(len(set(pair)) == len(pair) == 2, "interactions", ", ".join(pair), "name two factors")
        for cell in self.cells:
            check_name("levels", cell.name)

    def _check_hypotheses(self) -> None:
        names = [hypothesis.name for hypothesis in self.hypotheses]
        require(bool(names) and len(set(names)) == len(names), "hypotheses", ", ".join(names),
                "state one or more, each with a name of its own")  # fmt: skip
        for hypothesis in self.hypotheses:
            try:
                hypothesis.check({f.name: [level.name for level in f.levels] for f in self.factors}, self.tasks)
            except BadValue as error:
                raise error.under(f"hypotheses.{hypothesis.name}") from None

    def profile(self, name: str) -> DeclaredProfile:
        """The declared profile of that name. BadValue where there is none."""
        known = [profile.name for profile in self.profiles]
        require(name in known, "profile", name, f"is not declared by {self.name}; {nearest(name, known)}")
        return self.profiles[known.index(name)]

    def factor(self, name: str) -> Factor:
        """The factor of that name."""
        return next(factor for factor in self.factors if factor.name == name)

    @cached_property
    def cells(self) -> tuple[DesignCell, ...]:
        """Every combination of levels; the first has all baselines."""
        return crossed(self.factors, self.encoding)

    @cached_property
    def digest(self) -> str:
        """12 hex digits of everything that is declared; comments and the order of keys are no part of it."""
        return digest(identity(self))


def _names(group: str) -> list[str]:
    return [file.stem for file in files.group(group)]


def _check_date(date: str) -> None:
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        raise BadValue("date", date, "write the day of the declaration as YYYY-MM-DD") from None


def experiments() -> list[str]:
    """The names of conf/experiment."""
    return _names(FOLDER)


def find(name: str) -> Path:
    """The file of a declaration: of conf/experiment by name, or `path/to/file.yaml`. BadValue where there is none."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        require(path.is_file(), "experiment", name, "there is no such file")
        return path
    known = experiments()
    remedy = f"{nearest(name, known)}, or a file" if known else "there is none in conf/experiment; name a file"
    require(name in known, "experiment", name, f"{remedy}: path/to/{name}.yaml")
    return files.FOLDER / FOLDER / f"{name}.yaml"


def load(name: str) -> Experiment:
    """The declaration of that name, or in that file. Raises UserError, one line, for whatever is wrong in it."""
    path = find(name)
    return parsed(files.load(path), path.stem, name if name.endswith(path.suffix) else f"conf/{FOLDER}/{path.name}")


def parsed(node: Mapping[str, Any], stem: str, place: str) -> Experiment:
    """A declaration from what its YAML holds; `stem`: its file's name, which has to be the experiment's; `place`: the
    file, for messages."""
    try:
        experiment: Experiment = restore(Experiment, _plain(node), "an experiment")
        require(experiment.name == stem, "name", experiment.name, f"call it as its file is called, {stem}")
    except TypeError as error:
        missing = re.search(r"(\w+)\.__init__\(\) missing .*: (.+)$", str(error))
        reason = f"a key of {missing[1]} is missing: {missing[2]}" if missing else str(error)
        raise UserError(f"{place}: {shortened(reason)}; docs/experiments.md describes the file") from None
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    return experiment


def _plain(value: Any) -> Any:
    """YAML's dates as texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value
