"""Table 2: the paper's numbers, standard errors, and paired tests against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from conf.published import table2
from eval.evidence.llm.answers import Score, groups, sign_test, standard_error
from eval.evidence.llm.table2 import document, numbers
from eval.evidence.table import csv_text, markdown
from eval.measuring.llm.leval.scoring import PRESETS
from eval.store.kinds import Maker, Training
from eval.store.lm_kinds import AnswersRecord

MAKER = Maker("0" * 40, False, {"posgen": "0"}, "cpu")
GENERATION = {"template": "leval", "max_length": 16000, "max_new_tokens": 512}


def record(encoding: str, task: str, scores: tuple[float, ...], of: int = 0, **changes: object) -> AnswersRecord:
    values: dict = {
        "run_id": f"{encoding:0<12}"[:12], "sweep": "leval", "profile": "leval", "created": "2026-01-01T00:00:00Z",
        "model": "tiny (Q4)",
        "measured_by": MAKER, "training": Training({"language_model": {"name": "tiny"}}, (MAKER,)),
        "model_key": "k", "encoding": encoding, "rope": {}, "factor": 2.0, "train_length": 64, "dtype": "bf16",
        "protocol": {"generation": GENERATION, "scoring": PRESETS["leval"].switches}, "task": task, "scores": scores,
        "of_questions": of or len(scores), "data_sha": "d", "predictions_sha": encoding, "floor": 0.25,
        "floor_answer": "A", "unfinished": 1,
    }  # fmt: skip
    return AnswersRecord(**{**values, **changes})


def test_the_papers_rows() -> None:
    rows = table2()
    assert len(rows) == 12
    for row in rows:  # the printed average is that of the six, rounded
        assert sum(row.scores.values()) / 6 == pytest.approx(row.average, abs=0.011), row
    assert rows[5].scores["tpo"] == 56.51


def test_errors() -> None:
    assert standard_error([1.0] * 56 + [0.0] * 146) == pytest.approx(math.sqrt(56 * 146 / 202**3))
    values = [1.0, 0.25, 0.0, 0.25]
    assert standard_error(values) == pytest.approx(stats.sem(values))
    truth = record("yarn", "sci_fi", (1.0, 0.5), judgements=((1.0, 1.0), (1.0, 0.0)))
    assert Score.of(truth).error == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 4))


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 9), (10, 10), (25, 7)])
def test_the_sign_test(better: int, worse: int) -> None:
    wanted = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(wanted)


def test_pairs_and_holm() -> None:
    draw = np.random.default_rng(0)
    a, b = (tuple(map(float, draw.integers(0, 2, 60))) for _ in range(2))
    partial = tuple(float(v) for v in draw.choice([0.0, 0.25, 1.0], 12)), (0.0,) * 12
    stored = [record("yarn", "tpo", b), record("resonance_yarn", "tpo", a),
              record("yarn", "coursera", partial[1]), record("resonance_yarn", "coursera", partial[0])]  # fmt: skip
    (group,) = groups(stored)
    tpo, coursera = group.pairs()
    assert (tpo.a, tpo.b, tpo.exact, coursera.exact) == ("resonance_yarn", "yarn", True, False)
    better, worse = sum(x > y for x, y in zip(a, b, strict=True)), sum(x < y for x, y in zip(a, b, strict=True))
    assert (tpo.better, tpo.worse) == (better, worse)
    assert tpo.p == pytest.approx(stats.binomtest(better, better + worse).pvalue)
    flips = stats.permutation_test(
        [np.array(part) for part in partial], lambda x, y: float(np.mean(x) - np.mean(y)),
        permutation_type="samples", n_resamples=100_000,
    )  # fmt: skip
    assert coursera.p == pytest.approx(flips.pvalue)
    first, second = sorted([tpo.p, coursera.p])
    assert sorted([tpo.holm, coursera.holm]) == pytest.approx(
        sorted([min(1, 2 * first), max(min(1, 2 * first), second)])
    )


def test_what_may_not_be_compared_is_apart() -> None:
    stored = [record("yarn", "tpo", (1.0, 0.0)), record("none", "tpo", (1.0,), of=2),
              record("ntk", "tpo", (1.0, 0.0), dtype="fp32"), record("yarn", "tpo", (1.0,), of=2)]  # fmt: skip
    made = groups(stored)
    assert [len(group.records) for group in made] == [2, 1]
    assert made[0].records["yarn", "tpo"].questions == 2  # of two records the one with more questions
    assert made[0].pairs() == []  # other questions


def test_the_tables() -> None:
    stored = [record("yarn", "tpo", (1.0, 0.0)), record("resonance_yarn", "tpo", (1.0, 1.0), of=3)]
    text = markdown(document(stored, table2()))
    assert "| Resonance YaRN | 8 | 4096 × 400 | 36.34 | 27.00 | 40.59 | 56.51 | 3.33 | 61.72 | 37.58 |" in text
    assert "| YaRN | 50.00 ± 35.36 (25.00) | 50.00 |" in text
    assert "tiny (Q4), s = 2, bf16, documents up to 15,488 tokens, 512 new tokens, template leval" in text
    assert "SUBSET, the first questions only: TOEFL 2 of 3" in text
    assert "TOEFL always 'A'" in text
    assert (
        csv_text(numbers(stored)).splitlines()[1].startswith("tiny (Q4),yarn,2.0,bf16,leval,16000,512,leval,tpo,2,2,")
    )
