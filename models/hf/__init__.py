"""Resonance RoPE in a real language model: rope types for Hugging Face transformers (4.51 to 5.x), and `re_rope`.

`import models.hf` registers `resonance`, `resonance_linear`, `resonance_dynamic`, `resonance_yarn`, `resonance_llama3`,
`resonance_longrope`, ... (one for each rope type of the installed transformers) and `posgen` (any rotary encoding of
models.encodings). Their keys are the stock type's. Needs `pip install posgen[llm]`.
"""

from posgen.errors import MissingPackage

try:
    import transformers  # noqa: F401 - only to say what to install
except ModuleNotFoundError as error:
    raise MissingPackage("models.hf needs transformers: pip install 'posgen[llm]'", name="transformers") from error

from models.hf.adapter import check_saved_rope, load_rope, save_rope
from models.hf.check import check_rope
from models.hf.module import ResonanceRotary
from models.hf.registry import register
from models.hf.rerope import re_rope
from models.hf.ropes import OURS as ROPE_TYPES

register()

__all__ = [
    "ROPE_TYPES",
    "ResonanceRotary",
    "check_rope",
    "check_saved_rope",
    "load_rope",
    "re_rope",
    "save_rope",
]
