"""Position encodings of a loaded language model by name: `yarn`, `resonance_yarn`, ... at a factor s.

A name stands for an encoding of this suite (models.encodings) with the model's own base, length trained on, rotary
fraction and YaRN betas (models.hf.re_rope). `none` is what the model was loaded with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.encodings.build import parameter_names
from models.hf import check_rope, re_rope
from models.hf.finding import model_of
from models.hf.parameters import Present
from models.hf.ropes import is_fixed, layer_types, rotary_of
from models.lm.names import CLIP, NAMES, PLAIN, RESONANCE, SCALINGS, TITLES, check_names, plain_of, title
from models.spec import EncodingSpec
from posgen.errors import BadValue, UserError, nearest

__all__ = ["NAMES", "RESONANCE", "TITLES", "Installed", "Ropes", "check_names", "plain_of", "title"]


@dataclass(frozen=True)
class Installed:
    """The encoding that a model now has. `rope`: its rope parameters by layer type (`all` where layers are alike), as a
    record keeps them. `fixed`: whether its table is the same at every length."""

    name: str
    rope: dict[str, Any]
    fixed: bool


class Ropes:
    """Puts encodings into one loaded model, one after another; each starts from what the model was loaded with.

    `train_length`: L, the tokens of the context that the model was trained on.
    """

    def __init__(self, model: Any) -> None:
        self.owner = model_of(model)
        self.config = self.owner.config.get_text_config(decoder=True)
        self.present = {name: Present.of(self.config, name) for name in layer_types(self.config)}
        self.train_length = min(present.train_length for present in self.present.values())

    def install(self, name: str, factor: float, params: Mapping[str, Any] | None = None) -> Installed:
        """Put the encoding into the model, checked by `check_rope`; `params` are parameters of its scaling by name
        (YaRN: beta_fast, attention_factor, ...) instead of the model's.

        Raises BadValue for a name, factor or parameter that is none; the model then stays as it was.
        """
        (name,) = check_names([name])
        if not 1.0 <= factor < math.inf:
            raise BadValue("factor", factor, "use at least 1: the longest length over the length trained on")
        plain, resonance = plain_of(name), name != plain_of(name)
        if plain == PLAIN and params:
            raise BadValue(f"{name}.{next(iter(params))}", next(iter(params.values())), "it has no parameters")
        before = {layer: Present.of(self.config, layer).parameters for layer in self.present}
        try:
            self._restore(resonance and plain == PLAIN)
            if plain != PLAIN:
                re_rope(self.owner, self.spec(name, plain, resonance, factor, dict(params or {})))
            check_rope(self.owner)
        except UserError:
            self._put(before)
            raise
        rotary = {layer: rotary_of(self.config, layer) for layer in layer_types(self.config)}
        rope = {str(layer or "all"): Present.of(self.config, layer).parameters for layer in rotary}
        return Installed(name, rope, all(map(is_fixed, rotary.values())))

    def spec(self, name: str, plain: str, resonance: bool, factor: float, params: dict[str, Any]) -> EncodingSpec:
        """The encoding as this suite describes it; what it leaves open comes from the model in `re_rope`."""
        scaling = "p_rope" if plain == CLIP else SCALINGS[plain]
        known = parameter_names("rotary", scaling)
        for key, value in params.items():
            if key not in known:
                raise BadValue(f"{name}.{key}", value, nearest(key, known))
        params = {"p": self.pre_critical(), **params} if plain == CLIP else {"factor": float(factor), **params}
        return EncodingSpec(name, scaling=scaling, resonance=resonance, params=params)

    def pre_critical(self) -> float:
        """The fraction of the features whose wavelength is at most L: clip keeps them, the others do not rotate."""
        fractions = []
        for layer in self.present:
            inv_freq, _ = rotary_of(self.config, layer).frequencies(1)
            wavelengths = 2 * math.pi / inv_freq.double()
            fractions.append(float((wavelengths <= self.train_length).double().mean()))
        return min(fractions)

    def _restore(self, resonance: bool) -> None:
        """What the model was loaded with, with Resonance on top or not."""
        self._put({layer: present.parameters for layer, present in self.present.items()})
        if resonance:
            re_rope(self.owner)

    def _put(self, parameters: Mapping[str | None, Mapping[str, Any]]) -> None:
        for layer, values in parameters.items():
            re_rope(self.owner, values, layer_type=layer)
