"""A declaration for tests: p-RoPE crossed with Resonance and a base of three levels, as its YAML would hold it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from conf.experiments import Experiment, parsed

NODE: dict[str, Any] = {
    "name": "tiny",
    "title": "Does the machinery of experiments work?",
    "date": "2026-11-27",
    "question": "Which of three factors changes anything where nothing is learned?",
    "tasks": ["recursive", "cot"],
    "profiles": [{"name": "smoke", "seeds": [1, 2, 3]}],
    "factors": [
        {
            "name": "p_rope",
            "levels": [
                {"name": "all_rotate"},
                {"name": "p_rope", "title": "p-RoPE", "settings": {"scaling": "p_rope", "params": {"p": 0.28125}}},
            ],
        },
        {
            "name": "resonance",
            "levels": [
                {"name": "unrounded"},
                {"name": "resonance", "title": "Resonance", "settings": {"resonance": True}},
            ],
        },
    ],
    "hypotheses": [
        {"name": "H1", "claim": "p-RoPE raises OOD accuracy.", "effect": ["p_rope"], "direction": "higher"},
    ],
}


def node(**keys: Any) -> dict[str, Any]:
    """The declaration with other top-level keys; those that are None are left out."""
    made = {**copy.deepcopy(NODE), **keys}
    return {key: value for key, value in made.items() if value is not None}


def experiment(**keys: Any) -> Experiment:
    """The declaration as a value."""
    return parsed(node(**keys), keys.get("name", "tiny"), "tiny.yaml")


def write(folder: Path, **keys: Any) -> Path:
    """The declaration as a file below a folder."""
    path = folder / f"{keys.get('name', 'tiny')}.yaml"
    path.write_text(yaml.safe_dump(node(**keys), sort_keys=False))
    return path


THREE_BASES = {
    "name": "base",
    "levels": [
        {"name": "base_10000"},
        {"name": "base_64", "settings": {"base": 64}},
        {"name": "base_500", "settings": {"base": 500.0}},
    ],
}
