"""The summary run: a profile's report in W&B.

One run beside those of the members, of job type `summary`: the report with its tables and figures, and three
artifacts. That of the records has their content; those of data sets and weights are references with checksums, and the
files stay where they are.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema import TrackMode
from eval.evidence.figures.style import render
from eval.evidence.report.page import Page, Picture
from eval.evidence.table import Table, wandb_table
from eval.running.tracker import TrackedMember
from eval.running.wandb_tracker import WandbTracker
from eval.store.kinds import AccuracyRecord
from posgen.manifest import folder_name

if TYPE_CHECKING:
    import wandb


@dataclass(frozen=True)
class Holdings:
    """The files behind a report: those of its records, and where data sets and runs lie."""

    records: tuple[Path, ...]
    data_dir: Path
    runs_dir: Path


@dataclass(frozen=True)
class Logged:
    """A summary run. Its id is made from the records: the same records give the same run again. `data_absent` and
    `runs_absent` name what could not be referred to, because it is not on this machine."""

    run_id: str
    mode: TrackMode
    data_absent: tuple[str, ...]
    runs_absent: tuple[str, ...]


def log_summary(
    tracker: WandbTracker, page: Page, html: str, records: Sequence[AccuracyRecord], holdings: Holdings
) -> Logged | None:
    """Write the summary run of a profile's records and close the tracker. None when W&B failed, which the tracker has
    then reported."""
    profile = records[0].profile
    digest = sha256(b"".join(path.read_bytes() for path in holdings.records)).hexdigest()
    member = TrackedMember(
        run_id=f"summary-{digest[:12]}",
        name=f"{profile} summary",
        group=f"{profile} summary",
        job_type="summary",
        tags=(profile, "summary"),
        config={"profile": profile, "label": page.label, "records_sha256": digest},
        task="",
        trained_as=None,
    )
    data, weights = _data(records, holdings), _weights(records, holdings)

    def show(run: wandb.Run) -> None:
        run.log(dict(_shown(page, html)))
        _log_records(run, profile, holdings.records)
        _log_references(run, f"data-{profile}", "dataset", data)
        _log_references(run, f"weights-{profile}", "model", weights)

    tracker.start([member])
    done = tracker.present(member.run_id, show)
    if done:
        tracker.finish(member.run_id, {}, "finished")
    tracker.close()
    return Logged(member.run_id, tracker.mode, _absent(data), _absent(weights)) if done else None


def _shown(page: Page, html: str) -> Iterator[tuple[str, Any]]:
    """The page, and each of its figures and tables, under names such as `tables/table1`."""
    import wandb
    from PIL import Image

    yield "report/page", wandb.Html(html, inject=False)
    for section in page.sections:
        for heading, part in section.parts:
            name = "-".join(filter(None, (section.key, _word(heading.removeprefix("Protocol ")))))
            if isinstance(part, Picture):
                picture = Image.open(io.BytesIO(render(part.figure, "png")))
                yield f"figures/{name}", wandb.Image(picture, caption=part.alt)
        tables = [part for _, part in section.parts if isinstance(part, Table)]
        for number, table in enumerate(tables, start=1):
            yield f"tables/{section.key}{f'-{number}' if len(tables) > 1 else ''}", wandb_table(table)


def _log_records(run: wandb.Run, profile: str, files: Sequence[Path]) -> None:
    import wandb

    artifact = wandb.Artifact(_word(f"records-{profile}"), type="records")
    for file in files:
        artifact.add_file(str(file), name=f"{file.parent.name}/{file.name}")
    run.log_artifact(artifact)


def _log_references(run: wandb.Run, name: str, kind: str, entries: Mapping[str, Sequence[Path]]) -> None:
    """An artifact whose entries are names, checksums and addresses, not content; none without files."""
    import wandb

    artifact = wandb.Artifact(_word(name), type=kind)
    for folder, files in entries.items():
        for file in files:
            artifact.add_reference(file.resolve().as_uri(), name=f"{folder}/{file.name}")
    if any(entries.values()):
        run.log_artifact(artifact)


def _data(records: Sequence[AccuracyRecord], holdings: Holdings) -> dict[str, list[Path]]:
    """Folder of a data set -> its files, none where it is not on this machine."""
    folders = {folder_name(record.training.task, record.training.data) for record in records}
    return {folder: sorted((holdings.data_dir / folder).glob("*")) for folder in sorted(folders)}


def _weights(records: Sequence[AccuracyRecord], holdings: Holdings) -> dict[str, list[Path]]:
    """Id of a run -> the files of its weights, none where they are not on this machine."""
    runs = sorted({record.run_id for record in records if record.status == "finished"})
    return {run: sorted((holdings.runs_dir / run).glob("weights-*.safetensors")) for run in runs}


def _absent(entries: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    return tuple(name for name, files in entries.items() if not files)


def _word(text: str) -> str:
    """A text as a name that W&B accepts."""
    return re.sub("[^A-Za-z0-9_.-]+", "-", text).strip("-")
