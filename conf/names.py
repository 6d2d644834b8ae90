"""What readers call the things that records know by their ids. An id that is not here is shown as it is."""

from __future__ import annotations

RESONANCE = "resonance_"
_ENCODINGS = {
    "rope": "RoPE", "yarn": "YaRN", "pi": "PI", "ntk": "NTK-aware", "dynamic_ntk": "Dynamic NTK",
    "ntk_by_parts": "NTK-by-parts", "llama3": "Llama 3", "longrope": "LongRoPE", "p_rope": "p-RoPE",
    "partial": "Partial rotary", "randomized": "Randomized RoPE", "nope": "NoPE", "alibi": "ALiBi",
    "t5_bias": "T5 bias", "fire": "FIRE", "learned": "Learned", "sinusoidal": "Sinusoidal",
}  # fmt: skip
_TASKS = {"recursive": "Recursive", "cot": "CoT", "semi_recursive": "Semi-recursive"}
_PROTOCOLS = {
    "paper": "trained with the encoding that it is tested with, as the text says",
    "zero_shot": "trained with the plain encoding, scaled only when tested, with the released code's lengths",
    "zero_shot_text": "trained with the plain encoding, scaled only when tested, with the lengths that the text states",
    "released": "the released code's own choices throughout",
}


def encoding(pe: str) -> str:
    """`resonance_yarn` -> `Resonance YaRN`."""
    if pe.startswith(RESONANCE):
        return f"Resonance {encoding(pe.removeprefix(RESONANCE))}"
    return _ENCODINGS.get(pe, pe)


def task(name: str) -> str:
    """`semi_recursive` -> `Semi-recursive`."""
    return _TASKS.get(name, name)


def protocol(name: str) -> str:
    """What a protocol means in half a sentence, `zero_shot: trained with ...` or `paper+layers=6: as paper, but
    layers=6`; the bare name when it is not known."""
    preset, *thrown = name.split("+")
    if thrown:
        return f"{name}: as {preset}, but {' and '.join(thrown)}"
    return f"{name}: {_PROTOCOLS[name]}" if name in _PROTOCOLS else name


def protocol_order(name: str) -> tuple[int, str]:
    """A sorting key: the presets as listed here, each followed by what is changed of it, then others by name."""
    known, preset = list(_PROTOCOLS), name.partition("+")[0]
    return (known.index(preset) if preset in known else len(known), name)


def counterpart(pe: str) -> str:
    """The other of a pair: rope <-> resonance_rope."""
    return pe.removeprefix(RESONANCE) if pe.startswith(RESONANCE) else RESONANCE + pe


def place_order(task: str, pe: str) -> tuple[object, ...]:
    """A sorting key for (task, encoding): tasks as in the paper, encodings as they are listed here, each followed by
    its Resonance form; then others by name."""
    plain = pe.removeprefix(RESONANCE)
    tasks, encodings = list(_TASKS), list(_ENCODINGS)
    return (
        tasks.index(task) if task in tasks else len(tasks), task,
        encodings.index(plain) if plain in encodings else len(encodings), plain, pe != plain,
    )  # fmt: skip
