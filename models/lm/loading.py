"""Load a causal language model from a folder or a hub name, and say which one it is."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import models.hf  # noqa: F401 - registers the rope types, and says what to install
from models.hf.adapter import FILE as ROPE_FILE
from models.hf.adapter import check_saved_rope
from models.hf.finding import model_of
from models.hf.ropes import layer_types, longest, read
from models.lm.ropes import PLAIN
from models.lm.versions import check_transformers
from posgen.errors import BadValue, UserError, nearest, told
from posgen.plain import digest

check_transformers()

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NOTE = "posgen-model.json"
"""A file in a model's folder that says what its weights are, such as `Q4_1, dequantised` (`posgen llm prepare`)."""
_NOTED: dict[str, type] = {"name": str, "note": str, "tuning": dict}
_CHUNK = 1 << 22


@dataclass(frozen=True)
class LanguageModel:
    """A model in evaluation mode and its tokenizer. `identity` is what a record keeps of it: name, architecture, digest
    of the weights (of a hub model the commit), context length, rope parameters, and what its weights are."""

    model: Any
    tokenizer: Any
    source: str
    dtype: str
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tables call it: with an adapter, the adapter's name and notes."""
        adapter = self.identity.get("adapter", {})
        note = adapter.get("note") or self.identity.get("note")
        name = adapter.get("name") or self.identity["name"]
        return f"{name} ({note})" if note else str(name)

    @property
    def tuned_with(self) -> str | None:
        """The name of the encoding that `posgen llm finetune` tuned it with (models.lm.ropes); None when it did not."""
        tuning = (self.identity.get("adapter") or self.identity).get("tuning") or {}
        return tuning.get("encoding")

    @property
    def key(self) -> str:
        """12 hex digits of its identity."""
        return digest(self.identity)

    @property
    def owner(self) -> Any:
        """The transformers model inside an adapter or another wrapper."""
        return model_of(self.model)

    @property
    def config(self) -> Any:
        """Of the text model."""
        return self.owner.config.get_text_config(decoder=True)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load(source: str, dtype: str = "fp32", device: str = "cpu", adapter: str | None = None) -> LanguageModel:
    """A causal language model and its tokenizer, from a folder or from the Hugging Face hub; with `adapter`, a PEFT
    adapter's folder on top of it, whose saved rope is put into the model first. `dtype` is one of `DTYPES`.

    Raises UserError in one line when there is none, it cannot be read, or a file of it is missing.
    """
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # of a second's work
    if dtype not in DTYPES:
        raise BadValue("dtype", dtype, nearest(dtype, DTYPES))
    check_source(source)
    added = None if adapter is None else _described_adapter(adapter)
    try:
        config = AutoConfig.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = read_weights(source, config=config, dtype=DTYPES[dtype])
    except Exception as error:  # transformers raises many kinds for a folder that lacks a file
        raise UserError(f"model={source}: cannot be loaded ({told(error)}); name a folder that has one") from error
    model.eval().requires_grad_(False)
    described = identity(source, config)
    if adapter is not None:
        model = _with_adapter(model, adapter)
        described["adapter"] = added
        described["rope"] = _rope(model_of(model).config.get_text_config(decoder=True))
    else:
        _check_rope_of(model, source)
    try:
        torch.nn.Module.to(model, device)
    except (RuntimeError, AssertionError) as error:
        raise BadValue("device", device, f"torch cannot use it ({told(error)}); use cpu") from error
    return LanguageModel(model, tokenizer, source, dtype, described)


