"""Table 2 of the paper: L-Eval scores, published and measured here, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from conf.published import PublishedAnswers
from eval.evidence.llm.answers import Group, Score, groups
from eval.evidence.table import Cell, Column, Document, Table, cells
from eval.measuring.llm.leval.scoring import PRESETS
from eval.measuring.llm.leval.tasks import TASKS
from eval.store.lm_kinds import AnswersRecord
from models.lm.ropes import title

_PUBLISHED = {"none": "plain", "dynamic_ntk": "Dynamic NTK", "ntk": "NTK-aware", "yarn": "YaRN",
              "resonance_yarn": "Resonance YaRN"}  # fmt: skip
_MODELS = {"llama2-chat-7b": "LLaMA2-Chat 7B", "llama2-chat-13b": "LLaMA2-Chat 13B"}


def document(records: Sequence[AnswersRecord], published: Sequence[PublishedAnswers]) -> Document:
    """The published table, then for each model and protocol measured here its scores and its paired tests."""
    parts: list[Table] = [_printed(published)]
    for group in groups(records):
        parts.append(_scores(group))
        if len(group.encodings) > 1:
            parts.append(_pairs(group))
    return parts


def _printed(rows: Sequence[PublishedAnswers]) -> Table:
    columns = (
        Column("Encoding"), Column("s"), Column("Tuned on"),
        *(Column(task.title, number=True, decimals=2) for task in TASKS.values()),
        Column("Average", number=True, decimals=2),
    )  # fmt: skip
    body: list[tuple[Cell, ...]] = []
    sections: list[tuple[int, str]] = []
    model = ""
    for row in rows:
        if row.model != model:
            model = row.model
            sections.append((len(body), f"{_MODELS.get(model, model)}, {row.context:,} tokens"))
        name, _, factor = row.encoding.rpartition("_s")
        name, factor = (name, factor) if name else (row.encoding, "—")
        tuned = "—" if row.fine_tune == "none" else row.fine_tune.replace("x", " × ")
        body.append(cells(_PUBLISHED.get(name, name), factor, tuned, *(row.scores[t] for t in TASKS), row.average))
    return Table(
        columns, tuple(body), "Table 2 as published", "L-Eval, scores in percent.",
        ("Tuned on: tokens × optimiser steps.",), tuple(sections), "Model",
    )  # fmt: skip


def scoring_name(protocol: dict) -> str:
    """The preset that the switches of a record are, or which of `leval`'s differ."""
    switches = protocol.get("scoring", {})
    for name, rules in PRESETS.items():
        if rules.switches == switches:
            return name
    return "+".join(["leval", *(f"{key}=false" for key, value in switches.items() if value is False)])


def label(record: AnswersRecord) -> str:
    """Model, quantisation, scaling, length and template of a group of records."""
    made = record.protocol["generation"]
    return (
        f"{record.model}, s = {record.factor:g}, {record.dtype}, documents up to "
        f"{made['max_length'] - made['max_new_tokens']:,} tokens, {made['max_new_tokens']} new tokens, "
        f"template {made['template']}, scoring {scoring_name(record.protocol)}"
    )


def _scores(group: Group) -> Table:
    tasks = [name for name in TASKS if any(task == name for _, task in group.records)]
    columns = [Column("Encoding")]
    columns.extend(Column(TASKS[name].title, name, number=True, decimals=2) for name in tasks)
    columns.append(Column("Mean", "mean", number=True, decimals=2))
    rows, subset = [], {}
    floors: dict[str, Score] = {}
    for encoding in group.encodings:
        row: list[Cell] = [Cell(encoding, title(encoding))]
        means = []
        for name in tasks:
            record = group.records.get((encoding, name))
            if record is None:
                row.append(Cell())
                continue
            score = Score.of(record)
            floors[name] = score
            means.append(score.percent)
            if score.questions < score.of_questions:
                subset[TASKS[name].title] = f"{score.questions} of {score.of_questions}"
            row.append(Cell(score.percent, f"{score.percent:.2f} ± {score.error:.2f} ({score.floor:.2f})"))
        row.append(Cell(sum(means) / len(means)) if len(means) == len(tasks) else Cell())
        rows.append(tuple(row))
    notes = [
        "score ± standard error (floor: the best constant answer), in percent; a score at its floor shows no reading",
        "floors: " + ", ".join(f"{TASKS[n].title} always {floors[n].floor_answer[:20]!r}" for n in tasks),
    ]
    cut = {title(e): sum(r.unfinished for (x, _), r in group.records.items() if x == e) for e in group.encodings}
    asked = {e: sum(r.questions for (x, _), r in group.records.items() if title(x) == e) for e in cut}
    notes.append(
        "answers cut off at the last new token: " + ", ".join(f"{e} {n} of {asked[e]}" for e, n in cut.items())
    )
    if subset:
        notes.insert(0, "SUBSET, the first questions only: " + ", ".join(f"{t} {n}" for t, n in subset.items()))
    if len(tasks) < len(TASKS):
        notes.append(f"the mean is over {len(tasks)} of Table 2's {len(TASKS)} tasks")
    return Table(tuple(columns), tuple(rows), "Measured here", label(group.first), tuple(notes))


def _pairs(group: Group) -> Table:
    columns = (
        Column("Difference"), Column("Task"), Column("Points", number=True, decimals=2, signed=True),
        Column("Better", number=True), Column("Worse", number=True), Column("Test"),
        Column("p", number=True, decimals=3), Column("Holm", number=True, decimals=3),
    )  # fmt: skip
    pairs = group.pairs()
    rows = tuple(
        cells(
            f"{title(p.a)} − {title(p.b)}", TASKS[p.task].title, p.difference, p.better, p.worse,
            "exact sign" if p.exact else "sign flips", p.p, Cell(p.holm, strong=p.holm <= 0.05),
        )
        for p in pairs
    )  # fmt: skip
    return Table(
        columns, rows, "Paired by question", "Better and worse count questions; two-sided p.",
        (f"Holm over these {len(pairs)} tests; a star where it is at most 0.05",),
    )  # fmt: skip


def numbers(records: Sequence[AnswersRecord]) -> Table:
    """Every record as a row of numbers."""
    columns = tuple(
        Column(name) for name in (
            "model", "encoding", "factor", "dtype", "template", "max_length", "max_new_tokens", "scoring", "task",
            "questions", "of_questions", "score", "standard_error", "floor", "floor_answer", "unfinished",
        )
    )  # fmt: skip
    rows = []
    for group in groups(records):
        for record in group.records.values():
            score, made = Score.of(record), record.protocol["generation"]
            rows.append(cells(
                record.model, record.encoding, record.factor, record.dtype, made["template"], made["max_length"],
                made["max_new_tokens"], scoring_name(record.protocol), record.task, score.questions,
                score.of_questions, score.percent, score.error, score.floor, score.floor_answer, score.unfinished,
            ))  # fmt: skip
    return Table(columns, tuple(rows))
