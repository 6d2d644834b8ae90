"""Standard tasks: lm-eval's numbers against a computation by hand, resuming, records, and mistakes of a user."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.store.lm_kinds import HarnessRecord
from eval.store.records import check, load
from models.hf import re_rope
from tests.command import run
from tests.models.lm.tiny import WORDS, saved

CONTEXT = 128
ROLLING = """
task: own_rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}]
metadata: {{version: 3.0}}
"""
CHOICE = """
task: own_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: [a, the]
doc_to_target: 0
metric_list: [{{metric: acc}}]
metadata: {{version: 1.0}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=CONTEXT)


@pytest.fixture
def texts() -> list[str]:
    rng = random.Random(3)
    return [" ".join(rng.choices(WORDS, k=count)) for count in (300, 128, 40, 17)]


@pytest.fixture
def own(tmp_path: Path, texts: list[str]) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "rolling.yaml").write_text(ROLLING.format(data=data))
    (folder / "choice.yaml").write_text(CHOICE.format(data=data))
    return folder


def by_hand(model: Path, texts: list[str], rope: dict[str, object] | None) -> tuple[float, float]:
    """(word, byte) perplexity in disjoint windows of `CONTEXT`: the first begins with BOS, each later one with the last
    token of the one before it; the last is filled up to the left, and only what is new in it counts."""
    causal, tokenizer = AutoModelForCausalLM.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    if rope is not None:
        re_rope(causal, rope)
    total = 0.0
    for text in texts:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids]
        done = 1  # tokens that need no loss any more
        while done < len(ids):
            end = min(done + CONTEXT, len(ids))
            start = max(0, end - CONTEXT - 1)
            with torch.no_grad():
                logits: Tensor = causal(torch.tensor([ids[start : end - 1]])).logits[0].double()
            log_probability = logits.log_softmax(-1)
            total += sum(float(log_probability[i - 1 - start, ids[i]]) for i in range(done, end))
            done = end
    words = sum(len(text.split()) for text in texts)
    size = sum(len(text.encode()) for text in texts)
    return math.exp(-total / words), math.exp(-total / size)


def measured(records: Path) -> dict[tuple[str, str, str], HarnessRecord]:
    return {(r.task, r.encoding, r.metric): r for r in load(records, kind=HarnessRecord)}