def read_weights(source: str, **keys: Any) -> Any:
    """The causal language model of a folder. Raises what transformers raises, and ValueError where weights are missing,
    which transformers would draw at random."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **keys)
    model, seen = loaded
    if missing := sorted(seen["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"the weights {missing[0]}{more} are missing")
    return model


def check_source(source: str) -> None:
    """UserError unless `source` is a folder with a config, or may be a name on the hub."""
    folder = Path(source)
    if folder.is_dir():
        if (folder / "adapter_config.json").is_file():
            raise BadValue("model", source, "is an adapter; name its base as the model and this folder as the adapter")
        if not (folder / "config.json").is_file():
            raise BadValue("model", source, "the folder has no config.json; name one that transformers can load")
    elif folder.exists():
        raise BadValue("model", source, "is a file; name the folder that transformers can load, or convert a GGUF file "
                       "with posgen llm prepare --gguf FILE")  # fmt: skip
    elif source.count("/") != 1 or source.startswith(("/", ".")):
        raise BadValue("model", source, "is no folder; name one, or a model of the hub such as owner/name")


def identity(source: str, config: Any) -> dict[str, Any]:
    """What a record keeps of a model: nothing in it depends on where the folder lies."""
    folder = Path(source)
    text = config.get_text_config(decoder=True)
    described: dict[str, Any] = {
        "name": source if not folder.is_dir() else folder.resolve().name,
        "architecture": (getattr(config, "architectures", None) or [type(config).__name__])[0],
        "context": longest(text),
        "rope": _rope(text),
    }
    if folder.is_dir():
        described["weights"] = weights_digest(folder)
        described |= _note(folder)
    else:
        described["weights"] = str(getattr(config, "_commit_hash", None) or "unknown")
    return described


def _rope(text: Any) -> dict[str, Any]:
    return {str(name or "all"): read(text, name) for name in layer_types(text)}


def _check_rope_of(model: Any, source: str) -> None:
    """UserError when the folder of a tuned model says that it was tuned with another encoding than it loads with."""
    if (Path(source) / ROPE_FILE).is_file():
        try:
            check_saved_rope(model, source)
        except UserError as error:
            raise UserError(
                f"model={source}: loads with another encoding than it was tuned with ({error}); restore its config.json"
            ) from None


def refuse_other_rope(model: LanguageModel, names: Iterable[str], override: bool = False) -> None:
    """BadValue when a model that was tuned with an encoding is asked for another one, unless `override` says that this
    is meant: its weights have adapted to theirs, which is `none`."""
    for name in names:
        if model.tuned_with is not None and name not in (PLAIN, model.tuned_with) and not override:
            remedy = (
                f"{model.name} was tuned with {model.tuned_with}; use none, which is that encoding, or add --other-rope"
            )
            raise BadValue("rope", name, remedy)


def weights_digest(folder: Path) -> str:
    """16 hex digits of the sha256 of the names and contents of a folder's weight files."""
    files = sorted(path for suffix in ("safetensors", "bin", "gguf") for path in folder.glob(f"*.{suffix}"))
    if not files:
        raise UserError(f"{folder} has no weights (*.safetensors); name a folder that has")
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode())
        try:
            with path.open("rb") as file:
                while piece := file.read(_CHUNK):
                    total.update(piece)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): let this user read it") from None
    return total.hexdigest()[:16]


def _note(folder: Path) -> dict[str, Any]:
    """What `posgen llm prepare` and `finetune` wrote about the weights; empty without such a file."""
    try:
        content = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / NOTE} cannot be read ({told(error)}); delete or restore it") from None
    if not isinstance(content, dict):
        raise UserError(f"{folder / NOTE} is no JSON object; delete or restore it")
    for key, kind in _NOTED.items():
        if not isinstance(content.get(key, kind()), kind):
            raise UserError(f"{folder / NOTE}: {key} is not a {kind.__name__}; delete or restore it")
    return {key: value for key, value in content.items() if key in _NOTED}


def _described_adapter(adapter: str) -> dict[str, Any]:
    """What a record keeps of an adapter. UserError when the folder holds none, before its base is loaded."""
    folder = Path(adapter)
    if not (folder / "adapter_config.json").is_file():
        raise BadValue("adapter", adapter, "the folder has no adapter_config.json; name one that PEFT saved")
    return {"name": folder.resolve().name, "weights": weights_digest(folder), **_note(folder)}


def _with_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ModuleNotFoundError:
        raise BadValue("adapter", adapter, "needs peft: pip install 'posgen[llm]'") from None
    from models.hf import load_rope

    load_rope(model, adapter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that it has renamed
        warnings.filterwarnings("error", message="Found missing adapter keys")  # which would stay as drawn at random
        try:
            return PeftModel.from_pretrained(model, adapter).eval().requires_grad_(False)
        except Exception as error:  # PEFT raises many kinds for a damaged file or another base
            remedy = f"cannot be loaded ({told(error)}); name an adapter of this model"
            raise BadValue("adapter", adapter, remedy) from error
