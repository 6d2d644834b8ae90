"""`eval.running.llm.finetuning` against a plain torch loop with stock transformers, and against itself interrupted."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup

from conf.finetuning import recipe
from eval.measuring.llm.sequences import read_texts, sequences
from eval.running.llm.adaptation import Tuned, Tuning
from eval.running.llm.finetuning import check_memory
from eval.running.llm.parallel import Loop
from eval.running.llm.states import FOLDER
from posgen.errors import BadValue, UserError
from tests.eval.running.small_llama import CONTEXT, FAST, quiet, record_of, settings, tuning, write_all


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def full(place: Path) -> Tuned:
    return quiet(dataclasses.replace(tuning(place, "full"), records=place / "full.jsonl"))


def test_it_is_plain_torch_training(place: Path, full: Tuned) -> None:
    """The same batches, transformers' own YaRN, loss and schedule, torch's AdamW, and no part of ours."""
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    texts = [path.read_text() for path in sorted((place / "texts").iterdir())]
    stream = [token for text in texts for token in (0, *tokenizer(text)["input_ids"], 1)]
    chunks = torch.tensor(stream[: len(stream) // 32 * 32]).view(-1, 32)
    order = np.random.default_rng([0, 0]).permutation(len(chunks))

    rope = {
        **{"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": CONTEXT, "rope_theta": 10000.0},
        **{"beta_fast": 32.0, "beta_slow": 1.0},
    }
    model = AutoModelForCausalLM.from_pretrained(place / "model", rope_parameters=rope, max_position_embeddings=128)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimiser, 1, 4)
    losses = []
    for step in range(4):
        ids = chunks[order[4 * step : 4 * step + 4]]
        loss = model(input_ids=ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    assert full.losses == pytest.approx(losses, rel=1e-5)
    assert losses[-1] < losses[0] - 0.1
    written = load_file(place / "full" / "model.safetensors")
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(written[name], weight, rtol=0, atol=2e-4)  # Adam divides by what may be tiny


def test_the_learning_rate_is_that_of_transformers() -> None:
    asked = recipe("paper")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=asked.lr)
    schedule = get_linear_schedule_with_warmup(optimiser, asked.warmup_steps, asked.steps)
    for step in range(asked.steps):
        assert asked.learning_rate(step) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12, abs=0)
        optimiser.step()
        schedule.step()


def stopped_at(monkeypatch: pytest.MonkeyPatch, step: int, end: Any) -> None:
    """Let the process end within step `step`, after those before it."""
    original, done = Loop.step, []

    def counted(self: Loop, *arguments: Any) -> float:
        done.append(1)
        if len(done) == step:
            end()
        return original(self, *arguments)

    monkeypatch.setattr(Loop, "step", counted)


def killed() -> None:
    raise SystemExit(137)


@pytest.mark.parametrize("name", ["full", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tied", "lora"))])
def test_a_killed_tuning_goes_on_bit_for_bit(place: Path, name: str) -> None:
    """LoRA with its dropout, so that random numbers count."""
    model = str(place / "tied") if name == "tied" else str(place / "model")

    def asked(folder: str) -> Tuning:
        made = tuning(place, f"{folder}-{name}", "precision=bf16", lora=name == "lora", save_seconds=1e-9)
        return dataclasses.replace(made, model=model)

    whole = quiet(asked("whole"))
    with pytest.MonkeyPatch.context() as patched:
        stopped_at(patched, 3, killed)
        with pytest.raises(SystemExit):
            quiet(asked("killed"))
    out = asked("killed").out
    assert not (out / "posgen-model.json").exists()
    (out / FOLDER / ".writing").mkdir()  # and what a kill within writing leaves
    again = quiet(asked("killed"))
    assert (again.resumed, again.losses) == (2, whole.losses)
    file = "adapter_model.safetensors" if name == "lora" else "model.safetensors"
    assert (out / file).read_bytes() == (asked("whole").out / file).read_bytes()
    assert not (out / FOLDER).exists()


def test_sigterm_saves_and_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patched:
        stopped_at(patched, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        ended = quiet(tuning(place, "ended"))
    assert (ended.status, ended.signal, len(ended.losses)) == ("interrupted", signal.SIGTERM, 2)
    assert quiet(tuning(place, "ended")).resumed == 2


def test_a_damaged_state_is_refused(place: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        stopped_at(patched, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        quiet(tuning(place, "damaged"))
    (state,) = (place / "damaged" / FOLDER).glob("step-*/optimizer.bin")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    with pytest.raises(UserError, match="does not have its checksum"):
        quiet(tuning(place, "damaged"))


def test_batches_are_the_same_under_every_encoding(place: Path, full: Tuned) -> None:
    other = record_of(quiet(tuning(place, "resonant", rope="resonance_yarn")))
    ours = record_of(full)
    assert ours.batches == other.batches
    assert ours.rope != other.rope
    assert ours.run_id != other.run_id
    assert ours.losses != other.losses
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    texts = list(read_texts(place / "texts"))
    seeds = {seed: sequences(texts, tokenizer, recipe("short", [*FAST, f"seed={seed}"]), 300) for seed in (0, 1)}
    assert seeds[0].digest == ours.batches != seeds[1].digest
    fewer = sequences(texts[:-1], tokenizer, recipe("short", list(FAST)), 300)
    assert fewer.digest != ours.batches


def test_texts_and_their_ids_in_a_table_are_the_same_batches(place: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    texts = [path.read_text() for path in sorted((place / "texts").glob("*.txt"))]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    parquet.write_table(pa.table({"text": texts}), tmp_path / "texts.parquet")
    parquet.write_table(pa.table({"tokens": ids}), tmp_path / "ids.parquet")
    asked = recipe("short", list(FAST))
    expected = sequences(read_texts(place / "texts"), tokenizer, asked, 300).digest
    assert sequences(read_texts(tmp_path / "texts.parquet"), tokenizer, asked, 300).digest == expected
    assert sequences(read_texts(tmp_path / "ids.parquet", field="tokens"), tokenizer, asked, 300).digest == expected


def test_of_every_block_the_head_is_a_sequence(place: Path) -> None:
    """As the authors' code cuts blocks of 65,536 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    asked = recipe("short", ["length=8", "block=20", "steps=2", "batch=1", "separators=none"])
    data = sequences(read_texts(place / "texts"), tokenizer, asked, 300)
    stream = [
        token for path in sorted((place / "texts").iterdir()) for token in tokenizer(path.read_text())["input_ids"]
    ]
    assert data.ids.tolist() == [stream[at : at + 8] for at in range(0, len(stream) - 19, 20)]


