"""The rope parameters that a model gets: the requested ones, completed from what the model has and reads elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from models.encodings.build import parameter_names, scaling_class
from models.hf.longrope import BETA_FAST
from models.hf.readers import keys_read
from models.hf.ropes import (
    ORIGINAL,
    POSGEN,
    STOCK,
    Parameters,
    known_keys,
    read,
    resonance_type,
    spelled_out,
    stock_type,
)
from models.spec import DEFAULT_BASE, EncodingSpec
from posgen.errors import BadValue, nearest

_GENERAL = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})


@dataclass(frozen=True)
class Present:
    """The rope parameters that a model has for one layer type. Keys that belong to no scaling, or that the architecture
    reads by itself, outlive a new rope type."""

    config: Any
    layer_type: str | None
    parameters: Parameters

    @classmethod
    def of(cls, config: Any, layer_type: str | None) -> Present:
        """As the config says it now."""
        return cls(config, layer_type, read(config, layer_type))

    @property
    def scaled(self) -> bool:
        """Whether it has a scaling already."""
        name = self.parameters["rope_type"]
        if name == POSGEN:
            return bool(self.parameters["encoding"].get("scaling", "none") != "none")
        return stock_type(name) != "default"

    @property
    def train_length(self) -> int:
        """L, tokens. BadValue where a scaling has extended the model and no key says from which length."""
        encoding = (self.parameters.get("encoding") or {}).get("params", {})
        spelled = [encoding.get(key) for key in ("ramp_length", "train_length", "critical")]
        named = (self.parameters.get(ORIGINAL), *spelled)
        for length in (*named, getattr(self.config, ORIGINAL, None)):
            if length is not None:
                return int(length)
        if self.scaled:
            remedy = f"the model's {self.parameters['rope_type']} does not say the length trained on; give it"
            raise BadValue(ORIGINAL, None, remedy)
        length = getattr(self.config, "max_position_embeddings", None)
        if length is None:
            raise BadValue(
                ORIGINAL, None, "the model's config has no max_position_embeddings; give the length trained on"
            )
        return int(length)

    def kept(self) -> Parameters:
        """What outlives a change of the rope type: base, rotary fraction, and what the architecture reads itself."""
        stays = keys_read(self.config) | self._ignored() | {"rope_theta", "partial_rotary_factor"}
        return {key: value for key, value in self.parameters.items() if key in stays - {"rope_type", "type"}}

    def combined(self, rope: EncodingSpec | Mapping[str, Any] | None, test_length: int | None = None) -> Parameters:
        """The parameters after `rope`; `test_length` (tokens) gives a factor that is not named.

        Raises BadValue for a key that neither the rope type nor the architecture has.
        """
        if isinstance(rope, EncodingSpec):
            return self._of_spec(rope, test_length)
        if rope is None:
            return self._resonant()
        if "rope_type" not in rope:
            raise BadValue("rope", dict(rope), "name a rope_type, such as resonance_yarn")
        if rope["rope_type"] == POSGEN:
            return {**self.kept(), **rope}
        name = stock_type(rope["rope_type"])
        required, optional = known_keys(self.config, name)
        same = self.parameters["rope_type"] != POSGEN and stock_type(self.parameters["rope_type"]) == name
        stays = self.parameters if same else self.kept()
        known = _GENERAL | required | optional | keys_read(self.config) | stays.keys() | self._ignored()
        for key, value in rope.items():
            if key not in known:
                raise BadValue(f"rope.{key}", value, nearest(key, sorted(known)))
        parameters = {**stays, **rope}
        if ORIGINAL in required and ORIGINAL not in parameters:
            parameters[ORIGINAL] = self.train_length
        if "factor" in required and "factor" not in rope and test_length is not None and not same:
            parameters["factor"] = test_length / (parameters.get(ORIGINAL) or self.train_length)
        if test_length is not None and rope["rope_type"] not in STOCK:
            parameters.setdefault(ORIGINAL, self.train_length)  # max_position_embeddings will be L' from now on
        return parameters

    def _ignored(self) -> set[str]:
        return set(getattr(self.config, "ignore_keys_at_rope_validation", None) or ())

    def _resonant(self) -> Parameters:
        """Resonance on top of what the model has."""
        now = self.parameters
        if now["rope_type"] != POSGEN:
            return {**now, "rope_type": resonance_type(stock_type(now["rope_type"]))}
        encoding = dict(now["encoding"])
        if not encoding.get("resonance"):
            encoding.update(resonance=True, name=f"resonance_{encoding['name']}")
        return {**now, "encoding": encoding}

    def _of_spec(self, spec: EncodingSpec, test_length: int | None) -> Parameters:
        """An encoding of PosGen's, with the model's base, lengths and betas where the specification leaves them out."""
        base = float(self.parameters["rope_theta"]) if spec.base is DEFAULT_BASE else spec.base
        name, params = spec.name, dict(spec.params)
        for key in params.keys() - set(parameter_names(spec.kind, spec.scaling)):
            raise BadValue(f"params.{key}", params[key], nearest(key, parameter_names(spec.kind, spec.scaling)))
        if name == EncodingSpec().name:  # none was given: it describes the encoding
            name = "resonance_" * spec.resonance + ("rope" if spec.scaling == "none" else spec.scaling)
        if spec.kind == "rotary":
            scaling = scaling_class(spec.scaling)
            for key in sorted({f.name for f in fields(scaling)} - params.keys()):
                value = self._default(key, test_length) if scaling.stretches or key == "critical" else None
                if value is not None:
                    params[key] = value
        parameters = spelled_out(replace(spec, base=base, name=name, params=params))
        # What the architecture reads itself follows the encoding where it has a parameter of that name.
        stays = self.kept()
        return {**stays, **{key: params[key] for key in keys_read(self.config) & params.keys()}, **parameters}

    def _default(self, key: str, test_length: int | None) -> Any:
        """A parameter of a scaling that the specification leaves out; None: the scaling's own default."""
        if key in ("ramp_length", "train_length", "critical"):
            return self.train_length
        if key == "factor":
            if test_length is not None:
                return test_length / self.train_length
            if "factor" in self.parameters:
                return self.parameters["factor"]
            raise BadValue("params.factor", None, "give it, or test_length=")
        if key == "beta_fast":
            return self.parameters.get("beta_fast") or BETA_FAST
        return self.parameters.get(key) if key in ("beta_slow", "low_freq_factor", "high_freq_factor") else None
