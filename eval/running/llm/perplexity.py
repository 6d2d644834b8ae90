"""Measure perplexity: load a model, choose documents, put one encoding after another into it, keep what comes out.

The unit of work is a pass: one document under one encoding. Its losses are written when it ends, so that a run that was
killed loses one pass, and the same command goes on with the next. Records are made of what was written; a pass whose
record is there is done, so that records alone carry half a plan to another machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from eval.measuring.llm import cost
from eval.measuring.llm.perplexity import WIDTH, Pass, at_lengths, bins, measure
from eval.measuring.llm.texts import Document
from eval.running.llm.perplexity_plan import Encoding, Part, Request, prepare
from eval.running.progress import Bar
from eval.running.stopping import Stopping, stop_on_signal
from eval.store import records
from eval.store.kinds import Key, Maker, Training
from eval.store.lm_kinds import PerplexityRecord, language_model_run_id
from eval.store.losses import Losses, LossFiles
from eval.store.provenance import maker
from models.lm.loading import LanguageModel
from models.lm.ropes import Ropes
from posgen.errors import UserError

_SAVE_SECONDS = 60.0
"""Between two states of a document that takes many windows."""


@dataclass(frozen=True, eq=False)
class Work:
    """A pass over a document under an encoding of a part, and where its losses go."""

    part: Part
    document: Document
    encoding: Encoding
    todo: Pass
    files: LossFiles


@dataclass(frozen=True)
class Summary:
    """What is to be done: passes, operations of those that are left, and where the records go."""

    passes: int
    left: int
    flops: float
    records: Path


class PerplexityRun:
    """One model's measurements. `begin` loads it and finds out what there is to do, `run` does it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.known: set[Key] = set()
        self.language_model: LanguageModel
        self.ropes: Ropes
        self.parts: list[Part] = []
        self.work: list[Work] = []
        self.left: list[Work] = []

    def begin(self) -> Summary:
        """Load the model, read and choose the documents, look at every encoding. UserError in one line for what cannot
        be measured; nothing was written then."""
        self.language_model, self.ropes, self.parts = prepare(self.request)
        self.known = {record.key for record in records.load_if_there(self.request.records, kind=PerplexityRecord)}
        self.work = list(self._work())
        self.left = [work for work in self.work if not _finished(work) and self._key(work) not in self.known]
        flops = sum(map(self._flops, self.left))
        return Summary(len(self.work), len(self.left), flops, self.request.records)

    def estimate(self) -> float | None:
        """Seconds for what is left, by short passes that are made for this alone; None without any left."""
        if not self.left:
            return None
        owner = self.language_model.owner
        linear, attention = cost.speeds(owner)
        lengths = [window.ids for work in self.left for window in work.todo.windows]
        return sum(cost.linear_flops(owner, n) / linear + cost.attention_flops(owner, n) / attention for n in lengths)

    def run(self) -> int | None:
        """Measure what is left and add the records; the signal that asked for an end, if one did."""
        made_by = maker(self.language_model.device.type, "transformers")
        todo = set(self.left)
        for work in self.work:  # whose losses are there, but whose records were lost with the process
            if work not in todo:
                self._record(work)
        total = sum(map(self._flops, self.left))
        over = 0.0
        with stop_on_signal() as stopping, Bar("passes", len(self.left)) as bar:
            installed = None
            for index, work in enumerate(self.left):
                if stopping.asked:
                    break
                began = time.monotonic()
                if installed is not work.encoding:
                    self.ropes.install(work.encoding.name, work.part.factor, work.encoding.params)
                    installed = work.encoding
                whole = self._measure(work, made_by, stopping)
                if not whole:
                    break
                over += self._flops(work)
                if index == 0 and len(self.left) > 1:
                    left = (time.monotonic() - began) * (total - over) / self._flops(work)
                    bar.console.print(f"about {_duration(left)} for the other passes, by operations", highlight=False)
                self._record(work)
                bar.at(len(self.left) * over / total, f"{work.document.name}, {work.encoding.name}")
        return stopping.signal

    def _work(self) -> Iterator[Work]:
        """Document by document, so that an interrupted run has whole comparisons."""
        for part in self.parts:
            for document in part.documents:
                for encoding in part.encodings:
                    for todo in part.passes(document, encoding):
                        files = LossFiles(self.request.runs, self._described(part, encoding, todo))
                        yield Work(part, document, encoding, todo, files)

    def _described(self, part: Part, encoding: Encoding, todo: Pass) -> dict[str, Any]:
        """What losses depend on, but for the document: other weightings and lengths use the same ones."""
        protocol = part.protocol
        return {
            "model": self.language_model.identity, "dtype": self.request.dtype, "rope": encoding.rope,
            "device": self.language_model.device.type, "attention": part.attention,
            "bos": protocol.bos, "mode": protocol.mode, "window": protocol.window(todo.length),
            "stride": protocol.stride, "context": protocol.context, "fill": protocol.fill,
        }  # fmt: skip

    def _flops(self, work: Work) -> float:
        return sum(cost.flops(self.language_model.owner, window.ids) for window in work.todo.windows)

    def _measure(self, work: Work, made_by: Maker, stopping: Stopping) -> bool:
        """Whether the document is whole now; an end that was asked for may leave some of its windows."""
        earlier = work.files.read(work.document.sha)
        nll = earlier.nll if earlier else np.full(work.document.tokens, np.nan, dtype=np.float32)
        first, before = (earlier.windows, earlier.seconds) if earlier else (0, 0.0)
        began = saved = time.monotonic()
        done = first

        def after(windows: int) -> bool:
            nonlocal saved, done
            done, now = windows, time.monotonic()
            if stopping.asked or windows == len(work.todo.windows) or now - saved > _SAVE_SECONDS:
                losses = Losses(nll, windows, before + now - began, made_by)
                work.files.write(work.document.sha, losses)
                saved = now
            return not stopping.asked

        owner = self.language_model.model
        try:
            measure(owner, work.document.ids, work.part.bos_id, work.todo, nll, first, after)
        except UserError as error:
            raise UserError(f"{work.document.name} under {work.encoding.name}: {error}") from error
        return done == len(work.todo.windows)

    def _record(self, work: Work) -> None:
        """Add the record of a finished pass unless it is there."""
        if self._key(work) in self.known:
            return
        losses = work.files.read(work.document.sha)
        assert losses is not None
        record = self._made(work, losses)
        records.append(self.request.records, [record])
        self.known.add(record.key)

    def _key(self, work: Work) -> Key:
        """That of the record of a pass."""
        request, model = self.request, self.language_model
        run_id = language_model_run_id(model.key, work.encoding.rope)
        identity = PerplexityRecord.identity_of(
            request.profile, run_id, work.encoding.name, request.dtype, work.part.told_key
        )
        return PerplexityRecord.key_of(identity, work.document.sha, work.todo.length)

    def _made(self, work: Work, losses: Losses) -> PerplexityRecord:
        model, part, protocol = self.language_model, work.part, work.part.protocol
        counted = int(protocol.bos_counted and protocol.bos != "none")
        means, scored = bins(losses.nll[: max(window.end for window in work.todo.windows)], counted)
        config = {"language_model": model.identity, "corpus": part.corpus}
        return PerplexityRecord(
            run_id=language_model_run_id(model.key, work.encoding.rope), sweep=self.request.profile,
            profile=self.request.profile, created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            measured_by=losses.maker, training=Training(config, (losses.maker,)), model=model.name,
            model_key=model.key, encoding=work.encoding.name, rope=work.encoding.rope, factor=part.factor,
            train_length=self.ropes.train_length, dtype=self.request.dtype, protocol=part.told,
            document=work.document.name, document_sha=work.document.sha, tokens=work.document.tokens,
            length=work.todo.length, width=WIDTH, nll=means, scored=scored, seconds=round(losses.seconds, 3),
            at=tuple(at_lengths(losses.nll, protocol, work.todo.lengths, work.document.tokens)),
        )  # fmt: skip


def _finished(work: Work) -> bool:
    losses = work.files.read(work.document.sha)
    return losses is not None and losses.windows == len(work.todo.windows)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