def test_repeated_texts_are_gone_through_in_another_order(place: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    long = ["length=512", "batch=1", "steps=12"]
    with pytest.raises(BadValue, match=r"give 4 sequences, and 12 steps of 1 take 12; .*repeat=true"):
        sequences(read_texts(place / "texts"), tokenizer, recipe("short", long), 300)
    data = sequences(read_texts(place / "texts"), tokenizer, recipe("short", [*long, "repeat=true"]), 300)
    epochs = [[tuple(data.batch(4 * epoch + n)[0]) for n in range(4)] for epoch in range(3)]
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 1
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_folder_is_one_tunings(place: Path, full: Tuned) -> None:
    assert quiet(tuning(place, "full")).status == "there"
    with pytest.raises(BadValue, match=r"another tuning \(recipe.lr was 0.01, now 0.02\)"):
        quiet(dataclasses.replace(tuning(place, "full"), recipe=recipe("short", settings("lr=0.02"))))
    with pytest.raises(BadValue, match="holds something else"):
        quiet(tuning(place, "texts"))


def test_what_cannot_fit_is_refused(place: Path) -> None:
    """16 bytes a weight alone are more than what is free."""
    model = AutoModelForCausalLM.from_pretrained(place / "model")
    asked = tuning(place, "never")
    need = 16 * model.num_parameters()
    check_memory(model, asked, 100 * need)
    with pytest.raises(UserError, match=r"tuning takes about .* has .* free: use --lora"):
        check_memory(model, asked, need)
