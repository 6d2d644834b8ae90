"""The page's sections of declared experiments."""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.report.page import Missing, Picture, Section
from eval.evidence.report.reproduction import Reproduction
from eval.evidence.report.sections import Parts, parts
from eval.evidence.report.sources import Sources
from eval.store.declared import folder_of
from posgen.errors import UserError


def declared_experiments(sources: Sources, reproduction: Reproduction) -> Iterator[Section]:
    """A section for every declared experiment of which there are records."""
    for name in sources.experiments:
        title = f"Declared experiment: {name}"
        try:
            content = tuple(_experiment(sources, name))
        except UserError as error:
            content = (("", Missing(title, f"{error}.", reproduction.records_of(folder_of(name)))),)
        yield Section(f"experiment-{name}", title, content)


def _experiment(sources: Sources, name: str) -> Parts:
    from conf.experiments import find, load
    from eval.evidence.experiment.committed import commits, sentence
    from eval.evidence.experiment.figure import alt as seen
    from eval.evidence.experiment.figure import caption, figure
    from eval.evidence.experiment.judge import judge
    from eval.evidence.experiment.measured import measured
    from eval.evidence.experiment.tables import document

    declared, folder = load(name), folder_of(name)
    judged = judge(measured(declared, sources.records(folder), sources.path(folder).as_posix()))
    said = sentence(commits(declared, find(name), judged.measured.records), declared)
    shown = document(judged, said)
    yield from parts(shown[:2])
    yield "Effects", Picture(figure(judged), seen(judged), caption(judged))
    yield from parts(shown[2:])
