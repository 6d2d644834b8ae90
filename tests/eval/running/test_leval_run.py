"""Asking a tiny random Llama: answers are those of transformers on the whole prompt, and survive kills."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import eval.running.llm.leval as running
from eval.measuring.llm.leval.answering import Answer, Answerer, shared_length
from eval.measuring.llm.leval.prompts import Generation, prompt
from eval.measuring.llm.leval.scoring import PRESETS
from eval.measuring.llm.leval.tasks import TASKS
from eval.running.llm.leval import LEvalRun, Request
from eval.store.answers import AnswerFile
from eval.store.lm_kinds import AnswersRecord
from eval.store.records import load
from posgen.errors import UserError
from tests.tiny_chat_model import ROWS, save_data, save_model, tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


def request(model: Path, folder: Path, **changes: object) -> Request:
    tasks = tuple(TASKS[name] for name in ("gsm", "tpo", "sci_fi"))
    asked = Request(
        str(model), save_data(folder / "data"), tasks, ("yarn", "resonance_yarn"), 4.0, Generation("leval", 700, 12),
        PRESETS["leval"], "fp32", records=folder / "records.jsonl", runs=folder / "runs",
    )  # fmt: skip
    return replace(asked, **changes)  # type: ignore[arg-type]


def run(asked: Request) -> LEvalRun:
    made = LEvalRun(asked)
    made.begin()
    assert made.run() is None
    return made


def answers(asked: Request) -> dict[str, list[str]]:
    return {
        f"{path.parent.name}/{path.name}": [
            next(v for k, v in json.loads(line).items() if k.endswith("_pred")) for line in path.open()
        ]
        for path in sorted(asked.runs.rglob("*.pred.jsonl"))
    }


def test_answers_are_those_of_the_whole_prompt(model: Path, tmp_path: Path) -> None:
    asked = request(model, tmp_path, ropes=("none",), tasks=(TASKS["tpo"], TASKS["gsm"]))
    run(asked)
    said = {name.split("/")[1]: rows for name, rows in answers(asked).items()}
    plain, tok = AutoModelForCausalLM.from_pretrained(model).eval(), tokenizer()
    for task, file in ((TASKS["tpo"], "tpo"), (TASKS["gsm"], "gsm100")):
        expected = []
        for row in ROWS[file]:
            for question in row["instructions"]:
                ids = tok(prompt(task, row["input"], question, "leval", tok)[0], return_tensors="pt").input_ids
                made = plain.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
                expected.append(str(tok.decode(made[0, ids.shape[1] :])).replace("</s>", ""))
        assert said[f"{file}.pred.jsonl"] == expected
    for record in load(asked.records, kind=AnswersRecord):
        assert record.measured_by.versions.keys() >= {"torch", "transformers"}


def test_a_run_that_was_killed_goes_on_equal(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = request(model, tmp_path / "a"), request(model, tmp_path / "b")
    run(whole)
    own, asked = Answerer.answer, 0

    def dying(self: Answerer, *arguments: object, **words: object) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise SystemExit("killed")
        return own(self, *arguments, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(running.Answerer, "answer", dying)
    with pytest.raises(SystemExit):
        run(killed)
    monkeypatch.undo()
    (torn,) = killed.runs.rglob("tpo.pred.jsonl")
    with torn.open("ab") as file:
        file.write(b'{"query": "what is gr')
    run(replace(killed, limit=1))
    run(killed)
    assert answers(killed) == answers(whole)
    assert sum(map(len, answers(whole).values())) == 2 * 6

    stored = load(killed.records, kind=AnswersRecord)
    full = [record for record in stored if record.questions == record.of_questions]
    assert {(r.encoding, r.task) for r in full} == {(e, t) for e in whole.ropes for t in ("gsm", "tpo", "sci_fi")}
    assert {(r.task, r.questions) for r in stored if r.questions < r.of_questions} == {("gsm", 1), ("tpo", 1)}
    before = killed.records.read_bytes()
    run(killed)  # nothing is left to do, and nothing is added
    assert killed.records.read_bytes() == before
    uninterrupted = load(whole.records, kind=AnswersRecord)
    assert {r.key: r.scores for r in uninterrupted} == {r.key: r.scores for r in full}


def test_an_encoding_that_follows_the_length_shares_nothing(model: Path, tmp_path: Path) -> None:
    asked = request(model, tmp_path, ropes=("dynamic_ntk",), tasks=(TASKS["tpo"],))
    made = run(asked)
    assert not Answerer(made.model, False, 4).shares
    assert Answerer(made.model, True, 4).shares
    assert len(answers(asked)) == 1


def test_other_data_and_edited_answers_are_refused(model: Path, tmp_path: Path) -> None:
    asked = request(model, tmp_path, ropes=("yarn",), tasks=(TASKS["tpo"],))
    run(asked)
    (file,) = asked.runs.rglob("tpo.pred.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[1], *lines[1:]]))
    with pytest.raises(UserError, match="line 1: is not the answer to question 1"):
        run(asked)
    file.write_text("".join(lines))
    changed = save_data(tmp_path / "data", {"tpo": ROWS["tpo"][:1]})
    with pytest.raises(UserError, match="data of tpo differ"):
        run(replace(asked, data=changed))


def test_what_prompts_share() -> None:
    assert shared_length([[1, 2, 3, 4], [1, 2, 5]]) == 2
    assert shared_length([[1, 2], [1, 2, 3]]) == 1
    assert shared_length([[1, 2, 3]]) == 2


def test_a_file_of_answers(tmp_path: Path) -> None:
    expected = [("q", "A"), ("r", "B")]
    file = AnswerFile(tmp_path / "x" / "tpo.pred.jsonl", expected)
    row = {"query": "q", "gt": "A", "m_pred": "C", "ended": True}
    file.add(row)
    assert AnswerFile(file.path, expected).rows == [row]
    assert file.sha(0) != file.sha(1)
