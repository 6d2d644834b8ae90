"""The names of a language model's position encodings, without torch: for options, tables and figures."""

from __future__ import annotations

from collections.abc import Iterable

from posgen.errors import BadValue, nearest

PLAIN = "none"
RESONANCE = "resonance"
CLIP = "clip"
SCALINGS = {
    "pi": "pi", "ntk": "ntk", "ntk_by_parts": "ntk_by_parts", "dynamic_ntk": "dynamic_ntk", "yarn": "yarn",
    "llama3": "llama3",
}  # fmt: skip
TITLES = {
    PLAIN: "None", "pi": "PI", "ntk": "NTK-aware", "ntk_by_parts": "NTK-by-parts", "dynamic_ntk": "Dynamic NTK",
    "yarn": "YaRN", "llama3": "Llama 3", CLIP: "Clip",
}  # fmt: skip
NAMES = tuple(
    name for plain in (PLAIN, *SCALINGS, CLIP)
    for name in (plain, RESONANCE if plain == PLAIN else f"{RESONANCE}_{plain}")
)  # fmt: skip
"""Every name that --rope takes; each second one has Resonance on top of the one before it."""


def title(name: str) -> str:
    """What tables call an encoding: `Resonance YaRN`; a name that is none of ours stays as it is."""
    if name == RESONANCE:
        return "Resonance"
    plain = plain_of(name)
    shown = TITLES.get(plain, plain)
    return f"Resonance {shown}" if plain != name else shown


def plain_of(name: str) -> str:
    """The encoding without Resonance: `yarn` of `resonance_yarn`, `none` of `resonance`."""
    return PLAIN if name == RESONANCE else name.removeprefix(f"{RESONANCE}_")


def order(name: str) -> int:
    """A sorting key: as in `NAMES`, others last."""
    return NAMES.index(name) if name in NAMES else len(NAMES)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once. BadValue for one that is unknown."""
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in NAMES:
            raise BadValue("rope", name, nearest(name, NAMES))
    if not chosen:
        raise BadValue("rope", "", f"name one of {', '.join(NAMES)}")
    return chosen
