"""The content of a profile's page: Table 1 and Figure 3 at the top, of a text its losses, the details folded below;
what was measured on language models, which no profile is of, stands on every page."""

from __future__ import annotations

from conf import names
from eval.evidence.cells import Collection, collect, differences, parted
from eval.evidence.figures.panels import labelled
from eval.evidence.report import provenance
from eval.evidence.report.declared import declared_experiments
from eval.evidence.report.language_models import language_models
from eval.evidence.report.page import Commands, Page, Section
from eval.evidence.report.reproduction import Reproduction
from eval.evidence.report.sections import (
    at_a_glance,
    beyond_the_table,
    of_texts,
    of_the_table,
    parts,
)
from eval.evidence.report.sources import Sources
from eval.evidence.table import Words

TITLE = "PosGen report"


def build(sources: Sources) -> Page:
    """The page. Sections whose records are missing name the commands that make them.

    Raises UserError when the profile has no records of Table 1 or of a text.
    """
    collection = collect(sources.records())
    computed, texts = parted(collection)
    reproduction = Reproduction(collection, [folder for folder in sources.folders if folder])
    commands = (("", Words((reproduction.explanation,))), ("", Commands(reproduction.everything)))
    sections = (
        *(of_texts(sources, texts, reproduction) if texts else ()),
        *(at_a_glance(sources, computed, reproduction) if computed else ()),
        *(of_the_table(sources, computed, reproduction) if computed else ()),
        *(beyond_the_table(sources, reproduction) if computed else ()),
        *declared_experiments(sources, reproduction),
        *language_models(sources),
        Section(
            "provenance", "Where the numbers come from", tuple(parts(provenance.document(sources))), measured=False
        ),
        Section("again", "How to reproduce it", commands),
    )
    warning = _warning(computed) if computed else ""
    return Page(TITLE, f"profile {labelled(collection)}", _introduction(collection), warning, sections)


def _introduction(collection: Collection) -> Words:
    protocols = "; ".join(names.protocol(name) for name in collection.protocols)
    return Words((f"A protocol says how a cell of a table was trained and tested: {protocols}.",))


def _warning(collection: Collection) -> str:
    _, resized = differences(collection)
    if not resized:
        return ""
    return (
        f"**Profile {collection.profile} does not have the paper's sizes**: its numbers are not comparable cell "
        "by cell with the published ones. The differences are listed below Table 1."
    )
