"""The rules that verdicts are reached by, as conf/verdict.yaml declares them."""

from __future__ import annotations

from collections.abc import Sequence

from conf.declared import declared
from eval.verdict.rules import Rules


def rules(overrides: Sequence[str] = ()) -> Rules:
    """The declared rules, changed by `overrides` such as `verdict.margin_points=3`.

    Raises BadValue or UserError, one line, for an unknown key or a value of the wrong type or out of range.
    """
    return declared(Rules, "verdict", overrides)
