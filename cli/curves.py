"""`posgen curves`: how the trainings went."""

from __future__ import annotations

from cli.drawn import ProfileOption, ProtocolOption, RecordsOption, SweepOption
from cli.pictures import FormatOption, OutOption, TasksOption


def curves(
    records: RecordsOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    task: TasksOption = None,
    format: FormatOption = "png",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw learning curves from records alone: training and validation loss, ID and OOD accuracy, a column a task.

    Lines are means over seeds, bands reach from the lowest to the highest seed; chance is marked. Each protocol becomes
    curves-<protocol>.png, with its numbers in curves-<protocol>.csv.

    \b
    posgen curves --profile quick
    posgen curves --protocol zero_shot --task cot --format all --out figures
    """
    from cli.drawn import collection, folder_of
    from cli.pictures import formats, of_tasks, save
    from eval.evidence.figures.learning import caption, figure, rows, tidy_csv

    chosen = formats(format)
    found, places, ending = of_tasks(collection(records, profile, protocol, sweep), task)
    drawn = {name: rows(found, name, places) for name in found.protocols}
    figures = {f"curves-{name}{ending}": figure(found, name, places) for name in drawn}
    texts = {f"curves-{name}{ending}.csv": tidy_csv(learning) for name, learning in drawn.items()}
    save(out or folder_of(records, profile), figures, texts, chosen)
    for learning in drawn.values():
        print(f"\n{caption(found, learning)}")
