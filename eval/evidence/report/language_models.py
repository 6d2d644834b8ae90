"""The page's sections of language models: Figure 4, how models were tuned, Table 2, standard tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.evidence.llm.curves import collect
from eval.evidence.report import alt
from eval.evidence.report.page import Missing, Part, Picture, Section
from eval.evidence.report.sections import Parts, parts
from eval.evidence.report.sources import Sources
from eval.store.lm_kinds import PerplexityRecord

_FIGURE = (
    "Left perplexity of the first n tokens, as the paper draws it; in the middle the loss at each position, where a "
    "failure shows that a mean over a prefix hides; right what Resonance changes, paired token by token (below 0 it is "
    "better), with 95 % intervals."
)
_COMMANDS = ("posgen llm prepare", "posgen llm perplexity --plan figure4")


def language_models(sources: Sources) -> Iterator[Section]:
    """Each section of which there are records; without any, how to make them."""
    found: dict[tuple[str, str], tuple[tuple[str, Part], ...]] = {
        ("language-models", "Figure 4: perplexity of language models"): tuple(_perplexities(sources.perplexities)),
        ("tunings", "How language models were tuned"): tuple(_tunings(sources)),
        ("table2", "Table 2: L-Eval"): tuple(_answers(sources)),
        ("standard-tasks", "Standard tasks"): tuple(_standard_tasks(sources)),
    }
    made = [Section(*key, content, measured=False) for key, content in found.items() if content]
    if not made:
        missing = Missing("Language models", f"There are no records below {sources.results / 'llm'}.", _COMMANDS)
        made = [Section("language-models", "Language models", (("", missing),), measured=False)]
    yield from made


def _perplexities(records: Sequence[PerplexityRecord]) -> Parts:
    from eval.evidence.llm.figure4 import figure
    from eval.evidence.llm.tables import document

    for curves in collect(records) if records else ():
        yield curves.model, Picture(figure(curves), alt.perplexities(curves), _FIGURE)
        yield from parts(document([curves]))


def _tunings(sources: Sources) -> Parts:
    from eval.evidence.llm.tunings import table

    if records := sources.tunings:
        yield "", table(records)


def _answers(sources: Sources) -> Parts:
    from conf.published import table2 as published
    from eval.evidence.llm.table2 import document

    if records := sources.answers:
        yield from parts(document(records, published()))


def _standard_tasks(sources: Sources) -> Parts:
    from eval.evidence.llm.harness import tables

    yield from parts(tables(sources.standard_tasks))
