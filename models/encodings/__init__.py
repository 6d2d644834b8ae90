"""Position encodings as frozen values: base frequencies -> a scaling -> optionally Resonance.

`build` turns a specification into an encoding; each scaling is one file of `models.encodings.scalings`.
"""

from models.encodings.build import build, scaling_names
from models.encodings.rotary import Rotary

__all__ = ["Rotary", "build", "scaling_names"]
