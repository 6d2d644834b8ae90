"""Which members of a plan train side by side, and in how many rounds where memory does not hold them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eval.plan import PlannedMember
from models import memory
from models.population import population_key


def populations(plan: Sequence[PlannedMember], device: str) -> list[list[PlannedMember]]:
    """Members of equal shapes together, in the order of the plan; a group that exceeds the memory in equal parts.

    Who trains beside whom changes no number, so the division may differ from machine to machine.
    """
    groups: dict[str, list[PlannedMember]] = {}
    for member in plan:
        groups.setdefault(population_key(member.spec), []).append(member)
    found = []
    for group in groups.values():
        found += [group[part] for part in memory.divided(len(group), rounds(group, device))]
    return found


def rounds(group: Sequence[PlannedMember], device: str) -> int:
    """Into how many populations a group of equal shapes must be divided: by the device's memory for what a member
    holds throughout (and the step of one), and by the host's for the chosen checkpoints."""
    spec, place = group[0].spec, torch.device(device)
    each, kept = memory.resident_bytes(spec), max(memory.checkpoint_bytes(m.spec) for m in group)
    host = torch.device("cpu")
    if place.type == "cpu":
        return memory.parts(len(group), each + kept, memory.step_bytes(spec), memory.free_bytes(host))
    return max(
        memory.parts(len(group), each, memory.step_bytes(spec), memory.free_bytes(place)),
        memory.parts(len(group), kept, 0, memory.free_bytes(host)),
    )
