"""The findings' sections on real language models, against the committed tables."""

from __future__ import annotations

import functools
import math
from statistics import mean

import numpy as np
import pytest

from eval.evidence.llm.answers import groups
from eval.evidence.llm.curves import Curves, collect
from eval.store.lm_kinds import AdaptationRecord, AnswersRecord, PerplexityRecord
from eval.store.records import load
from models.lm.names import NAMES, plain_of, title
from tests.committed import ROOT, results
from tests.docs.findings import csv_rows, section

TUNED = section("And after tuning a language model?")
WORDS = " ".join(TUNED.split())
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT, EXTENDED = TUNED.split("**At the extended length.**")


@functools.cache
def measured() -> list[PerplexityRecord]:
    return load(results() / "llm/records.jsonl", kind=PerplexityRecord)


def by_length(profile: str) -> dict[tuple[str, int], dict[str, str]]:
    """Rows of the table of one plan at its first factor, by encoding and length."""
    rows = [r for r in csv_rows("llm/figure4.csv") if r["profile"] == profile]
    return {(r["encoding"], int(r["length"])): r for r in rows if r["factor"] == rows[0]["factor"]}


ROWS, LONGER = by_length("figure4_tuned"), by_length("figure4_extended")


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


UNTUNED = section("And in a language model that is not tuned?")
UNTUNED_WORDS = " ".join(UNTUNED.split())


def difference(row: dict[str, str], digits: int) -> str:
    half = (float(row["high"]) - float(row["low"])) / 2
    return f"{float(row['difference']):+.{digits}f} ± {half:.{digits}f}"


def test_the_table_of_encodings_without_tuning() -> None:
    rows = by_length("figure4")
    plains = [name for name in NAMES if (name, 8192) in rows and plain_of(name) == name]
    titles = {title(name): name for name in plains}
    _, _, *lines = [line for line in UNTUNED.splitlines() if line.startswith("|")]
    assert {line.split("|")[1].strip() for line in lines} == titles.keys()
    for line in lines:
        named, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        plain = titles[named]
        resonant = rows["resonance" if plain == "none" else f"resonance_{plain}", 16384]
        perplexities = [rows[plain, 8192], rows[plain, 16384], resonant]
        assert cells == [*(f"{float(r['perplexity']):.3f}" for r in perplexities), difference(resonant, 4)]
        assert (resonant["over"], resonant["n"]) == ("documents", "8")
    scaled = [float(rows[name, 16384]["perplexity"]) for name in ("ntk", "dynamic_ntk", "yarn", "llama3")]
    assert max(scaled) < 1.02 * min(scaled)


def curves_of(profile: str) -> Curves:
    """Those of a plan at its first factor."""
    return collect(measured(), profile)[0]


def test_where_the_loss_breaks_away_without_scaling() -> None:
    curves = curves_of("figure4")
    plain, yarn = (curves.position(name, 512) for name in ("none", "yarn"))
    above = {end: a - b for end, a, b in zip(plain.ends, plain.nll, yarn.nll, strict=True)}
    assert (f"{above[11_264]:.1f}", f"{above[16_384]:.1f}") == ("0.4", "3.5")
    assert all(value < 0.11 for end, value in above.items() if end < 11_000)


def test_at_32768_tokens() -> None:
    row, first = (by_length("figure4_32k")["resonance_yarn", length] for length in (32_768, 2_048))
    plain = by_length("figure4_32k")["yarn", 32_768]
    told = (
        f"over the {row['n']} plays that are long enough Resonance YaRN is worse than YaRN by {difference(row, 4)[1:]}"
    )
    assert (
        f"{told} nats a token, {float(row['perplexity']):.3f} against {float(plain['perplexity']):.3f}" in UNTUNED_WORDS
    )
    assert f"from {difference(first, 4)[1:]} at 2,048" in UNTUNED_WORDS
    curves = curves_of("figure4_32k")
    ours, others = (curves.at(name, 32_768) for name in ("resonance_yarn", "yarn"))
    worse = sum((at.nll or 0) > (others[sha][1].nll or 0) for sha, (_, at) in ours.items())
    assert f"in {worse} of the {len(ours)} plays" in UNTUNED_WORDS
    assert f"is worse by {difference(row, 4)[1:]}" in " ".join(README.split())


