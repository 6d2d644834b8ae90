"""The rules of verdicts: declared in one file, changed and refused as every other setting."""

from __future__ import annotations

import dataclasses

import pytest

from conf.rules import verdict_rules as rules
from posgen.errors import BadValue, UserError


def test_the_declared_rules_are_these():
    """Five points, 0.05, 95 % and the paper's five seeds: a change of them must be meant."""
    found = rules()
    assert (found.margin_points, found.alpha, found.confidence, found.published_seeds) == (5.0, 0.05, 0.95, 5)


def test_a_rule_can_be_changed_by_its_name():
    changed = rules(["verdict.margin_points=3", "verdict.alpha=0.1"])
    assert changed == dataclasses.replace(rules(), margin_points=3.0, alpha=0.1)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("verdict.margin=3", "did you mean verdict.margin_points?"),
        ("margin_points=3", "did you mean verdict.margin_points?"),
        ("optim.lr=1", "one of verdict.alpha"),
        ("verdict.margin_points=0", "0 < points"),
        ("verdict.margin_points=nan", "0 < points"),
        ("verdict.effect_points=101", "0 < points"),
        ("verdict.alpha=0.6", "error rate"),
        ("verdict.alpha=small", "use a number"),
        ("verdict.confidence=95", "0 < confidence < 1"),
        ("verdict.published_seeds=1", "2 to 1000"),
        ("verdict.published_seeds=2.5", "whole number"),
        ("verdict.resamples=10", "100 to"),
        ("verdict.seed=-1", "4294967295"),
        ("verdict.alpha=0.1,0.2", "give one value"),
        ("verdict.alpha=null", "use a number"),
    ],
)
def test_a_wrong_rule_names_itself_and_the_remedy(text, remedy):
    with pytest.raises(BadValue) as error:
        rules([text])
    assert str(error.value).startswith(text.partition("=")[0] + "=")
    assert remedy in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "words", [["verdict.alpha"], ["+verdict.alpha=1"], ["verdict.alpha=0.1", "verdict.alpha=0.2"], ["--alpha"]]
)
def test_what_is_no_setting_is_one_line(words):
    with pytest.raises(UserError) as error:
        rules(words)
    assert "\n" not in str(error.value)
