"""What `posgen sweep --league` trains: every encoding of conf/pe, each with itself, under protocol paper."""

from __future__ import annotations

from collections.abc import Sequence

from conf.overrides import choices
from conf.plan import plan
from conf.schema import ProfileSpec
from eval.plan import PlannedMember
from posgen.errors import UserError

PROTOCOL = "paper"


def plan_league(
    tasks: Sequence[str],
    pes: Sequence[str],
    seeds: Sequence[int] | None,
    profile: str,
    overrides: Sequence[str],
    own: ProfileSpec,
) -> tuple[list[PlannedMember], dict[str, UserError]]:
    """(members, encodings that these settings leave no way to train, and why). Without `pes`: all of conf/pe.

    An encoding that was named is never left out, and neither is anything when all would be: then the first error is
    raised, as by `conf.plan.plan`.
    """
    members: list[PlannedMember] = []
    left_out: dict[str, UserError] = {}
    for pe in pes or choices("pe"):
        try:
            members += plan(tasks, [pe], seeds, [PROTOCOL], profile, overrides, own)
        except UserError as error:
            if pes:
                raise
            left_out[pe] = error
    if not members:
        raise next(iter(left_out.values()))
    return members, left_out
