"""Options and trailing arguments, joined and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posgen.errors import BadValue


@dataclass(frozen=True)
class Request:
    """A user's choices, names checked; None where the profile has the default."""

    tasks: list[str]
    pes: list[str]
    seeds: list[int] | None
    protocols: list[str] | None
    profile: str
    overrides: tuple[str, ...]


def request(
    trailing: Sequence[str] | None,
    *,
    takes: Sequence[str] = ("task", "pe", "seed", "protocol", "profile"),
    roots: Sequence[str] | None = None,
    task: str | None = None,
    pe: str | None = None,
    seed: str | None = None,
    protocol: str | None = None,
    profile: str | None = None,
    device: str | None = None,
    threads: str | None = None,
    default_task: str = "all",
    default_pe: str | None = "all",
    default_profile: str,
    sweeps: bool = False,
) -> Request:
    """Join options and trailing arguments (`--pe yarn` and `pe=yarn` are the same), each given once at most.

    Without a task or an encoding those of the profile count (one for texts has them), and without these the defaults.

    `takes` are those of the five choices that the command supports, `roots` the groups of settings (None: all);
    anything else is an error, not ignored.
    """
    from conf.overrides import check_choice, numbers, of_profile, read, words
    from conf.published import table1_names

    added = [f"{key}={value}" for key, value in (("device", device), ("threads", threads)) if value is not None]
    parsed = read([*(trailing or ()), *added], sweeps=sweeps)
    for text in parsed.overrides:
        key, _, value = text.partition("=")
        if roots is not None and key.partition(".")[0] not in roots:
            raise BadValue(key, value, f"is not supported by this command{_which(roots)}; leave it out")
    options = {"task": task, "pe": pe, "seed": seed, "protocol": protocol, "profile": profile}
    for key, typed in options.items():
        if typed is not None and not typed.strip():
            raise BadValue(key, "''", "is empty; name a value, or leave the option out")
    for key, value in parsed.chosen.items():
        if key not in takes:
            raise BadValue(key, value, f"is not supported by this command{_which(takes)}; leave it out")
        if options[key] is not None:
            raise BadValue(key, value, f"is given as --{key} {options[key]} too; give it once")
        options[key] = value

    chosen_profile = options["profile"] or default_profile
    check_choice("profile", chosen_profile)

    def names(group: str, default: str | None, everything: Sequence[str] = ()) -> list[str] | None:
        text = options[group] or ((default and ",".join(of_profile(f"{group}s", chosen_profile))) or default)
        if text is None:
            return None
        if text == "all" and everything:
            return list(everything)
        listed = words(group, text)
        for name in listed:
            # Composing checks the rest: a user's own class, and the overridden switches of a preset.
            if not (group == "pe" and ":" in name):
                check_choice(group, name.partition("+")[0] if group == "protocol" else name)
        return listed

    tasks, pes = table1_names()
    return Request(
        tasks=names("task", default_task, tasks) or [],
        pes=names("pe", default_pe, pes) or [],
        seeds=None if options["seed"] is None else numbers("seed", options["seed"]),
        protocols=names("protocol", None),
        profile=chosen_profile,
        overrides=parsed.overrides,
    )


def _which(names: Sequence[str]) -> str:
    return f", which takes {', '.join(names)}" if names else ""
