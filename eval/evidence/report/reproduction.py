"""The commands that reproduce a profile's results, from what its records say of themselves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conf import names
from eval.evidence.cells import Collection
from eval.store.declared import FOLDER as EXPERIMENTS
from eval.store.kinds import Maker
from posgen.texts import PREPARE

_CHANGED = "changed: "  # as conf.overrides.changed writes it into a label


@dataclass(frozen=True)
class Reproduction:
    """The commands for the profile of a collection. `folders`: those below the profile's that hold records too."""

    collection: Collection
    folders: Sequence[str] = ()

    @property
    def training_options(self) -> str:
        """What chooses the profile in a command that trains: `--profile quick optim.lr=1e-3`."""
        return " ".join(["--profile", self._base, *self._changes()])

    @property
    def _base(self) -> str:
        """The profile without what was changed."""
        return self.collection.profile.partition("+")[0]

    def _changes(self) -> list[str]:
        """The settings that change the profile from the one that it is named after, as words of a command."""
        record = next(self.collection.records())
        profile = record.training.config.get("profile") or {}
        changes = profile.get("changes") or []
        if not changes and "+" in self.collection.profile and _CHANGED in self.collection.label:
            changes = self.collection.label.partition(_CHANGED)[2].split(", ")  # records of version 0.1
        until = [f"--until {record.trained_epochs}"] if record.status == "stopped" else []
        return [*(shlex.quote(change.partition("; epoch")[0]) for change in changes), *until]

    @property
    def drawing_options(self) -> str:
        """What chooses the profile in a command that draws."""
        return f"--profile {shlex.quote(self.collection.profile)}"

    @property
    def sweep(self) -> tuple[str, ...]:
        """The command that trains all members of the collection."""
        return (f"posgen sweep {self._options()} {self.training_options}",)

    def records_of(self, folder: str) -> tuple[str, ...]:
        """The command that makes the records of a folder below the profile's."""
        kind, _, experiment = folder.partition("/")
        if kind == EXPERIMENTS:  # which declares its own settings; those of Table 1's records are none of its own
            return (f"posgen experiment run {shlex.quote(experiment)} --profile {self._base}",)
        commands = {
            "ledger": f"posgen sweep --ledger {self.training_options}",
            "league": f"posgen sweep --league {self.training_options}",
            "lengths": f"posgen lengths --measure {self.drawing_options}",
            "interventions": f"posgen interventions --measure {self.drawing_options}",
        }
        return (commands[folder],)

    @property
    def explanation(self) -> str:
        """What to know before typing the commands."""
        commits = sorted({maker.git_commit or "an unknown commit" for maker in self._makers()})
        return (
            "Run these in a clone of the project. The trainings were made by the code at "
            f"{', '.join(commits)}; check that out for the sweep if the code has changed "
            "since. What is trained already is not trained again."
        )

    @property
    def everything(self) -> tuple[str, ...]:
        """From a clone of the project to this page."""
        out = shlex.quote(f"results/{self.collection.profile}")
        return (
            "make setup",
            ". .venv/bin/activate",
            *([PREPARE] if self._is_of_texts() else []),
            *self.sweep,
            *(command for folder in self.folders for command in self.records_of(folder)),
            *(f"posgen {verb} --format all --out {out} {self.drawing_options}" for verb in self._tables()),
            f"posgen {'figure4' if self._is_of_texts() else 'figure3'} --out {out} {self.drawing_options}",
            f"posgen report {self.drawing_options}",
        )

    def _is_of_texts(self) -> bool:
        return all(record.of_text for record in self.collection.records())

    def _tables(self) -> tuple[str, ...]:
        return ("table1",) if self._is_of_texts() else ("table1", "verdict")

    def _makers(self) -> Iterator[Maker]:
        for record in self.collection.records():
            yield from record.trained_by

    def unmeasured(self, places: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
        """Protocol -> the places without any record, as readers call them. Protocols without one are left out."""
        missing = {
            protocol: [
                f"{names.task(task)} {names.encoding(pe)}"
                for task, pe in self.collection.of_the_paper(places)
                if not self.collection.cell(protocol, task, pe).finished
                + self.collection.cell(protocol, task, pe).diverged
            ]
            for protocol in self.collection.protocols
        }
        return {protocol: cells for protocol, cells in missing.items() if cells}

    def _options(self) -> str:
        cells = self.collection.cells
        seeds = sorted({record.seed for record in self.collection.records()})
        chosen = {
            "task": dict.fromkeys(task for _, task, _ in cells),
            "pe": dict.fromkeys(pe for _, _, pe in cells),
            "protocol": self.collection.protocols,
            "seed": () if "seed=" in self.training_options else map(str, seeds),
        }
        return " ".join(f"--{key} {shlex.quote(','.join(values))}" for key, values in chosen.items() if values)
