"""A rotary encoding as a configuration that stock Hugging Face transformers reads without this package.

transformers' rope type `longrope` divides each of RoPE's frequencies by a factor of its own, so it can express any
fixed table: factor_j = b^(-2j/d) / theta_j. It has two lists of factors, for sequences up to the length trained on and
for longer ones.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.encodings import Rotary
from models.encodings.scalings.base import rope_pos_freqs
from posgen.errors import BadValue, UserError

TOLERANCE = 1e-6
"""Largest relative deviation of a frequency that stock transformers may have; float32 rounding costs about 1e-7."""

BETA_FAST = 32.0
"""YaRN's beta_fast for language models: the paper's for LLaMA2 (section 4.3, after YaRN). PosGen's protocols say 2."""

LAYER_TYPE = "full_attention"
"""Where layers differ (Gemma 3), the ones that see the whole sequence; the others need no longer context."""


@dataclass(frozen=True)
class StockRope:
    """What stock transformers makes of a configuration: its rotary table, read in a process without this package.

    `inv_freq`: for each length, one number per feature, in radians per token. `hidden_states`: those of the small model
    beside the configuration, for each of its sequences.
    """

    version: str
    rope_type: str
    base: float
    inv_freq: list[list[float]]
    attention_factor: float
    max_position_embeddings: int
    hidden_states: list[Any] | None = None


def longrope(encoding: Rotary, train_length: int, test_length: int, factor: float | None = None) -> dict[str, Any]:
    """Rope parameters of type `longrope` for the encoding's table; lengths in tokens. `factor`: the scaling's own,
    which some architectures read for other purposes; None: test_length / train_length.

    The attention factor is written three times: transformers reads `attention_factor`, vLLM and SGLang `short_mscale`
    and `long_mscale`. Raises BadValue for what `longrope` cannot express: a table that depends on the length, a feature
    that does not rotate.
    """
    inv_freq = []
    # The first list serves lengths up to train_length, the second longer ones: within each the table must not change.
    for lengths in ((train_length, 1), (max(test_length, train_length + 1), train_length + 1, 16 * test_length)):
        tables = [encoding.frequencies(length)[0] for length in lengths]
        if not all(torch.equal(table, tables[0]) for table in tables):
            remedy = "its table follows the length, which no fixed one can say; use import models.hf and re_rope"
            raise BadValue("pe", encoding.name, remedy)
        if bool((tables[0] == 0).any()):
            remedy = "some of its features do not rotate, which longrope cannot say; use import models.hf and re_rope"
            raise BadValue("pe", encoding.name, remedy)
        inv_freq.append(tables[0])
    short, long = (_factors(encoding, table) for table in inv_freq)
    attention_factor = float(encoding.scaling.compute_attention_factor())
    return {
        "rope_type": "longrope",
        "rope_theta": encoding.base,
        "short_factor": short,
        "long_factor": long,
        "factor": test_length / train_length if factor is None else float(factor),
        "original_max_position_embeddings": train_length,
        "attention_factor": attention_factor,
        "short_mscale": attention_factor,
        "long_mscale": attention_factor,
    }


def _factors(encoding: Rotary, inv_freq: Tensor) -> list[float]:
    plain = rope_pos_freqs(encoding.head_dim, encoding.base)
    factors: list[float] = (1.0 / (plain.double() * inv_freq.double())).tolist()
    return factors


def fragment(rope: Mapping[str, Any], test_length: int) -> dict[str, Any]:
    """The keys to merge into a model's config.json, in the form that transformers 4.5x and 5.x both read."""
    return {
        "max_position_embeddings": test_length,
        "original_max_position_embeddings": rope["original_max_position_embeddings"],
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {key: value for key, value in rope.items() if key != "rope_theta"},
    }


