"""Measure a language model on standard tasks under several encodings, and record what came out.

A measurement is a task (at a length, if it has one) under an encoding. Its records are written when it is over, so that
a run that was killed goes on with the next one; what is recorded under the same protocol is not measured again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.measuring.llm.harness import SEEDS, VERSION, Answered, Harness, context_of, has_length
from eval.running.progress import Bar
from eval.store.kinds import Maker, as_training
from eval.store.lm_kinds import HarnessRecord, language_model_run_id
from eval.store.provenance import maker
from eval.store.records import append, load_if_there
from models.lm.loading import LanguageModel, refuse_other_rope
from models.lm.ropes import Installed, Ropes, check_names
from posgen.errors import BadValue, require
from posgen.plain import digest

PROFILE = "llm"
SWEEP = "harness"
_DATA = (".yaml", ".yml", ".py", ".json", ".jsonl", ".csv", ".txt", ".parquet")


@dataclass(frozen=True)
class Request:
    """What to measure. `limit`: samples of a task, the first ones; None: all. `fewshot`: examples in front of a sample,
    None: as the task says. `include`: a folder of further tasks."""

    tasks: tuple[str, ...]
    ropes: tuple[str, ...]
    factor: float
    lengths: tuple[int, ...] = ()
    limit: int | None = None
    fewshot: int | None = None
    include: Path | None = None
    other_rope: bool = False

    def check(self) -> None:
        """BadValue for a number that is none."""
        check_names(self.ropes)
        require(
            self.factor >= 1.0, "factor", self.factor, "use at least 1: the longest length over the length trained on"
        )
        for length in self.lengths:
            require(length >= 128, "lengths", length, "use at least 128 tokens: prompts hold an instruction")
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "use at least 1 sample")
        require(self.fewshot is None or self.fewshot >= 0, "fewshot", self.fewshot, "use 0 or more examples")


def measure(
    model: LanguageModel, request: Request, path: Path, fresh: bool = False, show: bool = True
) -> list[HarnessRecord]:
    """Measure what is not recorded at `path` yet, or with `fresh` everything, and add it; all records of the request.

    Raises BadValue for a task, an encoding or a number that is none, before anything is measured, and UserError for a
    task whose data cannot be had.
    """
    request.check()
    refuse_other_rope(model, request.ropes, request.other_rope)
    harness = Harness(model, request.include)
    try:
        tasks = harness.check(request.tasks)
        ropes = Ropes(model.model)
        lengths = request.lengths or (ropes.train_length,)
        installed = {name: ropes.install(name, request.factor) for name in request.ropes}
        made_by = maker(str(model.device), "transformers", "lm_eval")
        job = _Job(model, request, harness, path, made_by, included(request.include))
        stored = [] if fresh else load_if_there(path, kind=HarnessRecord)
        steps = [(name, length) for name in tasks for length in lengths]
        records: list[HarnessRecord] = []
        weights = _weights_of(steps)
        with Bar("harness", total=round(sum(weights.values()) * len(installed)), enabled=show) as bar:
            at = 0.0
            for name, length in steps:
                share = weights[name, length]
                measured = {rope: job.recorded(stored, name, length, put) for rope, put in installed.items()}
                # Of a group, some tasks may be recorded: only the built group says which it has.
                built = {} if harness.is_task(name) and all(measured.values()) else harness.build(name, length)
                # What has no length is measured once, in the longest context.
                todo = [task for task in built.values() if has_length(task) or length == max(lengths)]
                for rope, put in installed.items():
                    there = {record.task for record in measured[rope]}
                    left = [task for task in todo if task.task_name not in there]
                    if left:
                        ropes.install(rope, request.factor)
                    for task in left:
                        measured[rope] += job.measure(
                            name, task, length, put, ropes.train_length, bar, share / len(left)
                        )
                    records += measured[rope]
                    at += share
                    bar.at(at, f"{name} {length} {rope}")
        return list({record.key: record for record in records}.values())
    finally:
        harness.close()


def _weights_of(steps: Sequence[tuple[str, int]]) -> dict[tuple[str, int], float]:
    """What a measurement takes beside the others, 1,000 being 1,024 tokens: a part grows with the square."""
    return {(name, length): 1000 * length / 1024 * (1 + length / 8192) for name, length in steps}


@dataclass(frozen=True)
class _Job:
    model: LanguageModel
    request: Request
    harness: Harness
    path: Path
    maker: Maker
    included: str | None

    def protocol(self, length: int | None, context: int) -> dict[str, Any]:
        """How it is measured, all that numbers must share to be compared."""
        return {
            "harness": f"lm_eval {VERSION}", "limit": self.request.limit, "fewshot": self.request.fewshot,
            "length": length, "max_length": context, "seeds": SEEDS, "chat_template": False, "include": self.included,
        }  # fmt: skip

    def recorded(self, stored: Sequence[HarnessRecord], name: str, length: int, put: Installed) -> list[HarnessRecord]:
        """The records that there are of a name under an encoding."""
        run_id = language_model_run_id(self.model.key, put.rope)
        wanted = (name, run_id, put.name, self.model.dtype)
        there = [r for r in stored if (r.asked, r.run_id, r.encoding, r.dtype) == wanted]
        longest = max(self.request.lengths, default=length)
        return [
            record for record in there
            if record.length in (length, None)
            and record.protocol == self.protocol(record.length, record.protocol.get("max_length", 0))
            and (record.length is not None or record.protocol["max_length"] == longest)
        ]  # fmt: skip

    def measure(
        self, name: str, task: Any, length: int, put: Installed, train_length: int, bar: Bar, share: float
    ) -> list[HarnessRecord]:
        """Measure one task with the encoding that is in the model, and record it."""
        answered = self.harness.answer(
            task, length, self.request.limit, self.request.fewshot, lambda part: bar.advance(part * share)
        )
        new = self.records(name, task, length, put, train_length, answered)
        append(self.path, new)
        return new

    def records(
        self, name: str, task: Any, length: int, put: Installed, train_length: int, answered: Answered
    ) -> list[HarnessRecord]:
        """A record of each metric."""
        own_length = length if has_length(task) else None
        described = {"language_model": self.model.identity, "source": Path(self.model.source).name}
        return [
            HarnessRecord(
                run_id=language_model_run_id(self.model.key, put.rope), sweep=SWEEP, profile=PROFILE,
                created=datetime.now(UTC).isoformat(timespec="seconds"), measured_by=self.maker,
                training=as_training(described, (self.maker,)), model=self.model.name, model_key=self.model.key,
                encoding=put.name, rope=put.rope, factor=self.request.factor, train_length=train_length,
                dtype=self.model.dtype, protocol=self.protocol(own_length, context_of(task, length)),
                task=str(task.task_name), asked=name, task_version=answered.version,
                samples_hash=answered.samples_hash, length=own_length, metric=score.metric, value=score.value,
                stderr=score.stderr, samples=answered.samples, longest=answered.longest,
            )
            for score in answered.scores
        ]  # fmt: skip


def included(folder: Path | None) -> str | None:
    """12 hex digits of the names and contents of a folder's tasks and data: an edited task is another one."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise BadValue("include", folder, "is no folder; name one with YAML files of tasks")
    files = sorted(path for path in folder.rglob("*") if path.suffix in _DATA and path.is_file())
    return digest(
        [[path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    )
