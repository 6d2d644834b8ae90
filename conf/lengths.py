"""What `posgen lengths` measures and calls long enough: conf/lengths.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from conf.declared import declared
from eval.lengths.effective import Rules


def rules(overrides: Sequence[str] = ()) -> Rules:
    """conf/lengths.yaml with overrides such as `lengths.threshold=0.9`. BadValue or UserError, one line each."""
    return declared(Rules, "lengths", overrides)