def merged(
    config: Mapping[str, Any], rope: Mapping[str, Any], test_length: int, kept: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A model's config.json with these rope parameters, in the form that it had (`rope_parameters` or `rope_scaling`).
    `kept`: keys that do not belong to the rope type and stay (partial_rotary_factor, mrope_section, ...)."""
    result: dict[str, Any] = copy.deepcopy(dict(config))
    text = result["text_config"] if isinstance(result.get("text_config"), dict) else result
    keys = fragment(rope, max(test_length, text.get("max_position_embeddings") or 0))
    old = text.get("rope_parameters")
    rest = {key: value for key, value in (kept or {}).items() if key not in rope}
    if not old:
        text.update(keys)
        text["rope_scaling"] = {**rest, **keys["rope_scaling"]}
        if "partial_rotary_factor" in text or "rotary_pct" in text:  # it is written outside of the rope parameters
            text["rope_scaling"].pop("partial_rotary_factor", None)
        if "rotary_emb_base" in text:  # GPT-NeoX's name of rope_theta
            del text["rope_theta"]
        return result
    nested = isinstance(old.get(LAYER_TYPE), dict)
    before = old[LAYER_TYPE] if nested else old
    rest = {**{key: value for key, value in before.items() if key == "partial_rotary_factor"}, **rest}
    text["rope_parameters"] = {**old, LAYER_TYPE: {**rest, **rope}} if nested else {**rest, **rope}
    text["max_position_embeddings"] = keys["max_position_embeddings"]
    text["original_max_position_embeddings"] = keys["original_max_position_embeddings"]
    return result


def standalone(head_dim: int, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest Llama with heads of this size and these keys, in which a fragment is checked."""
    sizes = {"hidden_size": head_dim, "intermediate_size": 8, "vocab_size": 8, "num_hidden_layers": 1}
    return {"model_type": "llama", **sizes, "num_attention_heads": 1, "num_key_value_heads": 1, **keys}


def stock_rope(
    config: Mapping[str, Any], lengths: Sequence[int], save_small: Callable[[Path], None] | None = None
) -> StockRope:
    """Let transformers read a configuration in a process that never imports this package. `save_small` saves a small
    model to a folder; it is loaded and run there.

    UserError when transformers refuses the configuration.
    """
    script = Path(__file__).with_name("longrope_check.py")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if save_small is not None:
            save_small(Path(folder) / "small")
        # -P: the script's own folder, where this package's modules lie, stays off the path.
        words = [sys.executable, "-P", str(script), folder, LAYER_TYPE, *map(str, lengths)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise UserError(f"transformers cannot use this configuration: {_cause(done.stderr)}")
    return StockRope(**json.loads(done.stdout.splitlines()[-1]))


def _cause(stderr: str) -> str:
    """The exception that ended a process, from its name on: messages of transformers run over several paragraphs."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    first = next((i for i in range(len(lines) - 1, -1, -1) if re.match(r"[\w.]+(Error|Exception)\b", lines[i])), -1)
    return " ".join(lines[first:]) if lines else "it says nothing"


def deviation(encoding: Rotary, stock: StockRope, lengths: Sequence[int]) -> float:
    """Largest relative deviation of stock's frequencies from the encoding's, over features and lengths.

    UserError above TOLERANCE, or when the attention factor or the number of features differs.
    """
    worst = 0.0
    for length, table in zip(lengths, stock.inv_freq, strict=True):
        inv_freq, factor = encoding.frequencies(length)
        if len(table) != len(inv_freq):
            raise UserError(f"the model rotates {len(table)} features of a head, the encoding {len(inv_freq)}")
        wrong = (torch.tensor(table, dtype=torch.float64) / inv_freq.double() - 1).abs()
        worst = max(worst, float(wrong.max()))
        if not worst <= TOLERANCE or abs(stock.attention_factor / factor - 1) > TOLERANCE:
            raise UserError(
                f"transformers {stock.version} reads the configuration otherwise (feature {int(wrong.argmax())} "
                f"deviates by {worst:.1e}, attention factor {stock.attention_factor} where {factor} is right); "
                "use import models.hf and re_rope"
            )
    return worst
