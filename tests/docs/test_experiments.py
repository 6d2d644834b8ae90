"""docs/experiments.md: its example is a declaration, and it names every key that there is."""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml

from conf.experiments import Experiment, experiments, parsed
from conf.factors import Factor, Level
from conf.hypotheses import Direction, Hypothesis, Rule
from tests.committed import ROOT

PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_example_is_a_declaration() -> None:
    made = parsed(yaml.safe_load(EXAMPLE), "rounding", "docs/experiments.md")
    assert [cell.name for cell in made.cells] == ["rope", "resonance", "p_rope", "p_rope+resonance"]
    for cell in made.cells:
        assert f"`{cell.name}`" in PAGE


@pytest.mark.parametrize("kind", [Experiment, Factor, Level, Hypothesis, Rule])
def test_every_key_is_named(kind: type) -> None:
    for field in dataclasses.fields(kind):
        assert re.search(rf"\b{field.name}\b", PAGE), field.name


def test_every_direction_and_every_experiment_is_described() -> None:
    for direction in Direction:
        assert f"`{direction.value}`" in PAGE
    for name in experiments():
        assert f"](../conf/experiment/{name}.yaml)" in PAGE
