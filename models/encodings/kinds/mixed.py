"""Layers that rotate and layers without a position encoding, in turns: RNoPE-SWA (Yang et al. 2025, arXiv 2501.18795),
SWAN-GPT (openreview mfK2h2LSBu), Llama 4's iRoPE.

Claimed: rotating layers that see a window bring order to what is near, and layers without positions find what is far,
so that the model goes beyond its training length without any scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from models.encodings.inputs import Layers
from models.encodings.rotary import Rotary
from posgen.errors import require


class Use(Enum):
    """What a layer does with positions."""

    rope = "rope"
    nope = "nope"


@dataclass(frozen=True)
class Mixed(Rotary):
    """`pattern` says of each layer whether it rotates, from the first, and begins anew for deeper models. `window`:
    the tokens that a query of a rotating layer sees, t-w+1..t; None: all. The text's models have three rotating layers
    of a window to one without positions; Llama 4 has chunks in the place of windows, and three to one as well.

    A scaling and Resonance act on the layers that rotate.
    """

    pattern: tuple[Use, ...] = (Use.rope, Use.nope)
    window: int | None = None

    only_rotates: ClassVar[bool] = False
    source: ClassVar[str] = "Yang et al. 2025 (RNoPE-SWA), arXiv 2501.18795"

    def __post_init__(self) -> None:
        super().__post_init__()
        shown = [use.value for use in self.pattern]
        require(0 < len(shown) <= 64, "pattern", shown, "use 1 to 64 of rope and nope, such as [rope,nope]")
        require(Use.rope in self.pattern, "pattern", shown, "no layer rotates: use --pe nope")
        rotating = "every layer rotates and sees everything: use --pe rope, or give a window"
        require(Use.nope in self.pattern or self.window is not None, "pattern", shown, rotating)
        require(
            self.window is None or 1 <= self.window <= 10**9, "window", self.window,
            "use 1 or more tokens, or null for all",
        )  # fmt: skip

    def own_structure(self) -> str:
        """Their tables have one shape, whatever the frequencies."""
        return f"mixed {[use.value for use in self.pattern]} {self.window}"

    def remark(self) -> str:
        sees = "" if self.window is None else f" that sees {self.window} tokens"
        turns = ", ".join(f"rope{sees}" if use is Use.rope else "nope" for use in self.pattern)
        return f"layers in turns: {turns}; the features are those of layers that rotate"

    def layers(self) -> Layers:
        return Layers(tuple(use is Use.rope for use in self.pattern), self.window)


ENCODING = Mixed
