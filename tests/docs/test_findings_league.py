"""The sections on the league of hidden answers and on learned positions of docs/findings.md."""

from __future__ import annotations

from collections import Counter
from statistics import mean

from conf import names
from eval.store.records import load
from tests.committed import results
from tests.docs.findings import csv_rows, section

FAR, LEARNED = section("Which encodings reach the far token?"), section("What do learned positions do?")
FAR_WORDS, LEARNED_WORDS = " ".join(FAR.split()), " ".join(LEARNED.split())
HIDDEN = ("recursive_hidden", "cot_hidden", "semi_recursive_hidden")

Row = dict[str, str]


def places(table: str) -> dict[tuple[str, str], Row]:
    """Rows of a table of the league by task and encoding, hidden answers alone."""
    return {(r["task"], r["pe"]): r for r in csv_rows(f"quick/league/{table}.csv") if r["family"] == "hidden"}


EQUAL, FIRST = places("equal-id"), places("league")
ENCODINGS = sorted({pe for _, pe in EQUAL})


def ood(row: Row) -> float:
    return float(row["ood_accuracy_percent"])


def within(row: Row) -> float:
    return float(row["id_accuracy_percent"])


def test_the_table_of_those_that_reach() -> None:
    titles = {names.encoding(pe): pe for pe in ENCODINGS}
    _, _, *lines = [line for line in FAR.splitlines() if line.startswith("|")]
    shown = [titles[line.split("|")[1].strip()] for line in lines]
    for line, pe in zip(lines, shown, strict=True):
        cells = []
        for task in HIDDEN[:2]:
            row = EQUAL[task, pe]
            unlearned = "" if row["learned"] == "True" else ", not learned"
            spread = f"{ood(row):.2f} ± {float(row['ood_std_points']):.2f}"
            cells += [f"{within(row):.2f}{unlearned}", spread, row["epochs"]]
        assert [cell.strip() for cell in line.strip("|").split("|")[1:]] == cells
    # Nobody who learned a task and keeps more of it is left out.
    for task, least in zip(HIDDEN, (94.5, 91.0, 7.4), strict=True):
        best = {pe for pe in ENCODINGS if EQUAL[task, pe]["learned"] == "True" and ood(EQUAL[task, pe]) > least}
        assert best <= set(shown)
    one, first = ([ood(EQUAL[task, pe]) for pe in shown] for task in HIDDEN[:2])
    assert f"with Resonance and without ({sorted(one)[-4]:.0f} to {max(one):.0f} %)" in FAR_WORDS
    assert f"PoPE and Resonance ReRoPE ({sorted(first)[-4]:.0f} to {max(first):.0f} %)" in FAR_WORDS
    assert f"none of {len(ENCODINGS)}" in FAR_WORDS


def test_the_semi_recursive_task() -> None:
    learned = {pe: EQUAL[HIDDEN[2], pe] for pe in ENCODINGS if EQUAL[HIDDEN[2], pe]["learned"] == "True"}
    most = max(map(ood, learned.values()))
    assert f"learned by {len(learned)} encodings" in FAR_WORDS
    assert learned.keys() >= {"rerope", "self_extend", "partial"}
    assert most < 7.3
    assert f"none of the {len(learned)} exceeds 7.3 %" in FAR_WORDS


def test_longer_trainings() -> None:
    task = "cot_hidden"
    later = [pe for pe in ENCODINGS if (EQUAL[task, pe]["epochs"], EQUAL[task, pe]["learned"]) == ("16", "True")]
    numbers = [
        f"{mean(value(table[task, pe]) for pe in later):.1f}" for value in (within, ood) for table in (FIRST, EQUAL)
    ]
    told = "The {} encodings that learned it in 16 epochs and not in 8 go from {} to {} % within 64 tokens"
    told += " and from {} to {} % beyond"
    assert told.format(len(later), *numbers) in FAR_WORDS
    assert f"RoPE falls from {ood(FIRST[task, 'rope']):.2f} to {ood(EQUAL[task, 'rope']):.2f} %" in FAR_WORDS
    gained = {pe for pe in later if ood(EQUAL[task, pe]) - ood(FIRST[task, pe]) > 10}
    assert gained == {"pope", "resonance_pope", "resonance_rerope"}


def test_significance_and_predictions() -> None:
    page = (results() / "quick/league/league.md").read_text().splitlines()
    assert any("Resonance minus plain form under paper: -1.62 [-3.42, +0.17] points" in line for line in page)
    assert "Over 19 pairs Resonance minus plain is -1.62 points [-3.42, +0.17]" in FAR_WORDS
    apart = [r for r in FIRST.values() if r["p_to_first"] and float(r["p_to_first"]) < 0.05]
    assert (len(apart), len(ENCODINGS) - 1) == (0, 48)
    verdicts = Counter(r["verdict"] for r in EQUAL.values())
    told = f"Of {len(EQUAL)} predictions of [conf/league.yaml](../conf/league.yaml)"
    decided = verdicts["held"] + verdicts["failed"]
    assert f"{told} {decided} are decided: {verdicts['held']} held, {verdicts['failed']} failed" in FAR_WORDS
    assert {key for key, r in EQUAL.items() if r["verdict"] == "failed"} == {
        ("recursive_hidden", "dynamic_ntk"), ("recursive_hidden", "resonance_dynamic_ntk"),
        ("recursive_hidden", "t5_bias"), ("recursive_hidden", "fire"), ("cot_hidden", "resonance_leaky_rerope"),
    }  # fmt: skip


def test_what_it_rests_on() -> None:
    folder = results() / "quick/league"
    trained = {r.run_id for r in load(folder / "records.jsonl") if r.task in HIDDEN}
    longer = {r.run_id for r in load(folder / "epochs-16/records.jsonl")}
    assert f"{len(trained)} trainings of 8 epochs, {len(longer)} of 16" in FAR_WORDS


def test_learned_positions() -> None:
    rows = [EQUAL[task, "learned"] for task in ("cot_hidden", "recursive_hidden", "semi_recursive_hidden")]
    told = "({:.2f}, {:.2f} and {:.2f} % within 64 tokens), and beyond are at {:.2f} % on the chain of thought and at"
    assert told.format(*map(within, rows), ood(rows[0])) in LEARNED_WORDS
    assert f"chance on the other two ({ood(rows[1]):.2f} and {ood(rows[2]):.2f} %)" in LEARNED_WORDS
    assert {r["predicted"] for r in rows} == {"fails"}
    fed_back = [r for r in csv_rows("quick/league/league.csv") if r["family"] == "fed_back" and r["pe"] == "learned"]
    assert (
        f"({within(next(r for r in fed_back if r['task'] == 'recursive')):.2f} % on the recursive task)"
        in LEARNED_WORDS
    )
    text = {r["pe"]: r for r in csv_rows("text/losses.csv") if r["protocol"] == "paper"}
    (learned, rope) = ([f"{float(text[pe][key]):.3f}" for key in ("id_loss", "ood_loss")] for pe in ("learned", "rope"))
    assert (
        "their loss is {} within and {} beyond, up to 4,096 (RoPE {} and {})".format(*learned, *rope) in LEARNED_WORDS
    )
    assert float(text["learned"]["id_loss"]) - float(text["rope"]["id_loss"]) > 0.5
