"""The small Llama of the golden numbers in tests/golden/llm, built without any random state of torch, and a folder with
it and a tokenizer, as the command line takes one."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.committed import ROOT

GOLDEN = ROOT / "tests" / "golden" / "llm"
SLIDING = json.loads((GOLDEN / "sliding_window_ppl.json").read_text())
TRUNCATED = json.loads((GOLDEN / "truncation_curves_stock_ropes.json").read_text())
DOCUMENTS = [np.array(ids) for ids in SLIDING["documents"]]
BOS = 1


def model(rope: dict[str, Any] | None = None, **keys: Any) -> Any:
    """The model in evaluation mode, float32, eager attention. Weights of a name depend on the name alone."""
    rope = rope or {"rope_type": "default", "rope_theta": 1e4}
    config = LlamaConfig(**{**SLIDING["config"], "rope_parameters": rope, **keys})
    config._attn_implementation = "eager"
    made = LlamaForCausalLM(config)
    state = {}
    for name, weight in made.state_dict().items():
        z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(weight.shape))
        state[name] = torch.tensor(1 + 0.1 * z if weight.ndim == 1 else 0.35 * z, dtype=torch.float32)
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


def save(folder: Path) -> Path:
    """The model and a tokenizer for which the text `w5 w96` is the ids [5, 96]."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model().save_pretrained(folder)
    words = {"<pad>": 0, "<s>": BOS, "</s>": 2, **{f"w{i}": i for i in range(3, 97)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    keys = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, **keys).save_pretrained(folder)
    return folder


def text(ids: Any) -> str:
    """What the saved tokenizer turns into these ids."""
    return " ".join(f"w{i}" for i in ids)


def write_texts(folder: Path) -> Path:
    """The golden documents as text files, a.txt to d.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, ids in zip("abcd", DOCUMENTS, strict=True):
        (folder / f"{name}.txt").write_text(text(ids))
    return folder
