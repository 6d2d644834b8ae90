"""The input of a report: the records of a profile, and the choices and published numbers of conf/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conf.ledger import Ledger
from conf.published import Axes, Published
from conf.rules import VerdictRules
from eval.store.declared import FOLDER as EXPERIMENTS
from eval.store.declared import folder_of
from eval.store.gathering import gather
from eval.store.kinds import AccuracyRecord, PosGenRecord
from eval.store.lm_kinds import AdaptationRecord, AnswersRecord, HarnessRecord, LanguageModelRecord, PerplexityRecord
from eval.store.probes import InterventionsRecord, LengthsRecord
from eval.store.records import load_if_there
from posgen.errors import UserError
from posgen.places import ANSWERS, PERPLEXITY, STANDARD_TASKS, TUNING

FOLDERS = ("", "ledger", "league", "lengths", "interventions")
"""The folders below a profile's that hold records, but for those of declared experiments; the empty one is the
profile's own, Table 1's."""


@dataclass(frozen=True)
class Sources:
    """`results` is the folder of all profiles, `threshold` the accuracy (a fraction) of the effective length."""

    results: Path
    profile: str
    published: Mapping[tuple[str, str], Published]
    axes: Mapping[str, Axes]
    rules: VerdictRules
    ledger: Ledger
    threshold: float

    @property
    def places(self) -> list[tuple[str, str]]:
        """(task, pe) in the published order."""
        return list(self.published)

    @property
    def experiments(self) -> list[str]:
        """The declared experiments of which there are records."""
        folder = self.results / self.profile / EXPERIMENTS
        return sorted(path.parent.name for path in folder.glob("*/records.jsonl"))

    @property
    def folders(self) -> list[str]:
        """The folders below the profile's in which there are records, its own among them."""
        own = [folder for folder in FOLDERS if self.path(folder).exists()]
        return [*own, *map(folder_of, self.experiments)]

    def path(self, folder: str = "") -> Path:
        """The file of a folder's records."""
        return self.results / self.profile / folder / "records.jsonl"

    def records(self, folder: str = "") -> list[AccuracyRecord]:
        """The records of a folder that holds entries of tables. UserError when there are none."""
        return gather(self._files(folder), self.profile, self.results)

    def lengths(self) -> list[LengthsRecord]:
        """The measurements by length. UserError when there are none."""
        return gather(self._files("lengths"), self.profile, self.results, kind=LengthsRecord)

    def interventions(self) -> list[InterventionsRecord]:
        """What exchanged tokens did. UserError when there is none."""
        return gather(self._files("interventions"), self.profile, self.results, kind=InterventionsRecord)

    def every(self, folder: str) -> Sequence[PosGenRecord]:
        """The records of a folder, whatever their kind."""
        if folder == "interventions":
            return self.interventions()
        return self.lengths() if folder == "lengths" else self.records(folder)

    @cached_property
    def perplexities(self) -> list[PerplexityRecord]:
        """Losses of language models by length; empty without any."""
        return load_if_there(self.results / PERPLEXITY, kind=PerplexityRecord)

    @cached_property
    def tunings(self) -> list[AdaptationRecord]:
        """How language models were tuned; empty without any."""
        return load_if_there(self.results / TUNING, kind=AdaptationRecord)

    @cached_property
    def answers(self) -> list[AnswersRecord]:
        """Scores of L-Eval; empty without any."""
        return load_if_there(self.results / ANSWERS, kind=AnswersRecord)

    @cached_property
    def standard_tasks(self) -> list[HarnessRecord]:
        """Metrics of lm-eval's tasks; empty without any."""
        return load_if_there(self.results / STANDARD_TASKS, kind=HarnessRecord)

    def of_language_models(self) -> dict[Path, Sequence[LanguageModelRecord]]:
        """The records of each file of language models that is there."""
        by_file: dict[str, Sequence[LanguageModelRecord]] = {
            PERPLEXITY: self.perplexities, TUNING: self.tunings, ANSWERS: self.answers,
            STANDARD_TASKS: self.standard_tasks,
        }  # fmt: skip
        return {self.results / name: records for name, records in by_file.items() if records}

    def _files(self, folder: str) -> list[Path]:
        if folder and not self.path(folder).exists():
            raise UserError(f"There are no records at {self.path(folder).as_posix()}.")
        return [self.path(folder)] if folder else []
