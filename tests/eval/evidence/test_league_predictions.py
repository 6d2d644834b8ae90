"""What theory predicts for an encoding on a task, and the verdicts, on records made up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy import stats

from conf import files
from conf.compose import Choice, composer
from conf.league import FACTS, FAMILIES, LeagueRules, family, league_rules
from eval.evidence.cells import collect
from eval.evidence.figures.feature_gap import feature_gaps, gaps_between
from eval.evidence.league.ceilings import ceiling
from eval.evidence.league.facts import facts_of
from eval.evidence.league.prediction_tables import predictions_table
from eval.evidence.league.standings import build, by_family, of_tasks
from eval.evidence.league.tables import file_names, notes, numbers, title
from eval.evidence.table import csv_text
from eval.running.plan import trained_with
from eval.store.kinds import AccuracyRecord
from models.encodings import Rotary
from models.encodings import build as built
from models.spec import EncodingSpec
from posgen.errors import BadValue, UserError
from posgen.plain import plain
from posgen.spec import DataSpec, Task
from tests.eval.made import synthetic_record, with_metrics

TASKS = ("recursive", "cot", "semi_recursive")
CASES: dict[tuple[str, str], set[str]] = {
    ("rope", "paper"): {"rotary", "post_critical_unseen", "gap"},
    ("resonance_rope", "paper"): {"rotary", "post_critical_unseen"},
    ("yarn", "paper"): {"rotary", "post_critical_unseen", "gap"},  # trained on 64 tokens of the scaled table
    ("yarn", "zero_shot_text"): {"rotary", "gap"},  # the scaled table of 256 stays within RoPE's range of 64
    ("pi", "zero_shot_text"): {"rotary", "gap"},
    ("randomized", "paper"): {"rotary", "draws_positions"},
    ("alibi", "paper"): {"bias"},
    ("t5_bias", "paper"): {"bias"},
    ("nope", "paper"): {"no_position"},
    ("learned", "paper"): {"absolute"},
    ("sinusoidal", "paper"): {"absolute"},
    ("fox", "paper"): {"bias"},
    ("kerple", "paper"): {"bias"},
    ("pope", "paper"): {"rotary", "post_critical_unseen", "gap"},
    ("resonance_clip", "paper"): {"rotary", "no_gap"},
    ("rnope", "paper"): {"rotary", "trained_distances"},  # a window of 16 tokens
    ("rerope", "zero_shot"): {"rotary", "trained_distances"},  # at most 32 tokens apart
    ("leaky_rerope", "zero_shot"): {"rotary", "trained_distances"},  # at most 32 + (255 - 32) / 8 = 59.9
    ("self_extend", "zero_shot"): {"rotary", "trained_distances"},  # at most 255 // 8 + 32 - 32 // 8 = 59
}


def composed(task: str, pe: str, protocol: str, *overrides: str) -> AccuracyRecord:
    """A record of what this choice trains and tests at the quick profile, without its numbers."""
    with composer() as make:
        config = make(Choice(task, pe, protocol, "quick"), overrides)
    nodes: dict[str, Any] = {name: plain(getattr(config, name)) for name in ("task", "data", "model", "optim")}
    nodes["train_encoding"] = plain(trained_with(config))
    return synthetic_record(task, pe, 1, 0.5, (protocol,), config=nodes, encoding=plain(config.pe))


@pytest.mark.parametrize(("pe", "protocol"), CASES)
def test_the_facts_are_computed_from_the_encodings(pe: str, protocol: str) -> None:
    assert facts_of(composed("cot", pe, protocol), 0.001) == CASES[pe, protocol]


def test_cutting_off_what_is_slow_leaves_only_the_gap_and_resonance_not_even_that() -> None:
    cut = "pe.params.p=0.28125"  # nine of 32 pairs: wavelengths of up to 58 tokens
    assert facts_of(composed("cot", "p_rope", "paper", cut), 0.001) == {"rotary", "gap"}
    assert facts_of(composed("cot", "resonance_p_rope", "paper", cut), 0.001) == {"rotary", "no_gap"}


@pytest.mark.parametrize(
    ("pe", "change"),
    [
        ("rnope", "pe.params.window=null"),
        ("rnope", "pe.params.window=65"),  # training has 64 inputs, the BOS and 63 tokens
        ("leaky_rerope", "pe.params.k=7"),  # 32 + (255 - 32) / 7 = 63.9, and 63 is the most in training
        ("self_extend", "pe.params.group=6"),
    ],
)
def test_distances_beyond_the_training_length_are_new(pe: str, change: str) -> None:
    facts = facts_of(composed("cot", pe, "paper", change), 0.001)
    assert facts is not None
    assert "trained_distances" not in facts


@pytest.mark.parametrize(
    ("task", "moves"),
    [("semi_recursive", False), ("cot_hidden", False), ("recursive_hidden", False), ("recursive_interleaved", False),
     ("semi_recursive_hidden", True), ("semi_recursive_copy", True), ("semi_recursive_interleaved", True)],
)  # fmt: skip
def test_a_far_token_moves_where_neither_its_place_nor_its_distance_is_fixed(task: str, moves: bool) -> None:
    facts = facts_of(composed(task, "alibi", "paper"), 0.001)
    assert facts is not None
    assert ("far_moves" in facts) is moves


def test_code_that_nobody_named_is_not_run_for_a_prediction() -> None:
    record = composed("cot", "rope", "paper")
    own = {"name": "Evil", "scaling": "evil.py:Evil"}
    untrusted = synthetic_record(config={**record.training.config, "train_encoding": own})
    assert facts_of(untrusted, 0.001) is None
    assert facts_of(synthetic_record(), 0.001) is None  # an older record does not say how it was trained


def test_gaps_between_equal_tables_are_those_of_one() -> None:
    """Of positions below L nothing is new where training and test have one table."""
    for resonance in (False, True):
        encoding = built(EncodingSpec("rope", resonance=resonance), 64)
        assert isinstance(encoding, Rotary)
        between, within = gaps_between(encoding, 64, encoding, 256), feature_gaps(encoding, 64, 256)
        np.testing.assert_allclose(between, within, atol=1e-12)


@pytest.mark.parametrize(("rule", "within", "beyond"), [
    ("recursive", 59 / 60 + 1 / 60 / 17, 1.0),  # all but the first, and that by guessing
    ("cot", 59 / 60 + 1 / 60 / 17, 1.0),
    ("semi_recursive", 0.5 + 0.5 / 17, 0.5 + 0.5 / 17),  # the odd ones
])  # fmt: skip
def test_the_ceiling_of_the_papers_tasks_is_the_two_token_rules(rule: str, within: float, beyond: float) -> None:
    top = ceiling(Task(rule=rule), DataSpec(), league_rules())
    assert (top.kind, top.id, top.ood) == ("two_tokens", pytest.approx(100 * within), pytest.approx(100 * beyond))


def test_other_families_allow_everything() -> None:
    with composer() as make:
        tasks = {name: make(Choice(name), ()).task for name in ("cot_hidden", "cot_copy", "recursive_interleaved")}
    assert [family(task) for task in tasks.values()] == ["hidden", "copy", "interleaved"]
    assert all(ceiling(task, DataSpec(), league_rules()).id == 100.0 for task in tasks.values())
    # an h of the user's own is named by records and not run for a table
    assert ceiling(Task(h="no_such_module:h"), DataSpec(), league_rules()).kind == "task"


def seeds(task: str, pe: str, accuracies: tuple[float, ...], within: float = 0.99) -> list[AccuracyRecord]:
    first = composed(task, pe, "paper")
    made = []
    for seed, accuracy in enumerate(accuracies):
        record = structs.replace(first, seed=seed, run_id=f"{task[:4]}{pe[:4]}{seed:04d}"[:12])
        made.append(with_metrics(record, id_accuracy=within, ood_accuracy=accuracy))
    return made


@pytest.mark.parametrize(("pe", "accuracies", "within", "verdict"), [
    ("rope", (0.3, 0.32, 0.34), 0.99, "held"),  # predicted to fail
    ("rope", (0.97, 0.98, 0.99), 0.99, "failed"),
    ("rope", (0.3, 0.6, 0.99), 0.99, "undecided"),
    ("rope", (0.3, 0.32, 0.34), 0.9, "undecided"),  # 90 % within L are below 95 % of 98.43 %
    ("alibi", (0.97, 0.98, 0.99), 0.99, "held"),  # predicted to generalise
    ("alibi", (0.3, 0.32, 0.34), 0.99, "failed"),
    ("alibi", (0.99, 0.99), 0.99, "held"),  # all alike
    ("alibi", (0.99,), 0.99, "undecided"),
])  # fmt: skip
def test_verdicts_follow_the_interval_over_seeds(
    pe: str, accuracies: tuple[float, ...], within: float, verdict: str
) -> None:
    (entry,) = build(collect(seeds("recursive", pe, accuracies, within))).entries["paper"]
    made = entry.places["recursive"].prediction
    assert made is not None
    assert (made.verdict, made.learned) == (verdict, within > 0.95 * 0.9843)
    if len(set(accuracies)) > 1:
        low, high = stats.t.interval(0.95, len(accuracies) - 1, np.mean(accuracies), stats.sem(accuracies))
        assert (low < 0.9 <= high) or verdict != "undecided" or not made.learned
    assert made.text == f"{made.rule.predicts}: {verdict}" + (" (not learned)" if not made.learned else "")


def test_the_table_of_rules_counts_the_verdicts() -> None:
    records = [*seeds("recursive", "rope", (0.3, 0.31)), *seeds("cot", "rope", (0.98, 0.99))]
    records += seeds("recursive", "alibi", (0.3, 0.31))
    league = build(collect(records))
    table = predictions_table(league)
    assert table is not None
    rows = [[cell.value for cell in row][1:6] for row in table.rows]
    assert rows == [["post critical", "fails", 1, 1, 0], ["local", "generalises", 0, 1, 0]]
    assert all("arXiv" in str(row[-1].value) for row in table.rows)
    text = csv_text(numbers([league]))
    assert "recursive" in text
    assert ",fails,post_critical,held\n" in text
    assert predictions_table(build(collect([synthetic_record()]))) is None


def test_families_have_tables_and_figures_of_their_own() -> None:
    made = [record for task in ("cot", "cot_hidden", "cot_copy") for record in seeds(task, "rope", (0.5, 0.6))]
    collection = collect(made)
    leagues = [build(part) for part in by_family(collection).values()]
    assert [league.family for league in leagues] == ["fed_back", "hidden", "copy"]
    assert [title(league) for league in leagues][:2] == ["The league", "The league, hidden answers"]
    names = [name for league in leagues for name in file_names(league).values()]
    assert names == ["league-paper", "league-hidden-paper", "league-copy-paper"]
    assert [league.tasks for league in leagues] == [("cot",), ("cot_hidden",), ("cot_copy",)]
    assert "CoT 98.43 % within L" in "\n".join(notes(leagues[0]))
    assert "100.00 % within L" in "\n".join(notes(leagues[1]))
    assert set(by_family(of_tasks(collection, ["cot_copy"]))) == {"copy"}
    with pytest.raises(BadValue, match="task=cot_hiden: no record of it; did you mean cot_hidden"):
        of_tasks(collection, ["cot_hiden"])


def test_the_declared_rules() -> None:
    rules = league_rules()
    assert {fact for rule in rules.rules for fact in rule.when} == set(FACTS)
    assert all(rule.source and "arXiv" in rule.source for rule in rules.rules)
    assert (rules.share, rules.doublings, rules.holds) == (0.95, 4, 0.9)
    assert set(rules.ceilings) == set(FAMILIES)
    assert math.isclose(rules.confidence, 0.95)
    with pytest.raises(UserError, match="doublings=11: use 0 to 10"):
        league_rules(11)


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ("share: 0.95", "share: 95", "share=95: use a fraction"),
    ("predicts: fails", "predicts: falls", "predicts=falls: did you mean fails?"),
    ("[far_moves]", "[far_move]", "when=far_move: did you mean far_moves?"),
    ("hidden: task", "hidden: two", "ceilings.hidden=two: "),
    ("doublings: 4", "doubling: 4", "doubling is not known"),
])  # fmt: skip
def test_a_damaged_file_is_one_line(
    old: str, new: str, complaint: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (files.FOLDER / "league.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "league.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"conf/league\.yaml: ") as caught:
        league_rules()
    assert complaint in str(caught.value)
    assert isinstance(LeagueRules, type)
