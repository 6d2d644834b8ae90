"""`posgen positions`: where along the sequence each encoding fails."""

from __future__ import annotations

from cli.drawn import ProfileOption, ProtocolOption, RecordsOption, SweepOption
from cli.pictures import FormatOption, OutOption, TasksOption


def positions(
    records: RecordsOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    task: TasksOption = None,
    format: FormatOption = "png",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw the accuracy at every position of the test sequences from records alone, a panel a task.

    Lines are means over seeds, bands reach from the lowest to the highest seed; the training length and chance are
    marked. Each protocol becomes positions-<protocol>.png, with its numbers in positions-<protocol>.csv.

    \b
    posgen positions --profile quick
    posgen positions --protocol paper --task semi_recursive --format svg,pdf --out figures
    """
    from cli.drawn import collection, folder_of
    from cli.pictures import formats, of_tasks, save
    from eval.evidence.figures.positions import caption, figure, rows, tidy_csv

    chosen = formats(format)
    found, places, ending = of_tasks(collection(records, profile, protocol, sweep), task)
    drawn = {name: rows(found, name, places) for name in found.protocols}
    figures = {f"positions-{name}{ending}": figure(found, name, places) for name in drawn}
    texts = {f"positions-{name}{ending}.csv": tidy_csv(series) for name, series in drawn.items()}
    save(out or folder_of(records, profile), figures, texts, chosen)
    for series in drawn.values():
        print(f"\n{caption(found, series)}")
