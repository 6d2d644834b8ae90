"""What a user may write after the options: `KEY=VALUE` in Hydra's grammar, checked before anything is composed.

`+key=value` and `~key` are refused (they slip past the schema), unknown keys are answered with the nearest known one.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from conf import files
from conf.schema import GROUPS, SINGLES, Config, ProfileSpec, dotted_keys, remedy
from posgen.errors import BadValue, UserError, nearest, shortened
from posgen.plain import restore

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# Chosen by an option (--task, --pe, ...), which takes a comma list; everything else stays an override.
CHOSEN = ("task", "pe", "protocol", "profile", "seed")
# Keys that are not part of the experiment: they do not make another profile. (Devices draw other dropout masks; a
# record names its device.)
_NEUTRAL = ("paths", "tracker", "backend", "profile", "device", "threads", "compiled", "save_seconds")
SYMBOLS = {("pe.base", "L"): "${data.train_length}"}
"""(key, value) that stands for another setting: `pe.base=L` is a base as large as the training length."""


@dataclass(frozen=True)
class Trailing:
    """Checked trailing arguments: `chosen` holds task, pe, protocol, profile and seed by key, `overrides` the rest."""

    chosen: dict[str, str]
    overrides: tuple[str, ...]


def choices(group: str) -> list[str]:
    """The names that a group offers: its YAML files."""
    return [file.stem for file in files.group(group)]


def check_choice(group: str, name: str) -> str:
    """The name itself when the group has it; BadValue with the nearest names otherwise."""
    if name not in choices(group):
        raise BadValue(group, name, nearest(name, choices(group)))
    return name


def of_profile(key: str, profile: str) -> list[str]:
    """What a profile's file lists under a key of `profile`; empty where it has none."""
    node = files.load(files.FOLDER / "profile" / f"{profile}.yaml").get("profile") or {}
    return [str(name) for name in node.get(key) or ()]


def words(key: str, text: str) -> list[str]:
    """`a,b` as [a, b], each once; an empty entry is refused."""
    entries = [w.strip() for w in text.strip("[] ").split(",")]
    if not all(entries):
        raise BadValue(key, text, "write a comma list without empty entries")
    return list(dict.fromkeys(entries))


def numbers(key: str, text: str) -> list[int]:
    """`1,2` as [1, 2], each once."""
    try:
        return list(dict.fromkeys(int(w) for w in words(key, text)))
    except ValueError:
        raise BadValue(key, text, "use whole numbers with commas between them") from None


def read(arguments: Iterable[str], sweeps: bool = False) -> Trailing:
    """Check trailing arguments. `sweeps` allows `key=a,b` and `key=range(1,4)` in the overrides."""
    chosen: dict[str, str] = {}
    kept: dict[str, str] = {}
    for argument in arguments:
        override = parse(argument)
        key = override.key_or_group
        if key in chosen or key in kept:
            raise UserError(f"{shortened(argument)}: {key} is given twice; give it once")
        if key in CHOSEN:
            chosen[key] = argument.partition("=")[2].strip()
            continue
        check(argument, override, sweeps)
        kept[key] = argument
    return Trailing(chosen, tuple(kept.values()))


def changed(profile: ProfileSpec, overrides: Sequence[str]) -> ProfileSpec:
    """A profile under overrides; another one where these can change its numbers: name, label and `changes` say so.

    `quick` with `optim.lr=0.1` becomes `quick+optim.lr=0.1`: its records lie apart and never enter quick's table.
    """
    changes = sorted(o for o in overrides if re.split(r"[.=]", o)[0] not in _NEUTRAL)
    if not changes:
        return replace(profile, changes=[])
    name = "+".join([profile.name, *changes]).replace(",", "_")
    if len(name) > 100 or not re.fullmatch(r"[A-Za-z0-9_.+=-]+", name):
        name = f"{profile.name}+{hashlib.sha256(' '.join(changes).encode()).hexdigest()[:12]}"
    return replace(profile, name=name, label=f"{profile.label}; changed: {', '.join(changes)}", changes=changes)


