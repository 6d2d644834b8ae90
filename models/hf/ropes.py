"""Rope types of Hugging Face transformers as encodings: a stock type is a scaling, with Resonance on top or not.

transformers 5 keeps a model's rope parameters in `config.rope_parameters` (one dictionary, or one for each layer type),
transformers 4.5x in `config.rope_scaling` beside `config.rope_theta`. Everything else reads them here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import modeling_rope_utils
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from models.encodings import Rotary, build_rotary
from models.encodings.build import check_rotation
from models.encodings.scalings.base import Scaling
from models.spec import EncodingSpec
from posgen.errors import UserError
from posgen.plain import identity, restore

V5 = hasattr(modeling_rope_utils, "RotaryEmbeddingConfigMixin")

RESONANCE = "resonance"
POSGEN = "posgen"
"""The rope type that spells out an EncodingSpec under the key `encoding`; its base is `rope_theta` as everywhere."""

ORIGINAL = "original_max_position_embeddings"
"""The length trained on, in tokens, where a scaling has extended max_position_embeddings."""

STOCK = tuple(sorted({"default", *ROPE_INIT_FUNCTIONS}))
"""The rope types that the installed transformers has itself."""

# Stock types whose table is the same at every length. What a later version adds is computed anew at every length.
_FIXED = ("default", "linear", "yarn", "llama3", "proportional")

Parameters = dict[str, Any]


def resonance_type(stock_type: str) -> str:
    """The name of Resonance on top of a stock type: `resonance` (on plain RoPE), `resonance_yarn`, ..."""
    return RESONANCE if stock_type == "default" else f"{RESONANCE}_{stock_type}"


RESONANT = tuple(map(resonance_type, STOCK))
"""Resonance on top of each of them."""

OURS = (*RESONANT, POSGEN)
"""The rope types that models.hf registers."""


def stock_type(rope_type: str) -> str:
    """What a rope type is without Resonance. UserError for a type that neither transformers nor models.hf has."""
    for name in STOCK:
        if rope_type in (name, resonance_type(name)):
            return name
    raise UserError(f"rope_type={rope_type}: transformers and models.hf have {', '.join((*STOCK, *OURS))}")


def layer_types(config: Any) -> list[str | None]:
    """The layer types that have rope parameters of their own (Gemma 3: sliding and full attention), or just [None]."""
    parameters = getattr(config, "rope_parameters", None) if V5 else None
    if not parameters or any(value is not None and not isinstance(value, Mapping) for value in parameters.values()):
        return [None]
    # Parameters may be there for layers that the model does not have.
    labels = getattr(config, "_rope_type_labels", None) or config.layer_types
    return [name for name, value in parameters.items() if value is not None and name in labels]


def read(config: Any, layer_type: str | None) -> Parameters:
    """The rope parameters of a config in transformers 5's form: `rope_type`, `rope_theta`, and what the type needs."""
    if V5:
        parameters = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    else:
        parameters = {"rope_theta": config.rope_theta, **(getattr(config, "rope_scaling", None) or {})}
    return {"rope_type": parameters.get("type", "default"), **copy.deepcopy(dict(parameters))}


def write(config: Any, layer_type: str | None, parameters: Mapping[str, Any]) -> None:
    """Put rope parameters into a config, in the form that the installed transformers reads and saves."""
    values = copy.deepcopy(dict(parameters))
    if V5:
        config.rope_parameters = values if layer_type is None else {**config.rope_parameters, layer_type: values}
        return
    config.rope_theta = values.pop("rope_theta")
    if hasattr(config, "rotary_emb_base"):  # GPT-NeoX saves its base under this name
        config.rotary_emb_base = config.rope_theta
    config.rope_scaling = None if values == {"rope_type": "default"} else values


def longest(config: Any) -> int:
    """max_position_embeddings, tokens; 2,048 for a config without one (RecurrentGemma)."""
    return int(getattr(config, "max_position_embeddings", None) or 2_048)


def validate(config: Any) -> None:
    """transformers' own validation of a config's rope parameters: KeyError or ValueError, or a warning."""
    if V5:
        config.validate_rope()
    elif hasattr(config, "_rope_scaling_validation"):
        config._rope_scaling_validation()
    else:
        modeling_rope_utils.rope_config_validation(config)


def known_keys(config: Any, name: str) -> tuple[set[str], set[str]]:
    """(required, optional) keys of a stock rope type, as the installed transformers' own validation lists them."""
    if name == "default":
        return {"rope_type"}, {"rope_theta", "partial_rotary_factor"}
    seen: dict[str, set[str]] = {}

    def record(
        rope_type: str,
        received_keys: set[str],
        required_keys: set[str],
        optional_keys: set[str] | None = None,
        **_: Any,
    ) -> None:
        seen.update(required=set(required_keys), optional=set(optional_keys or ()))
        raise _SeenError

    probe, before = copy.copy(config), vars(modeling_rope_utils).get("_check_received_keys")
    try:
        if V5:
            object.__setattr__(probe, "_check_received_keys", record)
            getattr(probe, f"_validate_{name}_rope_parameters")({"rope_type": name})
        else:
            modeling_rope_utils._check_received_keys = record  # type: ignore[attr-defined]
            probe.rope_scaling = {"rope_type": name}
            modeling_rope_utils.ROPE_VALIDATION_FUNCTIONS[name](probe)  # type: ignore[attr-defined]
    except _SeenError:
        pass
    finally:
        if before is not None:
            modeling_rope_utils._check_received_keys = before  # type: ignore[attr-defined]
    return seen["required"], seen["optional"] | {"rope_theta", "partial_rotary_factor"}


