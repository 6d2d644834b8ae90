"""Where the numbers of a page come from: files of records, and the commits, versions and devices that made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from eval.evidence.report.sources import FOLDERS, Sources
from eval.store.kinds import Maker, PosGenRecord

_MISSING = "—"


def markdown(sources: Sources) -> str:
    """Two tables: what each file of records holds, and who made it."""
    found = {kind: sources.every(kind) for kind in FOLDERS if sources.path(kind).exists()}
    files = _grid(
        ("Records", "Measurements", "Trainings", "Diverged", "Seeds", "sha256 of the file"),
        "lrrrll",
        [
            (f"`{sources.path(kind).as_posix()}`", *_counts(records), f"`{_sum(sources, kind)}`")
            for kind, records in found.items()
        ],
    )
    makers: dict[tuple[str, ...], set[str]] = {}
    for records in found.values():
        for role, record, maker in _makers(records):
            makers.setdefault((role, *maker), set()).add(record.run_id)
    made = _grid(
        ("What", "Commit", "posgen", "Python", "PyTorch", "NumPy", "Device", "Trainings"),
        "lllllllr",
        [(*maker, str(len(runs))) for maker, runs in sorted(makers.items(), reverse=True)],
    )
    return (
        f"**Records** that this page is drawn from.\n\n{files}\n\n**Made by** these versions of the code.\n\n{made}\n"
    )


def _counts(records: Sequence[PosGenRecord]) -> tuple[str, str, str, str]:
    runs = {record.run_id: record.status for record in records}
    seeds = sorted({record.seed for record in records})
    diverged = sum(status == "diverged" for status in runs.values())
    return str(len(records)), str(len(runs)), str(diverged), ", ".join(map(str, seeds))


def _sum(sources: Sources, kind: str) -> str:
    return sha256(sources.path(kind).read_bytes()).hexdigest()[:16]


def _makers(records: Sequence[PosGenRecord]) -> Iterator[tuple[str, PosGenRecord, tuple[str, ...]]]:
    """Who trained and who measured: (role, record, (commit, versions, device))."""
    for record in records:
        for maker in record.trained_by:
            yield "trained", record, _maker(maker)
        yield "measured", record, _maker(record.measured_by)


def _maker(maker: Maker) -> tuple[str, ...]:
    commit = f"`{maker.git_commit[:12]}`" if maker.git_commit else "unknown"
    changed = " with uncommitted changes" if maker.git_dirty else ""
    versions = [str(maker.versions.get(name, _MISSING)) for name in ("posgen", "python", "torch", "numpy")]
    return (f"{commit}{changed}", *versions, str(maker.device))


def _grid(header: Sequence[str], align: str, rows: Sequence[Sequence[str]]) -> str:
    marks = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (header, marks, *rows)
    )
