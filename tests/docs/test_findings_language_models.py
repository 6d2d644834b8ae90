"""The findings' sections on real language models, against the committed tables."""

from __future__ import annotations

import pytest

from eval.evidence.llm.curves import collect
from eval.store.lm_kinds import AdaptationRecord, PerplexityRecord
from eval.store.records import load
from tests.committed import ROOT, results
from tests.docs.findings import csv_rows, section

TUNED = section("And after tuning a language model?")
WORDS = " ".join(TUNED.split())
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = {(r["encoding"], int(r["length"])): r for r in csv_rows("llm/figure4.csv") if r["profile"] == "figure4_tuned"}


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
