"""The files of a choice merged on the schema, by Hydra, before any value is set and any interpolation resolved."""

from __future__ import annotations

import copy
import functools
from typing import Any

from conf.files import FOLDER
from conf.schema import Config

TITLED = ("pe", "task", "protocol")


@functools.lru_cache(maxsize=1024)
def merged(named: tuple[tuple[str, str], ...], files: tuple[str, ...]) -> Any:
    """What the files of these choices give, before any value is set and any interpolation resolved. Kept, because
    reading and merging the files is nearly all of the time that composing takes.

    Encodings are many and each is one file of its group, so that only this file is read for a further one.
    """
    choices = dict(named)
    pe = choices.pop("pe", None)
    encoding = None if pe is None or any(text.startswith("pe=") for text in files) else _encoding(pe)
    if encoding is None:
        choices = dict(named)
    node = copy.deepcopy(_by_hydra((*(f"{group}={name}" for group, name in choices.items()), *files)))
    if encoding is not None:
        node.pe = encoding
    _drop_titles(node)
    return node


@functools.lru_cache(maxsize=64)
def _by_hydra(files: tuple[str, ...]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    _store_schema()
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return hydra_compose("config", list(files))


def _encoding(name: str) -> Any:
    """conf/pe/NAME.yaml on the schema, as Hydra merges it: without defaults, or with one other file of the group and
    then itself. None for a file that does not merge so, which Hydra shall read, with its messages."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        node: Any = OmegaConf.load(FOLDER / "pe" / f"{name}.yaml")
        match node.pop("defaults", []):
            case []:
                return OmegaConf.merge(_schema().pe, node)
            case [str(plain_form), "_self_"]:
                return OmegaConf.merge(_encoding(plain_form), node)
    except (OmegaConfBaseException, YAMLError, OSError, TypeError):
        pass
    return None


@functools.cache
def _store_schema() -> None:
    """Let the files be checked against the types of `Config`."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=_schema())


@functools.cache
def _schema() -> Any:
    from omegaconf import OmegaConf

    schema = OmegaConf.structured(Config)
    _thaw(schema)
    _allow_titles(schema)
    return schema


def _thaw(node: Any) -> None:
    """Frozen dataclasses make read-only nodes, into which YAML could not be merged."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _thaw(child)


def _allow_titles(node: Any) -> None:
    """Files of these groups have a `title`, what readers call them (conf.names). It is no setting: no field of the
    dataclasses, of no record and of no identity."""
    from omegaconf import OmegaConf

    for group in TITLED:
        OmegaConf.update(node, f"{group}.title", None, force_add=True)


def _drop_titles(node: Any) -> None:
    from omegaconf import open_dict

    for group in TITLED:
        with open_dict(node[group]):
            node[group].pop("title", None)
