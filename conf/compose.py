"""From choices and overrides to a resolved, typed configuration. Hydra's compose API; its errors end here."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from conf import resolvers
from conf.merging import merged
from conf.overrides import SYMBOLS, check_choice, composition_error, parse, read
from conf.schema import GROUPS, Config
from models.spec import EncodingSpec, LogitScale
from posgen.errors import BadValue, UserError, nearest
from posgen.own_code import trust
from posgen.plain import plain
from posgen.spec import Task

OWN = "rope"
"""The file of conf/pe that a user's own class starts from."""


@dataclass(frozen=True)
class Choice:
    """One file of each group that an experiment varies. None: the default of conf/config.yaml. `pe` may also be a
    user's own class, `package.module:Class` or `path/to/file.py:Class`; `protocol` a preset with
    overridden switches, `paper+splits=released`, which is then the protocol's name."""

    task: str | None = None
    pe: str | None = None
    protocol: str | None = None
    profile: str | None = None


def compose(choice: Choice, overrides: Sequence[str] = ()) -> Config:
    """A single configuration; see `composer` for many."""
    with composer() as make:
        return make(choice, overrides)


@contextmanager
def composer() -> Iterator[Callable[[Choice, Sequence[str]], Config]]:
    """A function (choice, overrides) -> Config. The first call for a choice reads its files, which takes a tenth of a
    second; one with another encoding or other overrides takes a fifth of that.

    Raises BadValue or UserError, one line each, for anything that the user can mend. `overrides` come from
    `conf.overrides.read`.
    """
    resolvers.register()
    yield _compose


def _compose(choice: Choice, overrides: Sequence[str]) -> Config:
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    named = {k: v for k, v in dataclasses.asdict(choice).items() if v is not None}
    if choice.pe and ":" in choice.pe:
        named["pe"] = OWN
        overrides = [*_own_encoding(choice.pe), *overrides]
    if choice.protocol and "+" in choice.protocol:
        named["protocol"], switches = _overridden_switches(choice.protocol, overrides)
        overrides = [*switches, *overrides]
    for group, name in named.items():
        check_choice(group, name)
    params = [o for o in overrides if o.startswith("pe.params.")]
    # `model=NAME` picks a file, `model.layers=2` sets a value in what the files gave.
    files = [o for o in overrides if o.partition("=")[0] in GROUPS]
    values = [parse(o) for o in overrides if o not in params and o not in files]
    try:
        node = copy.deepcopy(merged(tuple(sorted(named.items())), tuple(files)))
        for override in values:
            key, value = override.key_or_group, override.value()
            given = SYMBOLS.get((key, value), value) if isinstance(value, str) else value
            OmegaConf.update(node, key, given, merge=True)
        _set_params(node, params, checked=not any(o.startswith(("pe.scaling=", "pe.kind=")) for o in overrides))
        return _typed(node)
    except OmegaConfBaseException as error:
        raise UserError(composition_error(error)) from error
    except HydraException as error:
        raise UserError(composition_error(error.__cause__ or error)) from error


def _own_encoding(name: str) -> list[str]:
    """What `--pe path/to/file.py:Class` or `package.module:Class` changes of conf/pe/rope.yaml."""
    from models.encodings import Encoding
    from models.encodings.build import own_class

    key = "kind" if issubclass(own_class(name), Encoding) else "scaling"
    return [f"pe.name={name.rpartition(':')[2]}", f"pe.{key}={_quoted(name)}"]


def _overridden_switches(protocol: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """`paper+splits=released` -> the preset `paper`, and what the rest of the name changes of it.

    Raises BadValue for a switch that is no key of conf/protocol, a value that it does not take, or one that `overrides`
    sets too.
    """
    preset, *changes = protocol.split("+")
    switches = [f"protocol.{change}" for change in changes]
    read(switches)
    for text in switches:
        key, _, value = text.partition("=")
        if any(other.partition("=")[0] == key for other in overrides):
            raise BadValue(key, value, f"is the protocol {protocol} already; leave the setting out")
    return preset, [*switches, f"protocol.name={_quoted(protocol)}"]


def _identified(task: Task) -> Task:
    """The task with the identity of what it reads from files: the user's own h, or its texts."""
    if task.is_text:
        from posgen.texts import identified

        return identified(task)
    return dataclasses.replace(task, code=_function_code(task.h))


def _function_code(h: str) -> str:
    """The identity of the user's own h, empty for a built-in one."""
    from posgen.functions import own_code

    trust(h)
    try:
        return own_code(h)
    except BadValue as error:
        raise error.under("task") from error


def _code(spec: EncodingSpec) -> str:
    """The identity of the user's own code in an encoding, empty without any."""
    if ":" not in spec.kind + spec.scaling:
        return ""
    from models.encodings.build import own_code

    trust(spec.kind, spec.scaling)
    return own_code(spec)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _set_params(node: Any, params: Sequence[str], checked: bool) -> None:
    """`pe.params.factor=8`: the keys are the encoding's own, so that they are checked here, against its YAML.

    Not with a scaling that the YAML does not know: then eval.running.plan builds it, and the scaling checks them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import open_dict

    from models.encodings.build import parameter_names

    for text in params:
        override = OverridesParser.create().parse_override(text)
        key = override.key_or_group.removeprefix("pe.params.")
        known = sorted(node.pe.params)
        if checked and key not in known and key not in parameter_names(node.pe.kind, node.pe.scaling):
            remedy = nearest(key, known) if known else f"the encoding {node.pe.name} has no parameters"
            raise BadValue(f"pe.params.{key}", override.value(), remedy)
        with open_dict(node.pe.params):
            node.pe.params[key] = override.value()


def _typed(node: Any) -> Config:
    """Resolve every interpolation and let the dataclasses check their ranges, group by group for the keys' names."""
    from omegaconf import OmegaConf

    values: dict[str, Any] = {}
    for name in (f.name for f in dataclasses.fields(Config)):
        child = node[name]
        if name not in GROUPS:
            values[name] = child
            continue
        try:
            values[name] = OmegaConf.to_object(child)
        except BadValue as error:
            raise error.under(name) from error
    # Interpolated switches arrive as enums; the scalings' own parameters are words and numbers.
    values["pe"] = dataclasses.replace(
        values["pe"], params=plain(values["pe"].params), code=_code(values["pe"]),
        logit_length=_logit_length(values["pe"], values["data"].train_length),
    )  # fmt: skip
    values["task"] = _identified(values["task"])
    config = Config(**values)
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    """What a task asks of the data. Raises BadValue."""
    from posgen.splits import check_length, check_splits

    try:
        check_length(config.task, config.data)
        check_splits(config.task, config.data)
    except BadValue as error:
        raise error.under("data") from error


def _logit_length(pe: EncodingSpec, train_length: int) -> int | None:
    """The length that a scale of the logits refers to: the training length unless one is given. None where the scale
    does not depend on it."""
    needed = pe.logit_scale is not LogitScale.none and (pe.logit_scale is LogitScale.log_n or pe.logit_s is None)
    return train_length if needed and pe.logit_length is None else pe.logit_length
