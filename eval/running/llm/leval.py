"""Ask a language model L-Eval's questions under one encoding after another, and keep answers and scores.

The unit of work is a question: its answer is written when it ends, so that a run that was killed loses one, and the
same command goes on with the next. Scores are made from what was written, at every call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from eval.measuring.llm.leval.answering import Answerer, InterruptedAnswerError, check_memory
from eval.measuring.llm.leval.data import Document, TaskData, read_task
from eval.measuring.llm.leval.prompts import Generation, count_of, fact_prompt, prompt, truncated
from eval.measuring.llm.leval.scoring import Scoring, floor, score
from eval.measuring.llm.leval.tasks import Task
from eval.running.progress import Bar
from eval.running.stopping import Stopping, stop_on_signal
from eval.store import checked, records
from eval.store.answers import AnswerFile
from eval.store.claims import Claim
from eval.store.kinds import Maker, Training
from eval.store.lm_kinds import AnswersRecord, language_model_run_id
from eval.store.provenance import maker
from eval.store.runs import now
from models.lm.loading import LanguageModel, load, refuse_other_rope
from models.lm.ropes import Installed, Ropes, check_names
from posgen.errors import UserError
from posgen.places import ANSWERS
from posgen.plain import digest, plain

PROFILE = "leval"
DECODING = 8
"""A new token costs as much as this many tokens of a prompt: it is computed alone."""
_EXPECTED = 64  # tokens of an answer, for the progress bar


@dataclass(frozen=True)
class Request:
    """What is asked for. `limit`: only the first questions of each task; `params`: of encodings, by name."""

    model: str
    data: Path
    tasks: tuple[Task, ...]
    ropes: tuple[str, ...]
    factor: float
    generation: Generation
    scoring: Scoring
    dtype: str = "bf16"
    device: str = "cpu"
    adapter: str | None = None
    limit: int | None = None
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    records: Path = Path("results") / ANSWERS
    runs: Path = Path("results/runs")
    other_rope: bool = False


@dataclass(frozen=True, eq=False)
class Ask:
    """The questions of one document that count. `first`: the number of the first among the task's."""

    task: Task
    document: Document
    text: str
    """As truncated."""
    tokens: int
    first: int
    count: int

    def cost(self) -> float:
        """In tokens of a short prompt: attention makes long ones dearer."""
        return self.tokens * (1 + self.tokens / 8192) + self.count * _EXPECTED * DECODING


