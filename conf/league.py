"""What `posgen sweep --league` trains: every encoding of conf/pe, under protocol paper unless others are named."""

from __future__ import annotations

from collections.abc import Sequence

from conf.overrides import choices
from conf.plan import plan
from conf.schema import ProfileSpec
from eval.plan import PlannedMember
from posgen.errors import UserError

DEFAULT = ("paper",)
"""Every encoding trains with itself."""


def plan_league(
    tasks: Sequence[str],
    pes: Sequence[str],
    seeds: Sequence[int] | None,
    protocols: Sequence[str] | None,
    profile: str,
    overrides: Sequence[str],
    own: ProfileSpec,
) -> tuple[list[PlannedMember], dict[str, UserError]]:
    """(members, encodings that these settings leave no way to train, and why). Without `pes`: all of conf/pe;
    protocols None: `DEFAULT`.

    Each encoding is planned for itself, so that a run's identity does not depend on who else takes part. Members that
    differ in nothing but the encoding they are tested with train once all the same (eval.populations). An encoding
    that was named is never left out, and neither is anything when all would be: then the first error is raised, as by
    `conf.plan.plan`.
    """
    members: list[PlannedMember] = []
    left_out: dict[str, UserError] = {}
    for pe in pes or choices("pe"):
        try:
            members += plan(tasks, [pe], seeds, protocols or DEFAULT, profile, overrides, own)
        except UserError as error:
            if pes:
                raise
            left_out[pe] = error
    if not members:
        raise next(iter(left_out.values()))
    return members, left_out