@pytest.mark.slow
def test_numbers_equal_those_by_hand_and_are_not_measured_twice(
    model: Path, own: Path, texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    records = tmp_path / "records.jsonl"
    command = ["llm", "harness", str(model), "--tasks", "own_rolling,own_choice", "--rope", "none,resonance_yarn",
               "--factor", "2", "--lengths", f"{CONTEXT}", "--include", str(own),
               "--records", str(records)]  # fmt: skip
    assert run(*command, "--format", "terminal,csv") == 0
    shown, told = capsys.readouterr()
    assert "requests" not in told  # lm-eval's own bar: "Running loglikelihood requests"
    found = measured(records)
    yarn = {"rope_type": "resonance_yarn", "factor": 2.0, "original_max_position_embeddings": CONTEXT}
    for encoding, rope in (("none", None), ("resonance_yarn", yarn)):
        word, byte = by_hand(model, texts, rope)
        assert found["own_rolling", encoding, "word_perplexity"].value == pytest.approx(word, rel=1e-5)
        assert found["own_rolling", encoding, "byte_perplexity"].value == pytest.approx(byte, rel=1e-5)
        assert found["own_rolling", encoding, "word_perplexity"].stderr is None
        accuracy = found["own_choice", encoding, "acc"]
        p, n = accuracy.value, 4
        assert accuracy.samples == n
        # of n answers that are 0 or 1
        assert accuracy.stderr == pytest.approx(math.sqrt(p * (1 - p) / (n - 1)))
        assert f"own_rolling,,word_perplexity,{encoding},{word:.3f}"[:-1] in shown
    # From the records alone, every number as it was measured; a CSV has six decimals.
    assert run("llm", "tasks", "--records", str(records), "--format", "all", "--out", str(tmp_path / "drawn")) == 0
    with (tmp_path / "drawn" / "tasks.csv").open() as file:
        drawn = {(row["task"], row["encoding"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    assert drawn == {key: pytest.approx(record.value, abs=5e-7) for key, record in found.items()}
    text = (tmp_path / "drawn" / "tasks.md").read_text()
    assert "Standard tasks" in text
    assert text.count("own_rolling, Resonance YaRN: some prompts filled the context of 128 tokens") == 1
    a, b = (found["own_rolling", name, "word_perplexity"] for name in ("none", "resonance_yarn"))
    assert a.value != b.value
    assert (a.samples_hash, a.task_version, a.protocol) == (b.samples_hash, "3.0", b.protocol)
    assert a.longest == CONTEXT
    assert check(records) == (6, 0, [])

    assert a.measured_by.versions.keys() >= {"torch", "transformers", "lm_eval"}

    # All is there: the same command asks the model nothing. A task that was lost is measured again, alone.
    before = records.read_bytes()
    monkeypatch.setattr("eval.measuring.llm.harness.simple_evaluate", None)
    assert run(*command) == 0
    assert records.read_bytes() == before
    monkeypatch.undo()
    lines = before.splitlines(keepends=True)
    kept = [line for line in lines if not (b'"own_choice"' in line and b'"resonance_yarn"' in line)]
    records.write_bytes(b"".join(kept))
    assert len(kept) == len(lines) - 1
    assert run(*command) == 0
    assert len(records.read_bytes().splitlines()) == len(lines)
    again = measured(records)
    assert {k: (r.value, r.stderr, r.samples_hash) for k, r in again.items()} == {
        k: (r.value, r.stderr, r.samples_hash) for k, r in found.items()
    }
    # Other settings, and another version of a task's data, are other measurements.
    assert run(*command, "--limit", "2") == 0
    assert {r.samples for r in load(records, kind=HarnessRecord)} == {4, 2}
    with (own / "texts.jsonl").open("a") as file:
        file.write(json.dumps({"text": "he and she"}) + "\n")
    assert run(*command) == 0
    assert {r.samples for r in load(records, kind=HarnessRecord)} == {5, 4, 2}


@pytest.mark.slow  # lm-eval reads the index of all its tasks, 14,000 files
def test_ruler_makes_its_samples_offline(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    from eval.measuring.llm.harness import Harness, has_length
    from models.lm.loading import load as load_model

    def refused(*_: object, **__: object) -> bool:
        raise AssertionError("NLTK's data should not be fetched")

    monkeypatch.setattr(nltk, "download", refused)
    loaded = load_model(str(model))
    harness = Harness(loaded)
    try:
        harness.check(["niah_single_1"])
        ((name, task),) = harness.build("niah_single_1", 1024).items()
        assert has_length(task)
        samples = list(task.test_docs())
        again = list(harness.build("niah_single_1", 1024)[name].test_docs())
    finally:
        harness.close()
    assert samples == again
    assert {sample["max_length"] for sample in samples} == {1024}
    for sample in samples[:20]:
        assert sample["outputs"][0] in sample["input"]
        assert 700 < len(loaded.tokenizer(sample["input"]).input_ids) + 128 <= 1024


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(["--tasks", "niah_single_9"], "did you mean niah_single_", marks=pytest.mark.slow),
        (["--rope", "yarm"], "did you mean yarn?"),
        (["--factor", "0.5"], "factor=0.5: use at least 1"),
        (["--lengths", "64,x"], "lengths=64,x: use whole numbers"),
        (["--lengths", "0"], "lengths=0: use at least 128"),
        (["--limit", "0"], "limit=0: use at least 1"),
        (["--include", "nowhere"], "include=nowhere: is no folder"),
        (["--dtype", "fp33"], "dtype=fp33: did you mean fp32?"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "records.jsonl"
    assert run("llm", "harness", str(model), "--records", str(records), *arguments) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert not records.exists()
