"""Position encodings as frozen values: base frequencies -> a scaling -> optionally Resonance.

`build` turns a specification into an encoding; each scaling is one file of `models.encodings.scalings`.
"""

from models.encodings.base import Encoding
from models.encodings.build import build, build_rotary, kind_names, scaling_names
from models.encodings.inputs import PositionInputs
from models.encodings.rotary import Rotary

__all__ = ["Encoding", "PositionInputs", "Rotary", "build", "build_rotary", "kind_names", "scaling_names"]