class _SeenError(Exception):
    """Ends a validation once its keys are known."""


def with_parameters(config: Any, layer_type: str | None, parameters: Mapping[str, Any]) -> Any:
    """A copy of a config with other rope parameters."""
    config = with_head_dim(config)
    if V5 and layer_type is None:  # past the checks of classes that want parameters for each layer type
        vars(config)["rope_parameters"] = copy.deepcopy(dict(parameters))
    else:
        write(config, layer_type, parameters)
    return config


def with_head_dim(config: Any) -> Any:
    """A copy of a config, with `fill_head_dim`."""
    config = copy.copy(config)
    fill_head_dim(config)
    return config


def fill_head_dim(config: Any) -> None:
    """Write head_dim where the class leaves it open (Mixtral): stock YaRN divides by it."""
    if not getattr(config, "is_heterogeneous", False) and getattr(config, "head_dim", 0) is None:
        config.head_dim = config.hidden_size // config.num_attention_heads


@dataclass(frozen=True)
class Stock(Scaling):
    """A rope type of transformers as a scaling: the numbers are those of its own function, on the CPU.

    `config` carries the parameters under the stock type's name, so that transformers fills in and reads them as usual.
    """

    rope_type: str
    config: Any
    layer_type: str | None = None

    def inv_freq(self, head_dim: int, base: float, length: int) -> Tensor:
        return self._computed(length)[0]

    def compute_attention_factor(self) -> float:
        return float(self._computed(None)[1])

    def _computed(self, length: int | None) -> tuple[Tensor, float]:
        # Models are made on the meta device when they are loaded; numbers are needed all the same.
        with torch.device("cpu"):
            # A tensor, as transformers' own forward passes it: with a plain number dynamic NTK's base is rounded later.
            now = None if length is None else torch.tensor(length)
            compute = ROPE_INIT_FUNCTIONS[self.rope_type]
            try:
                layer = {} if self.layer_type is None else {"layer_type": self.layer_type}
                inv_freq, factor = compute(self.config, torch.device("cpu"), seq_len=now, **layer)
            except (KeyError, RuntimeError, TypeError) as error:  # a list too short, a key that is None
                raise UserError(f"transformers cannot compute the rope type {self.rope_type}: {error}") from error
        return inv_freq.float(), factor


def _stock(config: Any, layer_type: str | None, parameters: Mapping[str, Any], name: str) -> Stock:
    if name == "default":  # has no entry in transformers 5; a division by 1 changes no bit
        name, parameters = "linear", {**parameters, "factor": 1.0}
    parameters = {key: value for key, value in parameters.items() if key != "type"}
    if layer_type is not None and getattr(config, "is_heterogeneous", False):  # Gemma 4: heads of several sizes
        config = config.per_layer_config[layer_type]
    # The layer's own parameters alone: some versions look for a scaling's keys beside the layer types.
    parameters = {**parameters, "rope_type": name}
    try:
        with_parameters(config, None, parameters).standardize_rope_params() if V5 else None
    except Exception:  # a class that wants parameters for each layer type (ModernBERT)
        return Stock(name, with_parameters(config, layer_type, parameters), layer_type)
    return Stock(name, with_parameters(config, None, parameters))


def rotary_of(config: Any, layer_type: str | None = None) -> Rotary:
    """The encoding of a config, stock or ours. `head_dim` counts the dimensions of a head that rotate."""
    parameters = read(config, layer_type)
    base = float(parameters["rope_theta"])
    if parameters["rope_type"] == POSGEN:
        plain = {key: value for key, value in parameters.items() if key in ("rope_theta", "partial_rotary_factor")}
        features = len(_stock(config, layer_type, plain, "default").inv_freq(0, base, 1))
        spelled = build_rotary(restore(EncodingSpec, {**parameters["encoding"], "base": base}), 2 * features)
        check_rotation(spelled, "a rope type of transformers")
        return spelled
    name = stock_type(parameters["rope_type"])
    scaling = _stock(config, layer_type, parameters, name)
    features = len(scaling.inv_freq(0, base, 1))
    return Rotary(parameters["rope_type"], 2 * features, base, scaling, resonance=parameters["rope_type"] in OURS)


def spelled_out(spec: EncodingSpec) -> Parameters:
    """An encoding of PosGen as rope parameters of type `posgen`."""
    encoding = identity(spec)
    return {"rope_type": POSGEN, "rope_theta": encoding.pop("base"), "encoding": encoding}


def is_fixed(rotary: Rotary) -> bool:
    """Whether its table is known to be the same at every length; when in doubt it is not."""
    scaling = rotary.scaling
    return scaling.rope_type in _FIXED if isinstance(scaling, Stock) else scaling.is_fixed()
