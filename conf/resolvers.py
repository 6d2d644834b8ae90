"""The arithmetic that YAML cannot do: functions that files of conf/pe and conf/model call by name, `${share:64,4}`."""

from __future__ import annotations

from typing import Any

from conf import environment
from conf.schema import ScalingLengths


def register() -> None:
    """Make them known to OmegaConf, in place of any of these names."""
    from omegaconf import OmegaConf

    for resolver in (either, positions, scaling_length, scaling_factor, ramp_length, eightfold, share, group):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    OmegaConf.register_new_resolver("oc.env", environment.variable, replace=True)


def either(value: Any, otherwise: Any) -> Any:
    """`value` unless it is null."""
    return otherwise if value is None else value


def positions(length: int, bos: bool) -> int:
    """How many positions a sequence of `length` tokens has: one more where a BOS stands in front of it.

    The only place where a BOS is counted.
    """
    return length + int(bos)


def scaling_length(lengths: ScalingLengths, length: int, bos: bool) -> int:
    """A length as scalings see it (ledger row 3): the text's, in tokens, or the code's, in positions."""
    return positions(length, bos) if lengths is ScalingLengths.code else length


def scaling_factor(lengths: ScalingLengths, train_length: int, test_length: int, bos: bool) -> float:
    """s (ledger row 3): L'/L, or in the code with its BOS (L'+1)/(L+1)."""
    return scaling_length(lengths, test_length, bos) / scaling_length(lengths, train_length, bos)


def ramp_length(lengths: ScalingLengths, train_length: int, test_length: int, bos: bool) -> int:
    """The length that places YaRN's ramp (ledger row 3): L, or in the code, which takes the test's, L'+1 with BOS."""
    return scaling_length(lengths, test_length if lengths is ScalingLengths.code else train_length, bos)


def eightfold(length: int) -> int:
    """Eight times a length: the range that randomized positions are drawn from, with room for longer tests."""
    return 8 * length


def share(length: int, parts: int) -> int:
    """One of so many equal parts of a length, at least a token: the windows of RNoPE and of remapped distances."""
    return max(1, length // parts)


def group(train_length: int, test_length: int) -> int:
    """2 L'/L, rounded up: with a window of half the training length, how much more slowly distances must grow beyond it
    for a test of L' tokens to meet no distance of L or more (8 for 64 and 256)."""
    return max(1, -(-2 * test_length // train_length))
