"""PosGen: the position-generalization benchmark of arXiv 2403.00071, section 4. numpy only, no torch."""

__version__ = "0.1.0"
