"""From choices and overrides to a resolved, typed configuration. Hydra's compose API; its errors end here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from conf.overrides import check_choice, read
from conf.schema import GROUPS, Config, ScalingLengths
from models.spec import EncodingSpec, plain
from posgen.errors import BadValue, UserError, nearest

OWN = "rope"
"""The file of conf/pe that a user's own class starts from."""


@dataclass(frozen=True)
class Choice:
    """One file of each group that an experiment varies. None: the default of conf/config.yaml. `pe` may also be a
    user's own class, `package.module:Class` or `path/to/file.py:Class`; `protocol` a preset with switches thrown,
    `paper+splits=released`, which is then the protocol's name."""

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
    """A function (choice, overrides) -> Config. Hydra is set up once for all calls; they take about 0.1 s each.

    Raises BadValue or UserError, one line each, for anything that the user can mend. `overrides` come from
    `conf.overrides.read`.
    """
    from hydra import initialize_config_module
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    schema = OmegaConf.structured(Config)
    _thaw(schema)
    ConfigStore.instance().store(name="schema", node=schema)
    _register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        yield _compose


def _compose(choice: Choice, overrides: Sequence[str]) -> Config:
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    named = {k: v for k, v in dataclasses.asdict(choice).items() if v is not None}
    if choice.pe and ":" in choice.pe:
        named["pe"], own = OWN, _own_encoding(choice.pe)
        overrides = [*own, *overrides]
    if choice.protocol and "+" in choice.protocol:
        named["protocol"], thrown = _thrown_switches(choice.protocol, overrides)
        overrides = [*thrown, *overrides]
    for group, name in named.items():
        check_choice(group, name)
    params = [o for o in overrides if o.startswith("pe.params.")]
    try:
        node = hydra_compose(
            "config", [f"{k}={v}" for k, v in named.items()] + [o for o in overrides if o not in params]
        )
        _set_params(node, params, checked=not any(o.startswith(("pe.scaling=", "pe.kind=")) for o in overrides))
        return _typed(node)
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from error
    except HydraException as error:
        raise UserError(_one_line(error.__cause__ or error)) from error


def _own_encoding(name: str) -> list[str]:
    """What `--pe path/to/file.py:Class` or `package.module:Class` changes of conf/pe/rope.yaml."""
    from models.encodings import Encoding
    from models.encodings.build import own_class

    key = "kind" if issubclass(own_class(name), Encoding) else "scaling"
    return [f"pe.name={name.rpartition(':')[2]}", f"pe.{key}={_quoted(name)}"]


def _thrown_switches(protocol: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """`paper+splits=released` -> the preset `paper`, and what the rest of the name changes of it.

    Raises BadValue for a switch that is no key of conf/protocol, a value that it does not take, or one that `overrides`
    sets too.
    """
    preset, *changes = protocol.split("+")
    thrown = [f"protocol.{change}" for change in changes]
    read(thrown)
    for text in thrown:
        key, _, value = text.partition("=")
        if any(other.partition("=")[0] == key for other in overrides):
            raise BadValue(key, value, f"is the protocol {protocol} already; leave the setting out")
    return preset, [*thrown, f"protocol.name={_quoted(protocol)}"]


def _function_code(h: str) -> str:
    """The identity of the user's own h, empty for a built-in one."""
    from posgen.functions import own_code

    try:
        return own_code(h)
    except BadValue as error:
        raise error.under("task") from error


def _code(spec: EncodingSpec) -> str:
    """The identity of the user's own code in an encoding, empty without any."""
    if ":" not in spec.kind + spec.scaling:
        return ""
    from models.encodings.build import own_code

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
    values["pe"] = dataclasses.replace(values["pe"], params=plain(values["pe"].params), code=_code(values["pe"]))
    values["task"] = dataclasses.replace(values["task"], code=_function_code(values["task"].h))
    config = Config(**values)
    if config.data.train_length <= config.task.prefix_length:
        raise BadValue(
            "data.train_length", config.data.train_length, f"use more than the {config.task.prefix_length} seed tokens"
        )
    return config


def _thaw(node: Any) -> None:
    """Frozen dataclasses make read-only nodes, into which YAML could not be merged."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _thaw(child)


def _one_line(error: BaseException) -> str:
    """OmegaConf says what is wrong in the first line, and where in `full_key`."""
    key = getattr(error, "full_key", None)
    return f"configuration{f' key {key}' if key else ''}: {str(error).strip().splitlines()[0]}"


def _register_resolvers() -> None:
    """The arithmetic that YAML cannot do: conf/pe and conf/model use these by name."""
    from omegaconf import OmegaConf

    for resolver in (either, scaling_factor, ramp_length, origin_length, trained_positions, eightfold):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def either(value: Any, otherwise: Any) -> Any:
    """`value` unless it is null."""
    return otherwise if value is None else value


def scaling_factor(lengths: ScalingLengths, train_length: int, test_length: int) -> float:
    """s (ledger row 3): L'/L, or with the code's lengths, BOS included, (L'+1)/(L+1)."""
    extra = 1 if lengths is ScalingLengths.code else 0
    return (test_length + extra) / (train_length + extra)


def ramp_length(lengths: ScalingLengths, train_length: int, test_length: int) -> int:
    """The length that places YaRN's ramp (ledger row 3): L, or L'+1 in the code."""
    return test_length + 1 if lengths is ScalingLengths.code else train_length


def origin_length(lengths: ScalingLengths, train_length: int) -> int:
    """Llama 3's length trained on: L, or with the code's lengths L+1. (Dynamic NTK and LongRoPE count positions, BOS
    included: `trained_positions`.)"""
    return train_length + 1 if lengths is ScalingLengths.code else train_length


def trained_positions(length: int, bos: bool) -> int:
    """How many positions a sequence of this length has: one more with BOS."""
    return length + int(bos)


def eightfold(length: int) -> int:
    """Eight times a length: the range that randomized positions are drawn from, with room for longer tests."""
    return 8 * length
