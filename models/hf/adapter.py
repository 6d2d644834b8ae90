"""The rotary encoding that an adapter was trained with, saved beside its weights. PEFT saves matrices only and nothing
of the base model's rotary encoding, so an adapter trained under YaRN would be loaded onto plain RoPE without a warning.

    save_rope(model, "my-adapter")   after model.save_pretrained("my-adapter")
    load_rope(base, "my-adapter")    before PeftModel.from_pretrained(base, "my-adapter")
    check_saved_rope(model, "my-adapter")
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from models.hf.finding import model_of, rotary_modules
from models.hf.rerope import re_rope
from models.hf.ropes import layer_types, longest, read, rotary_of
from posgen.errors import UserError

FILE = "rope.json"


def save_rope(model: Any, folder: str | Path) -> Path:
    """Write the rope parameters of a model, and a digest of its frequencies, into a folder; return the file."""
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_described(_text_config(model)), indent=2) + "\n", encoding="utf-8")
    return path


def load_rope(model: Any, folder: str | Path) -> None:
    """Put the rope that `save_rope` wrote into a model, where it has another one. UserError when it does not fit."""
    saved = _read(folder)
    config = _text_config(model)
    if _described(config) == saved:
        return
    for name, parameters in saved["rope_parameters"].items():
        length = saved["max_position_embeddings"]
        longer = length if length != longest(config) else None
        re_rope(model, parameters, layer_type=None if name == "all" else name, test_length=longer)
    check_saved_rope(model, folder)


def check_saved_rope(model: Any, folder: str | Path) -> None:
    """UserError when a model rotates queries and keys in another way than the file says."""
    saved, present = _read(folder), _described(_text_config(model))
    for key in ("rope_parameters", "max_position_embeddings", "frequencies"):
        if present[key] != saved[key]:
            raise UserError(
                f"{Path(folder) / FILE}: the adapter was trained with {key} {_short(saved[key])}, the model has "
                f"{_short(present[key])}; call models.hf.load_rope(model, folder) before the adapter is loaded"
            )


def _described(config: Any) -> dict[str, Any]:
    """Parameters by layer type (`all` where layers are alike), and 16 digits of the sha256 of the float32 frequencies
    at three lengths: versions of transformers may read the same parameters in different ways."""
    digest = hashlib.sha256()
    parameters = {}
    length = longest(config)
    for name in layer_types(config):
        parameters[name or "all"] = read(config, name)
        encoding = rotary_of(config, name)
        for now in (1, length, 4 * length):
            inv_freq, factor = encoding.frequencies(now)
            digest.update(inv_freq.numpy().tobytes() + repr(factor).encode())
    return {
        "rope_parameters": parameters,
        "max_position_embeddings": length,
        "frequencies": digest.hexdigest()[:16],
    }


def _text_config(model: Any) -> Any:
    return rotary_modules(model_of(model))[0][2].config


def _read(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / FILE
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if saved.keys() >= {"rope_parameters", "max_position_embeddings", "frequencies"}:
            return saved
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; write it with models.hf.save_rope after training") from None
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{path} is not what models.hf.save_rope writes; write it again after training")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."
