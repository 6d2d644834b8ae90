"""Which members of a plan train side by side, which share one training, and in how many rounds where memory does not
hold them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eval.plan import PlannedMember
from models import memory
from models.population import population_key
from models.spec import MemberSpec


def populations(plan: Sequence[PlannedMember], device: str) -> list[list[PlannedMember]]:
    """Members of equal shapes together, in the order of the plan but for those of one trajectory, which stay together;
    a group that exceeds the memory in equal parts.

    Who trains beside whom changes no number, so the division may differ from machine to machine.
    """
    groups: dict[str, dict[str, list[PlannedMember]]] = {}
    for member in plan:
        group = groups.setdefault(population_key(member.spec), {})
        group.setdefault(member.spec.trajectory, []).append(member)
    found = []
    for group in groups.values():
        shared = list(group.values())
        parts = memory.divided(len(shared), rounds(shared, device))
        found += [[member for members in shared[part] for member in members] for part in parts]
    return found


def trained(members: Sequence[MemberSpec]) -> list[MemberSpec]:
    """The first member of each trajectory: what a population trains to serve them all."""
    first: dict[str, MemberSpec] = {}
    for spec in members:
        first.setdefault(spec.trajectory, spec)
    return list(first.values())


def rounds(group: Sequence[Sequence[PlannedMember]], device: str) -> int:
    """Into how many populations a group of equal shapes must be divided: by the device's memory for what a training
    holds throughout (and the step of one), and by the host's for the chosen checkpoints of those that it serves."""
    spec, place = group[0][0].spec, torch.device(device)
    each, kept = memory.resident_bytes(spec), max(sum(memory.checkpoint_bytes(m.spec) for m in ms) for ms in group)
    host = torch.device("cpu")
    if place.type == "cpu":
        return memory.parts(len(group), each + kept, memory.step_bytes(spec), memory.free_bytes(host))
    return max(
        memory.parts(len(group), each, memory.step_bytes(spec), memory.free_bytes(place)),
        memory.parts(len(group), kept, 0, memory.free_bytes(host)),
    )
