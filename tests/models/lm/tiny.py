"""A tiny random Llama with a tokenizer of words, in a folder as transformers saves it."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_TEXT = "a the of and to in that it was for his her with on as he she be at by not had from but all"
WORDS = _TEXT.split()


def saved(folder: Path, **keys: object) -> Path:
    """The folder, with weights, config and tokenizer in it."""
    known = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes["max_position_embeddings"] = 64
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(known), **{**sizes, **keys})  # type: ignore[arg-type]
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
