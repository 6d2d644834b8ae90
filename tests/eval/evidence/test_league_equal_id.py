"""The equal-ID ranking: a place is that of the fewest epochs that sufficed to learn, and what never did has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conf.league import league_rules
from eval.evidence.cells import Collection, collect
from eval.evidence.league.rungs import measured, rung_records, rungs, unlearned
from eval.evidence.league.standings import League, build
from eval.evidence.league.tables import league_table, notes, title
from eval.store import records
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError
from tests.eval.made import with_config, with_metrics

TASKS = ("recursive", "cot")
# ID accuracy after 6, 12 and 24 epochs, on both tasks; 95 % of the ceiling (modulus 7: 98.57 %) are 93.6 %.
WITHIN = {"rope": (0.95,), "alibi": (0.5, 0.94), "fire": (0.2, 0.5, 0.96), "nope": (0.1, 0.1, 0.2)}
OOD = {"rope": 0.3, "alibi": 0.8, "fire": 0.6, "nope": 0.1}
EPOCHS = (6, 12, 24)


@pytest.fixture
def parts(record: Callable[..., AccuracyRecord]) -> list[Collection]:
    """What was measured with 6, 12 and 24 epochs: with more only those that had not learned with fewer."""

    def cell(rung: int) -> list[AccuracyRecord]:
        return [
            with_metrics(
                record(task, pe, seed, config={"optim": {"epochs": EPOCHS[rung], "batch_size": 64}}),
                id_accuracy=within[rung], ood_accuracy=OOD[pe] + 0.01 * seed + 0.001 * rung,
            )
            for task in TASKS
            for pe, within in WITHIN.items()
            for seed in (0, 1, 2)
            if rung < len(within)
        ]  # fmt: skip

    return [collect(cell(rung)) for rung in range(3)]


@pytest.fixture
def league(parts: list[Collection]) -> League:
    return build(parts[0], list(zip(EPOCHS[1:], parts[1:], strict=True)))


def test_a_place_is_that_of_the_fewest_epochs_that_sufficed(league: League) -> None:
    entries = {entry.pe: entry for entry in league.entries["paper"]}
    assert [(pe, entry.rank) for pe, entry in entries.items()] == [
        ("alibi", 1), ("fire", 2), ("rope", 3), ("nope", None),
    ]  # fmt: skip
    assert [entries[pe].places["cot"].epochs for pe in ("rope", "alibi", "fire", "nope")] == [6, 12, 24, 24]
    assert [entries[pe].places["cot"].learned for pe in ("rope", "alibi", "fire", "nope")] == [True, True, True, False]
    assert entries["alibi"].mean == pytest.approx(81.1)
    assert entries["nope"].mean is None


def test_the_league_of_equal_epochs_ranks_all(parts: list[Collection]) -> None:
    entries = build(parts[0]).entries["paper"]
    assert [(entry.pe, entry.rank) for entry in entries] == [("alibi", 1), ("fire", 2), ("rope", 3), ("nope", 4)]
    assert {entry.places["cot"].epochs for entry in entries} == {6}


def test_the_table_shows_epochs_and_says_who_never_learned(league: League) -> None:
    table = league_table(league)
    assert title(league) == table.title == "The league, at equal ID accuracy"
    assert [column.title for column in table.columns].count("Epochs") == 2
    words = "\n".join(notes(league))
    assert "No rank under paper: 95 % of the ceiling within L was not reached with the epochs measured: NoPE" in words
    assert "NoPE (CoT, 20.0 % after 24 epochs)" in words
    assert "a task is missing" not in words
    assert "Not learned within" not in words


def test_what_trains_longer_is_what_has_not_learned_and_is_asked_for(parts: list[Collection]) -> None:
    rules, everything = league_rules(), {(task, pe, "paper") for task in TASKS for pe in WITHIN}
    first = unlearned(parts[0], [], everything, rules)
    assert first == sorted((task, pe, "paper") for task in TASKS for pe in ("alibi", "fire", "nope"))
    second = unlearned(parts[0], [(12, parts[1])], everything, rules)
    assert second == sorted((task, pe, "paper") for task in TASKS for pe in ("fire", "nope"))
    assert unlearned(parts[0], [], {("cot", "nope", "paper"), ("cot", "rope", "paper")}, rules) == [
        ("cot", "nope", "paper")
    ]


def test_an_encoding_whose_seeds_all_diverged_is_not_trained_longer(record: Callable[..., AccuracyRecord]) -> None:
    made = [record("cot", "fire", seed, None) for seed in (0, 1)]
    made += [with_metrics(record("cot", "nope", seed), id_accuracy=0.1) for seed in (0, 1)]
    asked = {("cot", "fire", "paper"), ("cot", "nope", "paper")}
    assert unlearned(collect(made), [], asked, league_rules()) == [("cot", "nope", "paper")]


def test_what_is_scaled_at_test_time_only_trains_longer_where_its_training_has_not_learned(
    record: Callable[..., AccuracyRecord],
) -> None:
    """YaRN on RoPE's weights: bad within L, which more steps of RoPE do not mend once RoPE has learned."""
    for within, expected in ((0.97, []), (0.6, ["rope", "yarn"])):
        made = []
        for seed in (0, 1):
            own = record("cot", "rope", seed, protocols=("zero_shot",))
            scaled = record("cot", "yarn", seed, protocols=("zero_shot",), train_encoding="rope")
            made += [with_metrics(own, id_accuracy=within), with_metrics(scaled, id_accuracy=0.2)]
        asked = {("cot", pe, "zero_shot") for pe in ("rope", "yarn")}
        assert [pe for _, pe, _ in unlearned(collect(made), [], asked, league_rules())] == expected


def test_rungs_double_and_are_read_back(parts: list[Collection], tmp_path) -> None:
    assert rungs(6, league_rules()) == [12, 24, 48, 96]
    assert rungs(6, league_rules(1)) == [12]
    league = tmp_path / "league" / "records.jsonl"
    assert measured(league, 6, None, league_rules()) == []
    for epochs, part in zip(EPOCHS[1:], parts[1:], strict=True):
        records.append(rung_records(league, epochs), list(part.records()))
    found = measured(league, 6, None, league_rules())
    assert [epochs for epochs, _ in found] == [12, 24]
    assert [len(part.cells) for _, part in found] == [6, 4]
    assert [len(part.cells) for _, part in measured(league, 6, ["zero_shot"], league_rules())] == [0, 0]


def test_records_in_another_rungs_folder_are_told(parts: list[Collection], tmp_path) -> None:
    wrong = [with_config(record, optim={"epochs": 6}) for record in parts[1].records()]
    records.append(rung_records(tmp_path / "records.jsonl", 12), wrong)
    with pytest.raises(UserError, match="holds trainings of 6 epochs"):
        measured(tmp_path / "records.jsonl", 6, None, league_rules())
