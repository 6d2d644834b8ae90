"""Run as a program: what stock transformers makes of the configuration in FOLDER, as one line of JSON.

    python -P longrope_check.py FOLDER LAYER_TYPE LENGTH...

FOLDER/config.json: only the rotary module of this model is built, on the CPU, and asked for its table at each length.
FOLDER/small, if it exists: a small model with weights, and in ids.json and positions.json what to run it on; its hidden
states are part of the output.

It imports nothing of this package, so that its numbers are those of a user who does not have it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers


def main(folder: str, layer_type: str, lengths: list[int]) -> dict[str, Any]:
    """The rotary table of the text model, for each length; exits with a line when there is none."""
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    text = model.config.get_text_config(decoder=True)
    rotary = [m for m in model.modules() if getattr(m, "config", None) is text and hasattr(m, "rope_type")]
    if not rotary:
        sys.exit(f"{type(model).__name__} has no rotary module that follows rope parameters")
    module: Any = type(rotary[0])(config=text)
    named = [layer_type] if isinstance(module.rope_type, dict) else []
    prefix = f"{layer_type}_" if named else ""
    parameters = getattr(text, "rope_parameters", None) or {"rope_theta": getattr(text, "rope_theta", None)}
    parameters = parameters[layer_type] if named else parameters
    axes = getattr(module, "mrope_section", None)
    tables = []
    for length in lengths:
        positions = torch.tensor([[0, length - 1]])
        module(torch.zeros(1), positions if axes is None else positions.expand(len(axes), -1, -1), *named)
        tables.append(getattr(module, f"{prefix}inv_freq").tolist())
    return {
        "version": transformers.__version__,
        "rope_type": module.rope_type[layer_type] if named else module.rope_type,
        "base": float(parameters["rope_theta"]),
        "inv_freq": tables,
        "attention_factor": float(getattr(module, f"{prefix}attention_scaling")),
        "max_position_embeddings": getattr(text, "max_position_embeddings", 0) or 0,
        "hidden_states": run(Path(folder) / "small"),
    }


def run(folder: Path) -> list[Any] | None:
    """Hidden states [sequences, tokens, hidden] of the small model; None without one."""
    if not folder.exists():
        return None
    model: Any = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    states = []
    for positions in json.loads((folder / "positions.json").read_text()):
        with torch.no_grad():
            output = model.eval()(input_ids=ids, position_ids=torch.tensor([positions]), use_cache=False)
        states.append(output[0][0].tolist())
    return states


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]])))
