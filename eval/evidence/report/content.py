"""What stands on the page of a profile: at a glance Table 1 and Figure 3, below it the details, folded."""

from __future__ import annotations

from conf import names
from eval.evidence.cells import Collection, collect, differences
from eval.evidence.figures.panels import labelled
from eval.evidence.report import provenance
from eval.evidence.report.again import Again
from eval.evidence.report.page import Commands, Page, Section
from eval.evidence.report.sections import at_a_glance, beyond_the_table, of_the_table, parts
from eval.evidence.report.sources import FOLDERS, Sources
from eval.evidence.table import Words

TITLE = "PosGen report"


def build(sources: Sources) -> Page:
    """The page. What other records would show is said to be missing, with the commands that make them.

    Raises UserError when the profile has no records of Table 1.
    """
    collection = collect(sources.records())
    again = Again(collection, [folder for folder in FOLDERS if folder and sources.path(folder).exists()])
    made_again = (("", Words((again.explained,))), ("", Commands(again.everything)))
    sections = (
        *at_a_glance(sources, collection, again),
        *of_the_table(sources, collection, again),
        *beyond_the_table(sources, again),
        Section(
            "provenance", "Where the numbers come from", tuple(parts(provenance.document(sources))), measured=False
        ),
        Section("again", "How to make it again", made_again),
    )
    return Page(TITLE, f"profile {labelled(collection)}", _introduction(collection), _warning(collection), sections)


def _introduction(collection: Collection) -> Words:
    return Words((
        "A reproduction of *Resonance RoPE* ([arXiv 2403.00071](https://arxiv.org/abs/2403.00071)). Every number and "
        "figure is drawn from records of trainings; the published numbers stand beside them.",
        "A protocol says how a cell of Table 1 was trained and tested: "
        f"{'; '.join(names.protocol(name) for name in collection.protocols)}.",
    ))  # fmt: skip


def _warning(collection: Collection) -> str:
    _, resized = differences(collection)
    if not resized:
        return ""
    return (
        f"**Profile {collection.profile} does not have the paper's sizes**: no number of it can be compared, cell by "
        "cell, with the published one. The differences are listed below Table 1."
    )