def test_two_machines_agree() -> None:
    """The passes made on a CPU against the same passes on a GPU."""
    here = {r.key: r for r in load(results() / "llm/cpu/records.jsonl", kind=PerplexityRecord)}
    there = {r.key: r for r in measured() if r.profile == "figure4"}
    assert here.keys() <= there.keys()
    assert f"{len(here)} of the {len(there)} passes were made on a CPU" in UNTUNED_WORDS
    assert all(r.measured_by.device.startswith("cpu") for r in here.values())
    assert all(r.measured_by.device.startswith("cuda") for r in there.values())
    pairs = [(a, there[key]) for key, a in here.items()]
    lengths = max(abs((x.nll or 0) - (y.nll or 0)) for a, b in pairs for x, y in zip(a.at, b.at, strict=True))
    tables = [(np.array(a.nll, dtype=float), np.array(b.nll, dtype=float)) for a, b in pairs]
    bins = max(float(np.nanmax(np.abs(ours - theirs))) for ours, theirs in tables)
    assert f"at most {lengths:.5f} nats, those of any 128 positions by {bins:.5f}" in UNTUNED_WORDS


def tunings_by(recipe: str) -> list[AdaptationRecord]:
    return [r for r in load(results() / "llm/tuning.jsonl", kind=AdaptationRecord) if r.profile == recipe]


@pytest.mark.parametrize(("text", "rows"), [(SHORT, ROWS), (EXTENDED, LONGER)], ids=["short", "extended"])
def test_the_table_of_tuned_models(text: str, rows: dict[tuple[str, int], dict[str, str]]) -> None:
    _, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    for line, length in zip(lines, sorted({length for _, length in rows}), strict=True):
        plain, pair = rows["yarn", length], rows["resonance_yarn", length]
        shown = [f"{float(row['perplexity']):.3f}" for row in (plain, pair)]
        assert [cell.strip() for cell in line.strip("|").split("|")] == [f"{length:,}", *shown, difference(pair, 5)]
        assert (pair["minus"], pair["over"], pair["n"]) == ("yarn", "documents", "8")


def test_tuned_at_the_extended_length() -> None:
    last = LONGER["resonance_yarn", 16384]
    assert float(last["low"]) > 0
    assert f"by {difference(last, 4)[1:]} nats a token" in " ".join(README.split())
    (curves,) = collect(measured(), "figure4_extended")
    assert curves.model.endswith("(adaptation at the extended length, 6.25 % of the paper's tokens, mean of 2 seeds)")
    assert curves.left_out == 1  # of the third only YaRN's
    ours, plain_ = (curves.at(name, 16384) for name in ("resonance_yarn", "yarn"))
    assert sum((at.nll or 0) > (plain_[sha][1].nll or 0) for sha, (_, at) in ours.items()) == 7
    short = float(ROWS["yarn", 16384]["perplexity"])
    assert round(100 * (1 - float(LONGER["yarn", 16384]["perplexity"]) / short)) == 8
    assert 0.2 < 1 - float(last["difference"]) / float(ROWS["resonance_yarn", 16384]["difference"]) < 0.3


def test_seeds_at_the_extended_length() -> None:
    tunings = tunings_by("extended")
    assert sorted((r.encoding, r.protocol["seed"]) for r in tunings) == [
        ("resonance_yarn", 0), ("resonance_yarn", 1), ("yarn", 0), ("yarn", 1), ("yarn", 2),
    ]  # fmt: skip
    assert len({r.batches for r in tunings}) == 3
    assert {f"{r.tokens:,}" for r in tunings} == {"6,553,600"}
    assert tunings[0].tokens == 32 * 204_800
    losses: dict[str, list[float]] = {}
    for record in measured():
        if record.profile == "figure4_extended" and "Resonance" not in record.model:
            losses.setdefault(record.model, []).append(record.at[-1].nll or 0)
    perplexities = [math.exp(mean(values)) for values in losses.values()]
    assert [len(values) for values in losses.values()] == [8, 8, 8]
    assert max(perplexities) - min(perplexities) < 0.009


def test_what_is_said_of_the_differences() -> None:
    lengths = sorted({length for _, length in ROWS})
    last = ROWS["resonance_yarn", lengths[-1]]
    assert float(last["low"]) > 0
    assert round(float(last["difference"]), 3) == 0.001  # nats; exp(0.001) - 1 is a tenth of a percent
    (curves,) = (curves for curves in collect(measured(), "figure4_tuned") if curves.tuned)
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
    yarn, resonance = tunings_by("short")
    assert (yarn.encoding, resonance.encoding) in {("yarn", "resonance_yarn"), ("resonance_yarn", "yarn")}
    assert yarn.batches == resonance.batches
    assert f"{len(yarn.losses)} steps, {yarn.tokens:,} tokens of 29 plays" in WORDS
    assert "0.195 %" in yarn.recipe
    assert "0.2 % of the paper's tokens" in WORDS
    assert {r.dtype for r in (yarn, resonance)} == {"fp32"}
