"""The page's sections of language models, from made records: there with the others, and named where they come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from eval.evidence.llm.tunings import table
from eval.store.kinds import Training
from eval.store.lm_kinds import AdaptationRecord
from eval.store.records import append
from tests.command import run
from tests.eval.evidence import test_llm_figure4 as figure4
from tests.eval.evidence import test_table2 as table2
from tests.eval.made import MAKER, synthetic_record

PAIR = ("yarn", "resonance_yarn")


def tuning(encoding: str, losses: tuple[float, ...], **changed: Any) -> AdaptationRecord:
    made: dict[str, Any] = dict(  # noqa: C408 - as a call would have it
        run_id="0123456789ab", sweep="llm finetune", profile="short", created="2026-01-01T00:00:00Z",
        measured_by=MAKER, training=Training({"language_model": {"name": "m"}}, (MAKER,)), model="m (Q4)",
        model_key="abc", encoding=encoding, rope={}, factor=2.0, train_length=256, dtype="fp32", protocol={},
        recipe="short adaptation", recipe_digest="r", lora=False, batches="b4tc", tokens=204_800, losses=losses,
        tuned="m-yarn", weights="w", seconds=1.0,
    )  # fmt: skip
    return AdaptationRecord(**{**made, **changed})


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page of a profile with one record, and of language models measured beside it."""
    monkeypatch.chdir(tmp_path)
    append(Path("results/quick/records.jsonl"), [synthetic_record()])
    pairs = [
        figure4.record(name, "a", {256: nll}, [nll, nll]) for name, nll in (("yarn", 3.0), ("resonance_yarn", 3.2))
    ]
    tuned = [figure4.tuned(name, "a", nll) for name, nll in (("yarn", 2.0), ("resonance_yarn", 1.9))]
    append(Path("results/llm/records.jsonl"), [*pairs, *tuned])
    append(Path("results/llm/tuning.jsonl"), [tuning("yarn", (3.0,) * 10), tuning("resonance_yarn", (2.5,) * 10)])
    append(Path("results/llm/leval/records.jsonl"), [table2.record("yarn", "tpo", (1.0, 0.0))])
    assert run("report") == 0
    return Path("results/quick/report.html").read_text(encoding="utf-8")


def section(page: str, key: str) -> str:
    """The words of a section."""
    part = page.partition(f'<section id="{key}"')[2].partition("</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", part))


def test_the_page_shows_what_was_measured_on_language_models(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = section(page, "language-models")
    assert "m (Q4), tuned under each encoding (short adaptation)" in shown
    for number in ("20.086", "24.533", "7.389", "6.686", "+0.2000", "-0.1000"):  # e to the losses; the differences
        assert number in shown.replace("−", "-"), number
    assert page.partition('<section id="language-models"')[2].partition("</section>")[0].count("<img ") == 2
    assert "Resonance YaRN, s = 2" in section(page, "tunings")
    assert "LLaMA2-Chat 7B" in section(page, "table2")
    assert 'id="standard-tasks"' not in page
    assert "not measured: Language models" not in capsys.readouterr().out


def test_the_files_of_language_models_are_named_with_their_sums(page: str) -> None:
    named = section(page, "provenance")
    for name, count in (("records", 4), ("tuning", 2), ("leval/records", 1)):
        assert re.search(rf"results/llm/{name}.jsonl {count} .*?[0-9a-f]{{16}}", named), name


def test_a_tuning_is_told_by_its_first_and_last_losses() -> None:
    losses = tuple(4.0 - 0.01 * step for step in range(100))
    row = [cell.value for cell in table([tuning("yarn", losses)]).rows[0]]
    assert row[1:6] == ["YaRN, s = 2", "short adaptation", "all", 100, 204_800]
    assert row[6:8] == [pytest.approx(3.955), pytest.approx(3.055)]
