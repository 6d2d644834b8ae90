"""The findings' sections on real language models, against the committed tables."""

from __future__ import annotations

import pytest

from eval.evidence.llm.answers import groups
from eval.evidence.llm.curves import collect
from eval.store.lm_kinds import AdaptationRecord, AnswersRecord, PerplexityRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import csv_rows, section

TUNED = section("And after tuning a language model?")
WORDS = " ".join(TUNED.split())
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = {(r["encoding"], int(r["length"])): r for r in csv_rows("llm/figure4.csv") if r["profile"] == "figure4_tuned"}


def test_answers_about_long_documents() -> None:
    told = section("And in answers about long documents?")
    words = " ".join(told.split())
    rows = {(r["task"], r["encoding"]): r for r in csv_rows("llm/leval/table2.csv")}
    names = {"Coursera": "coursera", "GSM": "gsm", "QuALITY": "quality", "TOEFL": "tpo", "SFiction": "sci_fi"}
    _, _, *lines = [line for line in told.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines] == list(names)
    assert len(rows) == 2 * len(names)
    for line in lines:
        task, questions, floor, *scores = (cell.strip() for cell in line.strip("|").split("|"))
        for encoding, shown in zip(("yarn", "resonance_yarn"), scores, strict=True):
            row = rows[names[task], encoding]
            assert (questions, floor) == (row["questions"], f"{float(row['floor']):.2f}")
            assert shown == f"{float(row['score']):.2f} ± {float(row['standard_error']):.2f}"
            assert float(row["score"]) <= float(row["floor"]) + float(row["standard_error"])
            assert 20 <= int(questions) <= 50
    cut = [
        sum(int(row["unfinished"]) for (_, name), row in rows.items() if name == e) for e in ("yarn", "resonance_yarn")
    ]
    assert f"{cut[0]} and {cut[1]} answers were cut off after 512 tokens" in words
    # GSM's share of answers that were cut off is the largest.
    share = {key: int(row["unfinished"]) / int(row["questions"]) for key, row in rows.items()}
    assert all(share["gsm", name] == max(v for (_, n), v in share.items() if n == name) for _, name in rows)
    records = load(results() / "llm/leval/records.jsonl", kind=AnswersRecord)
    (group,) = groups(records)
    pairs = group.pairs()
    asked = sum(len(record.scores) for record in records)
    assert {(pair.a, pair.b) for pair in pairs} == {("resonance_yarn", "yarn")}
    better, worse = sum(pair.better for pair in pairs), sum(pair.worse for pair in pairs)
    assert f"{better} answers are better with Resonance and {worse} worse, of {asked // 2}" in words
    assert f"{asked} answers" in words
    assert [pair.holm for pair in pairs] == [1.0] * len(names)


def test_the_table_of_tuned_models() -> None:
    _, _, *lines = [line for line in TUNED.splitlines() if line.startswith("|")]
    assert [int(line.split("|")[1].replace(",", "")) for line in lines] == sorted({length for _, length in ROWS})
    for line in lines:
        length, plain, resonance, difference = (cell.strip() for cell in line.strip("|").split("|"))
        pair = ROWS["resonance_yarn", int(length.replace(",", ""))]
        assert float(plain) == pytest.approx(float(ROWS["yarn", int(pair["length"])]["perplexity"]), abs=5e-4)
        assert float(resonance) == pytest.approx(float(pair["perplexity"]), abs=5e-4)
        mean, half = map(float, difference.split(" ± "))
        assert mean == pytest.approx(float(pair["difference"]), abs=6e-6)
        assert half == pytest.approx((float(pair["high"]) - float(pair["low"])) / 2, abs=6e-6)
        assert (pair["minus"], pair["over"], pair["n"]) == ("yarn", "documents", "8")


def test_what_is_said_of_the_differences() -> None:
    lengths = sorted({length for _, length in ROWS})
    last = ROWS["resonance_yarn", lengths[-1]]
    assert float(last["low"]) > 0
    assert round(float(last["difference"]), 3) == 0.001  # nats; exp(0.001) - 1 is a tenth of a percent
    half = (float(last["high"]) - float(last["low"])) / 2
    assert f"by {float(last['difference']):.4f} ± {half:.4f} nats a token" in " ".join(README.split())
    records = load(results() / "llm/records.jsonl", kind=PerplexityRecord)
    (curves,) = (curves for curves in collect(records, "figure4_tuned") if curves.tuned)
    ours, plain = (curves.at(name, lengths[-1]) for name in ("resonance_yarn", "yarn"))
    losses = [(at.nll, plain[sha][1].nll) for sha, (_, at) in ours.items()]
    assert len(losses) == 8
    assert sum(a > b for a, b in losses if a is not None and b is not None) == 7
    assert f"the worse one at {lengths[-1]:,} tokens in seven of eight plays" in WORDS
    for name in ("yarn", "resonance_yarn"):
        perplexities = [float(ROWS[name, length]["perplexity"]) for length in lengths]
        assert perplexities == sorted(perplexities, reverse=True)
    differences = [float(ROWS["resonance_yarn", length]["difference"]) for length in lengths]
    assert differences[-1] == min(differences)
    assert differences[0] == max(differences)


def test_what_is_said_of_the_tunings() -> None:
    yarn, resonance = load(results() / "llm/tuning.jsonl", kind=AdaptationRecord)
    assert (yarn.encoding, resonance.encoding) in {("yarn", "resonance_yarn"), ("resonance_yarn", "yarn")}
    assert yarn.batches == resonance.batches
    assert f"{len(yarn.losses)} steps, {yarn.tokens:,} tokens of 29 plays" in WORDS
    assert "0.195 %" in yarn.recipe
    assert "0.2 % of the paper's tokens" in WORDS
    assert {r.dtype for r in (yarn, resonance)} == {"fp32"}
