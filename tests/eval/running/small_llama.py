"""A random Llama with a tokenizer of single bytes, and texts: what a fine-tuning needs, in a folder of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from conf.finetuning import recipe
from eval.running.llm.adaptation import Tuned, Tuning
from eval.running.llm.finetuning import finetune
from eval.store.lm_kinds import AdaptationRecord

CONTEXT = 64
SIZES = {
    **{"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 1},
}


def write_model(folder: Path, tied: bool = False) -> Path:
    """A model of 64 tokens' context, saved as transformers saves it. `tied`: its output layer is the embedding."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied)).save_pretrained(folder)  # type: ignore[arg-type]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1} | {letter: 2 + at for at, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    return folder


def write_texts(folder: Path, count: int = 4, words: int = 120) -> Path:
    """Text files of numbers in words, each another."""
    folder.mkdir()
    names = ["nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for number in range(count):
        line = " ".join(names[(place * place + number) % 10] for place in range(words))
        (folder / f"text-{number}.txt").write_text(line, encoding="utf-8")
    return folder


FAST = ("steps=4", "batch=4", "micro_batch=2", "length=32", "lr=1e-2", "warmup=0.25", "precision=fp32")


def write_all(folder: Path) -> Path:
    """Models and texts below a folder."""
    write_model(folder / "model")
    write_model(folder / "tied", tied=True)
    write_texts(folder / "texts")
    return folder


def tuning(place: Path, name: str, *changed: str, rope: str = "yarn", **other: Any) -> Tuning:
    return Tuning(
        model=str(place / "model"), texts=place / "texts", recipe=recipe("short", settings(*changed)), rope=rope,
        factor=other.pop("factor", 2.0), out=place / name, records=place / "records.jsonl", threads=1, **other,
    )  # fmt: skip


def settings(*changed: str) -> list[str]:
    """Those of `FAST`, some of them changed."""
    return list(({each.partition("=")[0]: each for each in (*FAST, *changed)}).values())


def quiet(asked: Tuning) -> Tuned:
    return finetune(asked, lambda line: None)


def record_of(tuned: Tuned) -> AdaptationRecord:
    assert tuned.record is not None
    return tuned.record
