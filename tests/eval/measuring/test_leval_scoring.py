"""L-Eval's scores: those of the authors' own scorer on 94 synthetic predictions, and constant answers."""

from __future__ import annotations

import json

import pytest

from eval.measuring.llm.leval.scoring import PRESETS, Scoring, floor, preset, score
from eval.measuring.llm.leval.tasks import TASKS, of_file_name
from posgen.errors import BadValue, UserError
from tests.committed import ROOT

GOLDEN = ROOT / "tests" / "golden" / "llm"
CASES = [
    (task, case)
    for task, node in json.loads((GOLDEN / "leval_scores.json").read_text())["tasks"].items()
    for case in node["cases"]
]
CONSTANTS = json.loads((GOLDEN / "leval_constant_answers.json").read_text())
LEVAL, STRICT = PRESETS["leval"], PRESETS["strict"]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_authors_scores(name: str, case: dict) -> None:
    task = of_file_name(f"{name}.pred.jsonl")
    assert task is not None
    if "error" in case:
        with pytest.raises(UserError, match="IndexError"):
            score(task, case["gt"], case["prediction"], LEVAL)
        return
    scored = score(task, case["gt"], case["prediction"], LEVAL)
    read = (scored.gold, scored.prediction, scored.scores)
    if name == "sci_fi":
        assert tuple(map(list, read)) == (case["parsed_gt"], case["parsed_prediction"], case["score"])
    else:
        assert tuple(value[0] for value in read) == (case["parsed_gt"], case["parsed_prediction"], case["score"])


@pytest.mark.parametrize("name", ["quality", "tpo"])
def test_constant_answers_to_the_real_keys(name: str) -> None:
    """The golden scores of the letters say how often each is right; the others follow by the scorer's rules."""
    golden, task = CONSTANTS[name], TASKS[name]
    counts = {letter: round(golden[letter] * task.questions / 100) for letter in "ABCD"}
    keys = [letter for letter, count in counts.items() for _ in range(count)]
    assert len(keys) == task.questions
    for answer, percent in golden.items():
        mean = sum(score(task, key, answer, LEVAL).score for key in keys) / len(keys)
        assert round(100 * mean, 2) == percent, answer
    best = max("ABCD", key=lambda letter: golden[letter])
    assert floor(task, keys, LEVAL) == (best, pytest.approx(golden[best] / 100, abs=1e-4))


@pytest.mark.parametrize(
    ("task", "gold", "prediction", "leval", "strict"),
    [
        ("tpo", "D", "Answer: D", 0, 1),
        ("quality", "B", "Document says C, so the answer is B", 0, 1),
        ("tpo", "A", "I do not know", 1, 0),
        ("coursera", "BCD", "B, C, D", 0.25, 1),
        ("coursera", "AC", "A and C", 0.25, 1),
        ("gsm", "18", "The answer is -18", 1, 0),
        ("gsm", "18", "The answer is 18.5", 1, 0),
        ("gsm", "70,000", "It costs $70000.", 1, 1),
        ("codeU", "BAD", "AD", 0.25, 0),
        ("codeU", "5", "it gives 15 of them", 1, 0),
        ("codeU", "[6 15]", "so we get array([6, 15])", 1, 1),
        ("codeU", "[1, 2]", "so we get [1,2]", 1, 1),
        ("sci_fi", "True [fact: False]", "untrue [fact: False]", 1, 0.5),
        ("sci_fi", "True [fact: False]", "True. [fact: false]", 1, 1),
    ],
)
def test_where_the_presets_differ(task: str, gold: str, prediction: str, leval: float, strict: float) -> None:
    assert score(TASKS[task], gold, prediction, LEVAL).score == leval
    assert score(TASKS[task], gold, prediction, STRICT).score == strict


def test_switches_by_name() -> None:
    rules = preset("leval+default_a=false")
    assert score(TASKS["tpo"], "A", "none", rules).score == 0
    assert rules.first_letter_anywhere
    assert preset("strict").switches == dict.fromkeys(Scoring().switches, False)
    assert score(TASKS["sci_fi"], "True [fact: False]", "True", STRICT).scores == (1.0, 0.0)
    for text, message in (
        ("level", "did you mean leval"), ("leval+default_b=true", "did you mean default_a"),
        ("leval+default_a=no", "use true or false"),
    ):  # fmt: skip
        with pytest.raises(BadValue, match=message):
            preset(text)


def test_the_task_of_a_file() -> None:
    names = {"gsm100.pred.jsonl": "gsm", "my-codeU-7b.jsonl": "codeU", "tpo.jsonl": "tpo", "other.jsonl": None}
    assert {name: task and task.name for name in names for task in [of_file_name(name)]} == names
    assert of_file_name("my-tpo.jsonl", exact=True) is None
    assert of_file_name("gsm100.pred.jsonl", exact=True) is TASKS["gsm"]