class LEvalRun:
    """`begin` loads the model and reads the data, `run` asks and scores."""

    def __init__(self, request: Request) -> None:
        self.request = request
        check_names(request.ropes)
        self.data: dict[str, TaskData] = {task.name: read_task(request.data, task) for task in request.tasks}
        for data in self.data.values():  # a gold answer that cannot be read is found now, not after hours
            floor(data.task, [gold for document in data.documents for gold in document.outputs], request.scoring)

    def begin(self) -> None:
        """Load the model and truncate the documents. UserError when something is wrong with either."""
        request = self.request
        self.model: LanguageModel = load(request.model, request.dtype, request.device, request.adapter)
        refuse_other_rope(self.model, request.ropes, request.other_rope)
        self.ropes = Ropes(self.model.model)
        if request.generation.template == "chat":
            prompt(request.tasks[0], "", "", "chat", self.model.tokenizer)  # whether there is a template
        self.asks = {name: list(self._asks(data)) for name, data in self.data.items()}
        self.maker: Maker = maker(request.device, "transformers")

    def _asks(self, data: TaskData) -> Iterator[Ask]:
        count, first = count_of(self.model.tokenizer), 0
        left = self.request.limit if self.request.limit is not None else data.questions
        # gsm100 has a row for each question, all about one document: it is computed once.
        for text, rows in groupby(data.documents, key=lambda document: document.text):
            if left <= 0:
                return
            alike = list(rows)
            instructions, outputs = (
                tuple(item for row in alike for item in getattr(row, name)) for name in ("instructions", "outputs")
            )
            short = truncated(text, count, self.request.generation.budget, data.task.answer == "output")
            number = min(left, len(instructions))
            yield Ask(data.task, Document(text, instructions, outputs), short, count(short), first, number)
            left, first = left - number, first + len(instructions)

    @property
    def questions(self) -> int:
        """To be answered under each encoding."""
        return sum(ask.count for asks in self.asks.values() for ask in asks)

    def prompts(self, ask: Ask) -> list[list[int]]:
        """Token ids of the prompts of all questions of a document, those beyond the limit too: what they share is the
        same whatever the limit."""
        made = [
            prompt(ask.task, ask.text, question, self.request.generation.template, self.model.tokenizer)
            for question in ask.document.instructions
        ]
        return [self._ids(text, special) for text, special in made]

    def _ids(self, text: str, special: bool) -> list[int]:
        return list(self.model.tokenizer(text, add_special_tokens=special)["input_ids"])

    def run(self) -> int | None:
        """Ask what has not been answered, and add the records; the number of the signal that ended it early."""
        with stop_on_signal() as stopping:
            stopping.testing = True
            for name in self.request.ropes:
                installed = self.ropes.install(name, self.request.factor, self.request.params.get(name))
                if not self._encoding(installed, stopping):
                    return stopping.signal
        return None

    def folder(self, installed: Installed) -> Path:
        """Where the answers under an encoding are kept: named after all that can change one but the questions."""
        parts = [self.model.key, installed.rope, self.request.dtype, plain(self.request.generation)]
        return self.request.runs / "llm" / PROFILE / f"{installed.name}-{digest(parts)}"

    def _encoding(self, installed: Installed, stopping: Stopping) -> bool:
        """Whether it came to its end."""
        folder = self.folder(installed)
        folder.mkdir(parents=True, exist_ok=True)
        claim = Claim(folder, records.LOCK)
        if not claim.take():
            raise UserError(f"{folder} is being written by another process; wait for it, or ask another encoding")
        try:
            self._describe(folder, installed)
            return self._ask_all(folder, installed, stopping)
        finally:
            claim.release()

    def _describe(self, folder: Path, installed: Installed) -> None:
        """run.json: the resolved configuration. UserError where answers of other data are there already."""
        path = folder / "run.json"
        before = checked.read(path, dict[str, Any], "move the folder away, and everything is asked again") or {}
        seen: dict[str, str] = before.get("data", {})
        for name, data in self.data.items():
            if seen.get(name, data.sha) != data.sha:
                raise UserError(f"the data of {name} differ from those of the answers in {folder}; restore the file, "
                                "or move the folder away to ask again")  # fmt: skip
        content = {
            "model": self.model.identity, "source": self.request.model, "encoding": installed.name,
            "rope": installed.rope, "factor": self.request.factor, "dtype": self.request.dtype,
            "generation": plain(self.request.generation), "seed": None,
            "data": {**seen, **{name: data.sha for name, data in self.data.items()}},
            "made_by": [*before.get("made_by", []), {"at": now(), **plain_maker(self.maker)}],
        }  # fmt: skip
        checked.write(path, content)

    def _ask_all(self, folder: Path, installed: Installed, stopping: Stopping) -> bool:
        answerer = Answerer(self.model, installed.fixed, self.request.generation.max_new_tokens, lambda: stopping.asked)
        files = {name: self._file(folder, name) for name in self.data}
        total = sum(ask.cost() for asks in self.asks.values() for ask in asks)
        longest = max(ask.tokens for asks in self.asks.values() for ask in asks)
        check_memory(self.model, longest + 1024 + self.request.generation.max_new_tokens, answerer.shares)
        done = 0.0
        with Bar(f"{installed.name}", max(1, round(total)), enabled=self._left(files) > 0) as bar:
            for name, asks in self.asks.items():
                for ask in asks:
                    rows = files[name].rows
                    open_ones = [i for i in range(ask.count) if ask.first + i >= len(rows)]
                    if not open_ones:
                        done += ask.cost()
                        bar.first = bar.done = done
                        continue
                    try:
                        self._one_document(ask, open_ones, files[name], answerer, bar, done, installed)
                    except InterruptedAnswerError:
                        return False
                    done += ask.cost()
                    bar.at(min(done, bar.total), f"{name} {len(rows)}")
                self._record(files[name], name, installed)
        return True

    def _left(self, files: Mapping[str, AnswerFile]) -> int:
        return sum(max(0, sum(ask.count for ask in asks) - len(files[name].rows)) for name, asks in self.asks.items())

    def _one_document(
        self, ask: Ask, numbers: list[int], file: AnswerFile, answerer: Answerer, bar: Bar, done: float,
        installed: Installed,
    ) -> None:  # fmt: skip
        prompts = self.prompts(ask)
        reading = ask.tokens * (1 + ask.tokens / 8192)
        answerer.begin(prompts, lambda share: bar.at(done + share * reading, f"{ask.task.name} {len(file.rows)}"))
        for number in numbers:
            question, gold = ask.document.instructions[number], ask.document.outputs[number]
            began = time.perf_counter()
            answer = answerer.answer(prompts[number])
            said, ended = answer.text, answer.ended
            if ask.task.answer == "truth":
                fact = answerer.answer(
                    self._ids(*fact_prompt(question, self.request.generation.template, self.model.tokenizer)), False
                )
                said, ended = f"{said} [fact: {fact.text}]", ended and fact.ended
            text, _ = prompt(ask.task, "<long document>", question, self.request.generation.template,
                             self.model.tokenizer)  # fmt: skip
            file.add({
                "query": question, "gt": gold, "prompt": text,
                f"{self.model.identity['name']}-{installed.name}_pred": said, "evaluation": "exam", "ended": ended,
                "tokens": len(prompts[number]), "seconds": round(time.perf_counter() - began, 3),
            })  # fmt: skip
            share = (numbers.index(number) + 1) / len(numbers)
            bar.at(done + reading + share * (ask.cost() - reading), f"{ask.task.name} {len(file.rows)}")

    def _file(self, folder: Path, name: str) -> AnswerFile:
        data = self.data[name]
        expected = [pair for d in data.documents for pair in zip(d.instructions, d.outputs, strict=True)]
        return AnswerFile(folder / f"{data.task.file}.pred.jsonl", expected)

    def _record(self, file: AnswerFile, name: str, installed: Installed) -> None:
        """Add the record of a task, unless the same is there."""
        task, data, rules = self.data[name].task, self.data[name], self.request.scoring
        rows = file.rows[: sum(ask.count for ask in self.asks[name])]
        said = [next(value for key, value in row.items() if key.endswith("_pred")) for row in rows]
        results = [score(task, row["gt"], text, rules) for row, text in zip(rows, said, strict=True)]
        answer, lowest = floor(task, [row["gt"] for row in rows], rules)
        training = Training({"language_model": plain(self.model.identity)}, (self.maker,))
        record = AnswersRecord(
            run_id=language_model_run_id(self.model.key, installed.rope), sweep=PROFILE, profile=PROFILE,
            created=now(), measured_by=self.maker, training=training, model=self.model.name,
            model_key=self.model.key, encoding=installed.name, rope=plain(installed.rope),
            factor=float(self.request.factor), train_length=self.ropes.train_length, dtype=self.request.dtype,
            protocol={"generation": plain(self.request.generation), "scoring": rules.switches}, task=name,
            scores=tuple(result.score for result in results),
            judgements=tuple(result.scores for result in results) if task.judgements > 1 else None,
            of_questions=data.questions, data_sha=data.sha, predictions_sha=file.sha(len(rows)), floor=lowest,
            floor_answer=answer, unfinished=sum(not row["ended"] for row in rows),
        )  # fmt: skip
        there = {r.key: r for r in records.load_if_there(self.request.records, kind=AnswersRecord)}
        before = there.get(record.key)
        if before is None or (before.scores, before.predictions_sha) != (record.scores, record.predictions_sha):
            records.append(self.request.records, [record])


def plain_maker(made_by: Maker) -> dict[str, Any]:
    """A maker as JSON holds it."""
    import msgspec

    value: dict[str, Any] = msgspec.to_builtins(made_by)
    return value
