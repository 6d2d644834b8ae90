"""A tiny random Llama with a tokenizer of single bytes and a chat template, and L-Eval files of our own to ask it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TREE = "The old tree stands by the river. Its roots drink the water, and its leaves are green. " * 3
BOAT = "A boat of paper sails down the river until it meets the sea. " * 4
ROWS: dict[str, list[dict]] = {
    "tpo": [
        {"input": TREE,
         "instructions": ["where is the tree\nA. on a hill\nB. by the river", "what is green\nA. leaves"],
         "outputs": ["B", "A"], "source": "own", "evaluation": "exam"},
        {"input": BOAT, "instructions": ["what is the boat made of\nA. wood\nB. iron\nC. paper"], "outputs": ["C"],
         "source": "own", "evaluation": "exam"},
    ],
    "gsm100": [
        {"input": "Question: 1 + 1\nThe answer is 2", "instructions": [f"Question: {n} + {n}\n"],
         "outputs": [str(2 * n)], "evaluation": "exam"}
        for n in (2, 3)
    ],
    "sci_fi": [
        {"input": "On Vega stones can sing.",
         "instructions": ["Stones sing, True or False? Answer this question based on the world described in the "
                          "document."],
         "outputs": ["True [fact: False]"], "source": "own", "evaluation": "exam"},
    ],
}  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte, `<s>` in front where special tokens are added."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    bytes_ = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_.decoder = decoders.ByteLevel()
    bytes_.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=bytes_, bos_token="<s>", eos_token="</s>")
    made.chat_template = TEMPLATE
    return made


def save_model(folder: Path, seed: int = 0) -> Path:
    """The model's folder, as transformers loads it."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_data(folder: Path, rows: dict[str, list[dict]] = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
