"""What stands on the page of a profile."""

from __future__ import annotations

from conf import names
from eval.evidence.cells import Collection, collect, differences
from eval.evidence.figures.panels import labelled
from eval.evidence.report import provenance
from eval.evidence.report.again import Again
from eval.evidence.report.page import Commands, Page, Section, Text
from eval.evidence.report.sections import beyond_the_table, of_the_table
from eval.evidence.report.sources import KINDS, Sources

TITLE = "PosGen report"


def build(sources: Sources) -> Page:
    """The page. What other records would show is said to be missing, with the commands that make them.

    Raises UserError when the profile has no records of Table 1.
    """
    collection = collect(sources.records())
    again = Again(collection, [kind for kind in KINDS if kind and sources.path(kind).exists()])
    sections = (
        *of_the_table(sources, collection, again),
        *beyond_the_table(sources, again),
        Section(
            "provenance", "Where the numbers come from", (("", Text(provenance.markdown(sources), measured=False)),)
        ),
        Section("again", "How to make it again", (("", Text(again.explained)), ("", Commands(again.everything)))),
    )
    label = f"profile {labelled(collection)}"
    return Page(TITLE, label, _introduction(collection), _warning(collection), sections)


def _introduction(collection: Collection) -> str:
    protocols = "\n".join(f"- {names.protocol(name)}" for name in collection.protocols)
    return (
        "A reproduction of *Resonance RoPE* ([arXiv 2403.00071](https://arxiv.org/abs/2403.00071)). Every number and "
        "picture is drawn from records of trainings; the published numbers stand beside them. A protocol says how a "
        f"cell of Table 1 was trained and tested:\n\n{protocols}"
    )


def _warning(collection: Collection) -> str:
    found, resized = differences(collection)
    if not resized:
        return ""
    return (
        f"**Profile {collection.profile} does not have the paper's sizes**: no number of it can be compared, cell by "
        f"cell, with the published one. It differs in {', '.join(found)}."
    )
