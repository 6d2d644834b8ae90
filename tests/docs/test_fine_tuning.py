"""docs/fine-tuning.md runs as it stands, block by block, in a folder of its own; its table is what the plan says."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.finetuning import recipe
from conf.language_models import devices, published_sizes
from eval.store.lm_kinds import AdaptationRecord
from eval.store.records import load
from models.lm.costs import step_flops, tuning_memory
from tests.committed import ROOT
from tests.docs.pages import run_page

PAGE = (ROOT / "docs" / "fine-tuning.md").read_text()


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE)
    records = load(tmp_path / "results" / "llm" / "tuning.jsonl", kind=AdaptationRecord)
    assert [record.encoding for record in records] == ["yarn", "resonance_yarn", "resonance_yarn"]
    assert records[0].batches == records[1].batches != records[2].batches


def test_the_table_is_counted() -> None:
    sizes = published_sizes()["llama2-7b"]
    full, lora = tuning_memory(sizes, 32768, 1), tuning_memory(sizes, 32768, 1, lora_rank=16, base_bytes=2)
    assert f"| {full.total / 1e9:.1f} GB | no; on an H200 |" in PAGE
    assert 80e9 < full.total < 1e9 * (devices()["h200"].gigabytes or 0)
    assert f"| {lora.total / 1e9:.1f} GB | yes |" in PAGE
    flops = 50 * step_flops(sizes, 32768, 64)
    hours = flops / 3.6e15 / devices()["h100"].teraflops
    assert f"| {flops:.3g} operations | {hours:.0f} hours at 350".replace("e+", "e") in PAGE
    assert recipe("short").label in PAGE
