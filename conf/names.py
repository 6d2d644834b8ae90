"""What readers call the things that records know by their ids: each file of conf/pe, conf/task and conf/protocol has a
`title`, and an id without one is shown as it is. Reading titles needs neither torch nor hydra."""

from __future__ import annotations

from functools import cache

from conf import files
from conf.published import table1_names

RESONANCE = "resonance_"


def encoding(pe: str) -> str:
    """`yarn` -> `YaRN`. A Resonance form is called after its plain one unless its own file has a title."""
    titles = _titles("pe")
    if pe.startswith(RESONANCE) and pe not in titles:
        return f"Resonance {encoding(plain(pe))}"
    return titles.get(pe, pe)


def task(name: str) -> str:
    """`semi_recursive` -> `Semi-recursive`."""
    return _titles("task").get(name, name)


def protocol(name: str) -> str:
    """What a protocol means in half a sentence, `zero_shot: trained with ...` or `paper+layers=6: as paper, but
    layers=6`; the bare name when it is not known."""
    preset, *switches = name.split("+")
    if switches:
        return f"{name}: as {preset}, but {' and '.join(switches)}"
    title = _titles("protocol").get(name)
    return f"{name}: {title}" if title else name


def protocol_order(name: str) -> tuple[int, str, str]:
    """A sorting key: preset `paper`, then the other presets by name, each followed by those with some of its switches
    overridden; then unknown ones."""
    preset = name.partition("+")[0]
    rank = 0 if preset == "paper" else 1 if preset in _titles("protocol") else 2
    return (rank, preset, name)


def plain(pe: str) -> str:
    """The plain one of a pair: resonance_rope -> rope, rope -> rope."""
    return pe.removeprefix(RESONANCE)


def counterpart(pe: str) -> str:
    """The other of a pair: rope <-> resonance_rope."""
    return plain(pe) if pe.startswith(RESONANCE) else RESONANCE + pe


def place_order(task: str, pe: str) -> tuple[int, str, int, str, int, str, str, bool]:
    """A sorting key for (task, encoding): those that Table 1 publishes first, in its order; then tasks by what they
    change of these (`cot_hidden`: `hidden`), in the same order, and by name, and encodings by title. An encoding is
    followed by its Resonance form."""
    first = plain(pe)
    tasks, encodings = _published()
    base = next((name for name in tasks if task.startswith(f"{name}_")), "")
    return (
        tasks.get(task, len(tasks)), task.removeprefix(f"{base}_"), tasks.get(base, len(tasks)), task,
        encodings.get(first, len(encodings)), encoding(first).casefold(), first, pe != first,
    )  # fmt: skip


def trained_as(pe: str) -> str:
    """The encoding whose training this one shares under every protocol, as its file says; empty: it has its own."""
    return _values("pe", "trained_as").get(pe, "")


@cache
def _published() -> tuple[dict[str, int], dict[str, int]]:
    """The places of Table 1's tasks and plain encodings."""
    tasks, encodings = table1_names()
    pairs = dict.fromkeys(map(plain, encodings))
    return {name: i for i, name in enumerate(tasks)}, {name: i for i, name in enumerate(pairs)}


def _titles(group: str) -> dict[str, str]:
    """Name -> title, of every file of a group that has one."""
    return _values(group, "title")


@cache
def _values(group: str, key: str) -> dict[str, str]:
    """Name -> what a file of a group says under a key, of every file that says something."""
    values = {file.stem: files.load(file).get(key) for file in files.group(group)}
    return {name: str(value) for name, value in values.items() if value}