def parse(argument: str) -> Override:
    """One `key=value` in Hydra's grammar. Raises UserError, one line, for anything else."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    shown = shortened(argument)
    if argument.startswith(("+", "~")):
        known = shortened(argument.lstrip("+~").partition("=")[0]) or "key"
        raise UserError(f"{shown}: keys are neither added nor deleted; write {known}=value for a known key")
    if argument.startswith("-"):
        raise UserError(f"{shown}: options stand before the KEY=VALUE arguments and are listed by --help")
    if "=" not in argument:
        raise UserError(f"{shown}: trailing arguments are written KEY=VALUE, such as optim.lr=1e-3")
    try:
        override: Override = OverridesParser.create().parse_override(argument)
        override.value()
    except HydraException:
        raise UserError(
            f"{shown}: cannot be read; write KEY=VALUE, with quotes around special characters: 'key=\"a value\"'"
        ) from None
    except (ValueError, OverflowError):  # Python reads no number of more than 4300 digits
        raise UserError(f"{shown}: this number has too many digits; use a shorter one") from None
    except RecursionError:
        raise UserError(f"{shown}: has too many brackets in brackets; use fewer") from None
    if override.package is not None:
        raise UserError(f"{shown}: packages are fixed; write {shortened(override.key_or_group)}=value without @")
    return override


def check(argument: str, override: Override, sweeps: bool) -> None:
    """Refuse an override that the schema does not take, and without `sweeps` one with several values: BadValue or
    UserError."""
    key, text = override.key_or_group, argument.partition("=")[2].strip()
    if override.is_sweep_override():
        if not sweeps:
            raise BadValue(key, text, "give one value; several are for `posgen sweep`, a text with commas for quotes")
        if re.split(r"[.=]", key)[0] in _NEUTRAL:
            raise BadValue(key, text, "give one value: it changes no number, so that several would repeat one sweep")
        return
    value = override.value()
    if key in GROUPS:
        if not choices(key):
            raise BadValue(key, text, f"set its keys one by one, such as {key}.train_length=64")
        check_choice(key, str(value))
        return
    known = dict(dotted_keys())
    if key.startswith("pe.params."):
        return  # the encoding's own keys: checked against the composed encoding
    if key == "pe.params":
        raise BadValue(key, text, "set its keys one by one, such as pe.params.factor=4")
    if key not in known:
        encoding, _, parameter = key.partition(".")
        if parameter and encoding in choices("pe"):
            raise BadValue(key, text, f"with --pe {encoding} write pe.params.{parameter}={text}")
        raise BadValue(key, text, _nearest_key(key, list(known)))
    if isinstance(value, str) and (key, value) in SYMBOLS:
        return
    _check_type(key, value, text, known[key])


def _check_type(key: str, value: Any, text: str, hint: Any) -> None:
    """Let the schema itself judge whether the value converts to the field's type."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    group = key.rpartition(".")[0]
    parent = copy.deepcopy(OmegaConf.select(_schema(), group) if group else _schema())
    OmegaConf.set_readonly(parent, False)
    try:
        OmegaConf.update(parent, key.rpartition(".")[2], value)
        if isinstance(value, list):  # whose items OmegaConf does not check
            restore(hint, value, key)
    except (OmegaConfBaseException, TypeError):
        raise BadValue(key, text, remedy(hint, text)) from None


def composition_error(error: BaseException) -> str:
    """What OmegaConf or Hydra raised, in one line with a remedy: what is wrong stands in their first line, and where in
    `full_key`."""
    key = getattr(error, "full_key", None)
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    for beginning, wanted in _REMEDIES.items():
        if beginning in first:
            remedy = wanted
            break
    else:
        remedy = "write a plain value in its place"
    return f"configuration{f' key {key}' if key else ''}: {shortened(first)}; {remedy}"


# What OmegaConf complains of -> what to do about it.
_REMEDIES = {
    "Interpolation key": "${...} takes the full name of another setting, such as ${data.train_length}",
    "Environment variable": "set it, or write ${oc.env:NAME,VALUE} with a value for when it is not set",
    "Unsupported interpolation type": "${NAME:...} takes oc.env; others have no use on the command line",
    "Recursive interpolation": "let it refer to a setting that does not refer back",
}


@functools.cache
def _schema() -> Any:
    """The types of all keys. Never changed: making it takes as long as composing a configuration."""
    from omegaconf import OmegaConf

    return OmegaConf.structured(Config)


def _nearest_key(key: str, known: list[str]) -> str:
    """The nearest keys, without listing all seventy: of the same group when there is one, else by the last part."""
    group = key.partition(".")[0]
    if group in GROUPS and "." in key:
        return nearest(key, [k for k in known if k.startswith(f"{group}.")])
    tails = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    if tails:
        return f"did you mean {' or '.join(tails)}?"
    return nearest(group, [*GROUPS, *SINGLES])
