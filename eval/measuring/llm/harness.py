"""Standard tasks by lm-eval: a loaded language model, with whatever encoding is in it, answers a task's requests.

lm-eval builds prompts, asks, and scores; nothing of that is done here. A RULER task (niah_single_1, ruler_vt, ...)
makes its samples for a length, in tokens of the model's own tokenizer, with seeds that are the same for every encoding.
Needs `pip install posgen[harness]`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # lm-eval's own bars; read once, when tqdm is imported

import numpy as np

from models.lm.loading import LanguageModel
from posgen.errors import BadValue, MissingPackage, UserError, told
from posgen.plain import digest

try:
    from lm_eval import __version__ as VERSION
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
except ModuleNotFoundError as error:
    raise MissingPackage("standard tasks need lm-eval: pip install 'posgen[harness]'", name="lm_eval") from error

from eval.measuring.llm.harness_model import AskedModel, Told

SEEDS = {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}
"""lm-eval's own defaults; samples of RULER tasks are made with the first two."""
ROOM = 256
"""Tokens of the context beyond the length of a RULER task: lm-eval makes samples up to the length, and then puts the
beginning of the answer behind them. Without room it would cut off the beginning of the prompt, the instruction."""


@dataclass(frozen=True)
class Score:
    """A metric of a task. `stderr` is that of a mean over samples; None of anything else (a perplexity)."""

    metric: str
    value: float
    stderr: float | None


@dataclass(frozen=True)
class Answered:
    """What a task gave. `samples_hash`: of lm-eval's hashes of documents, prompts and targets. `longest`: tokens of the
    longest sequence that the model saw, those that it generated included."""

    scores: tuple[Score, ...]
    samples: int
    version: str
    samples_hash: str
    longest: int


