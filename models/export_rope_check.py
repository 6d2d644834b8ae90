"""Run as a program: what stock transformers makes of the rope in FOLDER/config.json, as one line of JSON.

    python -P export_rope_check.py FOLDER LAYER_TYPE LENGTH...

It imports nothing of this package, so that its numbers are those of a user who does not have it. The model's weights
are never made: the rotary module alone is built again on the CPU and asked for each length.
"""

import json
import sys
from typing import Any

import torch
import transformers


def main(folder: str, layer_type: str, lengths: list[int]) -> dict[str, Any]:
    """The rotary table of the text model, for each length; exits with a line when there is none."""
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    text = model.config.get_text_config(decoder=True)
    found = [m for m in model.modules() if getattr(m, "config", None) is text and hasattr(m, "rope_type")]
    if not found:
        sys.exit(f"{type(model).__name__} has no rotary module that follows rope parameters")
    module: Any = type(found[0])(config=text)
    named = [layer_type] if isinstance(module.rope_type, dict) else []
    prefix = f"{layer_type}_" if named else ""
    parameters = getattr(text, "rope_parameters", None) or {"rope_theta": getattr(text, "rope_theta", None)}
    parameters = parameters[layer_type] if named else parameters
    tables = []
    for length in lengths:
        module(torch.zeros(1), torch.tensor([[0, length - 1]]), *named)
        tables.append(getattr(module, f"{prefix}inv_freq").tolist())
    return {
        "version": transformers.__version__,
        "rope_type": module.rope_type[layer_type] if named else module.rope_type,
        "base": float(parameters["rope_theta"]),
        "inv_freq": tables,
        "attention_factor": float(getattr(module, f"{prefix}attention_scaling")),
        "max_position_embeddings": text.max_position_embeddings,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]])))
