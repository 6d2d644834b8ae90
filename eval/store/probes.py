"""Records of what else is measured on trained members: accuracy far beyond the test length, and answers when a token
is exchanged."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from eval.store.kinds import Fraction, Key, PosGenRecord


class Windows(Struct, frozen=True, kw_only=True):
    """Mean accuracy over the `width` tokens before each of `ends`, from `sequences` test sequences. `fitted_to`: the
    test length that the encoding's scaling is made for, None without one."""

    width: int
    ends: tuple[int, ...]
    accuracy: tuple[Fraction, ...]
    sequences: int
    fitted_to: int | None

    def __post_init__(self) -> None:
        if len(self.ends) != len(self.accuracy):
            raise ValueError("ends and accuracy should be equally many")


class LengthsRecord(PosGenRecord, frozen=True, kw_only=True, dict=True):
    """Accuracy by window at one long length, from a few test sequences: `posgen lengths`."""

    kind = "lengths"
    shown_by = "posgen lengths"

    windows: Windows


Count = Annotated[int, Meta(ge=0)]


class Interventions(Struct, frozen=True, kw_only=True):
    """What exchanging one token did to the answers that depend on it, by position of the answer, summed over
    `sequences` test sequences (eval.measuring.interventions). `exchange`: which of an answer's tokens; `sources`: where
    it stands; `seed` drew its other value.

    `answers` are those that the exchange makes another right one: `moved` to it, `stayed` as they were, and the rest
    became another wrong one. `right*`: only those that were right before.
    """

    exchange: Literal["far", "near"]
    sequences: Annotated[int, Meta(ge=1)]
    seed: int
    positions: tuple[Count, ...]
    sources: tuple[Count, ...]
    answers: tuple[Count, ...]
    moved: tuple[Count, ...]
    stayed: tuple[Count, ...]
    right: tuple[Count, ...]
    right_moved: tuple[Count, ...]
    right_stayed: tuple[Count, ...]

    def __post_init__(self) -> None:
        columns = (self.sources, self.answers, self.moved, self.stayed, self.right, self.right_moved, self.right_stayed)
        if any(len(column) != len(self.positions) for column in columns):
            raise ValueError("positions and everything counted at them should be equally many")
        for whole, *parts in (
            (self.answers, self.moved, self.stayed),
            (self.right, self.right_moved, self.right_stayed),
            (self.answers, self.right),
        ):
            if any(total < sum(counted) for total, *counted in zip(whole, *parts, strict=True)):
                raise ValueError("answers that moved, stayed or were right cannot be more than there are")


class InterventionsRecord(PosGenRecord, frozen=True, kw_only=True, dict=True):
    """What a member's answers do when one token that they depend on is exchanged: `posgen interventions`. `metrics`
    are those of the same sequences before, without losses."""

    kind = "interventions"
    shown_by = "posgen interventions"

    interventions: Interventions

    @property
    def key(self) -> Key:
        return (*super().key, self.interventions.exchange)