class Harness:
    """The tasks of lm-eval and of a folder of YAML files, for one model's tokenizer. `close` removes what it wrote."""

    def __init__(self, model: LanguageModel, include: Path | None = None) -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        if include is not None and not include.is_dir():
            raise BadValue("include", include, "is no folder; name one with YAML files of tasks")
        self.model = model
        self._files = contextlib.ExitStack()
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory()))
        tokenizer = _saved_tokenizer(model.tokenizer, folder / "tokenizer")
        self._place_for_sentences(folder / "nltk")
        self._metadata: dict[str, Any] = {"tokenizer": str(tokenizer)}
        self._include = None if include is None else str(include)
        self._manager = TaskManager(include_path=self._include, include_defaults=False, metadata=self._metadata)

    def close(self) -> None:
        self._files.close()

    def check(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names, each once. BadValue for one that no task, group or tag has."""
        chosen = tuple(dict.fromkeys(names))
        # Reading the index of lm-eval's own tasks takes seconds.
        if not all(map(self.is_task, chosen)):
            self._manager = TaskManager(include_path=self._include, metadata=self._metadata)
        for name in chosen:
            if name not in self._manager.all_tasks:
                raise BadValue("tasks", name, f"no task of lm-eval {VERSION}; {_near(name, self._manager.all_tasks)}")
        if not chosen:
            raise BadValue("tasks", "", "name one of lm-eval's, such as niah_single_1")
        return chosen

    def is_task(self, name: str) -> bool:
        """Whether a name is that of one task, not of a group or a tag."""
        return name in self._manager.all_subtasks

    def build(self, name: str, length: int) -> dict[str, Any]:
        """The tasks of a name (of a group several), with samples of `length` tokens where they have a length.

        Raises UserError in one line where their data cannot be had.
        """
        self._metadata["max_seq_lengths"] = [length]
        for again in (False, True):
            random.seed(SEEDS["random"])
            np.random.seed(SEEDS["numpy"])
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # RULER prints how it makes its samples
                    return dict(self._manager.load([name])["tasks"])
            except LookupError as error:
                if again or "punkt" not in str(error) or not _download_sentences():
                    raise UserError(f"task={name}: {told(error)[:200]}; {_NO_DATA}") from error
            except (ModuleNotFoundError, ImportError) as error:
                raise MissingPackage(f"task={name}: {told(error)[:200]}; pip install 'posgen[harness]'") from error
            except Exception as error:  # of code that loads data, and of the task's own
                raise UserError(
                    f"task={name}: cannot be made at {length} tokens ({told(error)[:200]}); {_NO_DATA}"
                ) from error
        raise AssertionError

    def answer(
        self, task: Any, length: int, limit: int | None, fewshot: int | None, advance: Callable[[float], None]
    ) -> Answered:
        """Let the model answer a built task. `advance` is told parts of the work as they are done, 1 in all."""
        advanced = Told(advance)
        context = context_of(task, length)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                asked = AskedModel(self.model, context, advanced)
                results = simple_evaluate(
                    model=asked, tasks=[task], task_manager=self._manager, limit=limit, num_fewshot=fewshot,
                    bootstrap_iters=0, log_samples=True, random_seed=SEEDS["random"],
                    numpy_random_seed=SEEDS["numpy"], torch_random_seed=SEEDS["torch"],
                    fewshot_random_seed=SEEDS["fewshot"],
                )  # fmt: skip
        except (AssertionError, ValueError, IndexError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"task={task.task_name}: lm-eval stopped ({told(error)[:300]}); try another --limit or "
                            "--lengths, or leave the task out") from error  # fmt: skip
        assert results is not None
        advanced.finish()
        (name,) = results["results"]
        samples = results["samples"][name]
        scores = tuple(_scores(results["results"][name], samples, length if has_length(task) else None))
        if not scores:
            raise UserError(f"task={name}: gave no number; leave it out")
        hashes = digest([[s[key] for key in ("doc_hash", "prompt_hash", "target_hash")] for s in samples])
        count = int(results["n-samples"][name]["effective"])
        return Answered(scores, count, str(results["versions"][name]), hashes, asked.longest)

    def _place_for_sentences(self, folder: Path) -> None:
        """RULER's module downloads NLTK's sentence tokenizer when it is imported, for tasks in essays, and without a
        network waits for minutes. The empty folder of that name is enough for the import; a task that splits sentences
        finds nothing in it and fails with a LookupError, upon which `build` downloads."""
        with contextlib.suppress(ModuleNotFoundError):
            import nltk

            try:
                nltk.data.find("tokenizers/punkt_tab")
            except LookupError:
                (folder / "tokenizers" / "punkt_tab").mkdir(parents=True)
                nltk.data.path.append(str(folder))
                self._files.callback(nltk.data.path.remove, str(folder))


_NO_DATA = "its data may need a network, or another length; `posgen llm harness --help` names tasks that need none"


def has_length(task: Any) -> bool:
    """Whether a task is made for a length: RULER's metrics are named after lengths."""
    metrics = list(task.aggregation())
    return bool(metrics) and all(str(name).isdigit() for name in metrics)


def context_of(task: Any, length: int) -> int:
    """The tokens that the model may see at once: lm-eval's max_length."""
    return length + ROOM if has_length(task) else length


def _scores(result: dict[str, Any], samples: list[dict[str, Any]], length: int | None) -> Iterator[Score]:
    """The numbers of a task's result. Of a RULER task that of its length alone, called `contained`: the share of the
    strings asked for that the answer contains; lm-eval says -1 for other lengths."""
    for key, value in result.items():
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr") or not isinstance(value, (int, float)):
            continue
        if length is not None and metric != str(length):
            continue
        values = [
            sample[metric] for sample in samples if sample.get("filter", filtered) == filtered and metric in sample
        ]
        name = "contained" if length is not None else metric if filtered == "none" else f"{metric},{filtered}"
        if math.isfinite(value):
            yield Score(name, float(value), _stderr(values, float(value)))


def _stderr(values: list[Any], mean: float) -> float | None:
    """The standard error of a mean of samples, s / sqrt(n); None where the number is no mean of theirs."""
    numbers = [float(value) for value in values if isinstance(value, (bool, int, float))]
    if len(numbers) < 2 or len(numbers) != len(values) or abs(math.fsum(numbers) / len(numbers) - mean) > 1e-9:
        return None
    return stdev(numbers) / math.sqrt(len(numbers))


def _saved_tokenizer(tokenizer: Any, folder: Path) -> Path:
    """The tokenizer as RULER's tasks want it, in a folder. Without a name of code in it: they would let a model's
    folder run its own."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("auto_map", None) is not None:
        path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def _download_sentences() -> bool:
    import nltk

    return bool(nltk.download("punkt_tab", quiet=True))


def _near(name: str, known: Sequence[str]) -> str:
    """`did you mean ...?` alone: lm-eval has thousands of tasks."""
    import difflib

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    begins = sorted(task for task in known if task.startswith(name[:4]))[:5]
    return f"some are {', '.join(begins or ['niah_single_1', 'ruler_vt', 'hellaswag'])}"
