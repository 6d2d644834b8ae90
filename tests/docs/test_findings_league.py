"""The sections on the league of hidden answers and on learned positions of docs/findings.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean

from conf import names
from eval.store.records import load
from tests.committed import results
from tests.docs.findings import csv_rows, section

FAR, LEARNED = section("Which encodings reach the far token?"), section("What do learned positions do?")
FED_BACK = section("Which encodings extrapolate?")
FAR_WORDS, LEARNED_WORDS = " ".join(FAR.split()), " ".join(LEARNED.split())
HIDDEN = ("recursive_hidden", "cot_hidden", "semi_recursive_hidden")

Row = dict[str, str]


def places(table: str, family: str = "hidden", protocol: str = "") -> dict[tuple[str, str], Row]:
    """Rows of a table of the league by task and encoding, of one family of tasks, and of one protocol or all."""
    rows = [r for r in csv_rows(f"quick/league/{table}.csv") if r["family"] == family]
    return {(r["task"], r["pe"]): r for r in rows if protocol in ("", r["protocol"])}


EQUAL, FIRST, SCALED = places("equal-id"), places("league"), places("test_time/equal-id")
ENCODINGS = sorted({pe for _, pe in EQUAL})


def ood(row: Row) -> float:
    return float(row["ood_accuracy_percent"])


def within(row: Row) -> float:
    return float(row["id_accuracy_percent"])


def shown_in(
    text: str, heading: str, table: dict[tuple[str, str], Row], tasks: Sequence[str] = HIDDEN[:2]
) -> list[str]:
    """The encodings of the table under this heading, every number of which is checked."""
    titles = {names.encoding(pe): pe for _, pe in table}
    lines = text[text.index(f"\n| {heading} |") :].lstrip().split("\n\n")[0].splitlines()[2:]
    shown = [titles[line.split("|")[1].strip()] for line in lines]
    for line, pe in zip(lines, shown, strict=True):
        cells = []
        for task in tasks:
            row = table[task, pe]
            unlearned = "" if row["learned"] == "True" else ", not learned"
            spread = f"{ood(row):.2f} ± {float(row['ood_std_points']):.2f}"
            cells += [f"{within(row):.2f}{unlearned}", spread, row["epochs"]]
        assert [cell.strip() for cell in line.strip("|").split("|")[1:]] == cells
    return shown


def test_the_table_of_those_that_reach() -> None:
    shown = shown_in(FAR, "encoding", EQUAL)
    # Nobody who learned a task and keeps more of it is left out.
    reach = [
        {pe for pe in ENCODINGS if EQUAL[task, pe]["learned"] == "True" and ood(EQUAL[task, pe]) > least}
        for task, least in zip(HIDDEN, (94.5, 91.0, 7.4), strict=True)
    ]
    rerope, pope = {"rerope", "resonance_rerope"}, {"pope", "resonance_pope"}
    assert reach[0] == {"fox", "kerple", "dynamic_ntk", "resonance_dynamic_ntk"} | rerope
    assert reach[1] == {"fire", "learned"} | rerope | pope
    assert reach[2] == set()
    assert set(shown) == reach[0] | reach[1] | {"rope"}
    one, first = ([ood(EQUAL[task, pe]) for pe in reach[k]] for k, task in enumerate(HIDDEN[:2]))
    assert f"FoX, Dynamic NTK and KERPLE ({min(one):.0f} to {max(one):.0f} %)" in FAR_WORDS
    assert f"ReRoPE and PoPE ({min(first):.0f} to {max(first):.0f} %)" in FAR_WORDS
    assert f"none of {len(ENCODINGS)}" in FAR_WORDS


def test_the_papers_tasks_trained_until_learned() -> None:
    words, tasks = " ".join(FED_BACK.split()), ("recursive", "cot")
    equal, first = (places(table, "fed_back", "paper") for table in ("equal-id", "league"))
    shown = shown_in(FED_BACK, "trained until learned", equal, tasks)
    longer = {place for place, row in equal.items() if row["epochs"] == "16"}
    assert {pe for _, pe in longer} == set(shown)
    assert {task for task, _ in longer} == set(tasks)
    assert all(equal[task, pe]["learned"] == "True" for task in tasks for pe in shown)
    changes = [ood(equal[place]) - ood(first[place]) for place in longer]
    told = f"rises in {sum(change > 0 for change in changes)} of {len(changes)} places"
    assert f"{told}, by {min(changes):.2f} to {max(changes):+.2f} points" in words
    records = load(results() / "quick/league/epochs-16/records.jsonl")
    seeds = [100 * (r.ood_accuracy or 0) for r in records if (r.task, r.pe) == ("cot", "rope")]
    assert f"right at {within(equal['cot', 'rope']):.2f} % of the chain of thought within 64 tokens" in words
    assert f"its seeds between {min(seeds):.1f} and {max(seeds):.1f} %" in words
    rerope = [equal[task, pe] for task in tasks for pe in ("rerope", "resonance_rerope")]
    assert all(ood(row) > within(row) for row in rerope)
    assert [pe for (task, pe), row in equal.items() if (task, row["learned"]) == ("semi_recursive", "True")] == [
        "t5_bias"
    ]
    assert f"{len({r.run_id for r in records if r.task in tasks})} trainings" in words


def test_without_rotation() -> None:
    rows = [EQUAL["cot_hidden", pe] for pe in ("alibi", "kerple", "nope", "t5_bias")]
    assert {(r["learned"], r["epochs"]) for r in rows} == {("False", "64")}
    assert f"({min(map(within, rows)):.1f} to {max(map(within, rows)):.1f} %)" in FAR_WORDS
    assert f"lose at most {max(within(r) - ood(r) for r in rows):.1f} points beyond" in FAR_WORDS
    rows = [EQUAL["recursive_hidden", pe] for pe in ("alibi", "nope")]
    assert {f"{within(r):.2f} %" for r in rows} == {"99.97 %"}
    assert {f"{ood(r):.1f}" for r in rows} == {"6.9"}
    assert "ALiBi and NoPE learn all (99.97 %) and keep nothing (6.9 %)" in FAR_WORDS
    assert all(
        within(EQUAL["recursive_hidden", pe]) - ood(EQUAL["recursive_hidden", pe]) < 0.5 for pe in ("kerple", "fox")
    )


def test_scaled_at_test_time_only() -> None:
    shown = set(shown_in(FAR, "at test time", SCALED))
    recursive, cot, semi = ({pe: ood(r) for (task, pe), r in SCALED.items() if task == name} for name in HIDDEN)
    assert {pe for pe in recursive if pe not in shown} == {
        form + pe for pe in ("clip", "ntk", "ntk_by_parts", "longrope") for form in ("", "resonance_")
    }
    for pe in ("rerope", "leaky_rerope", "self_extend"):
        assert within(SCALED["recursive_hidden", pe]) - recursive[pe] < 0.05
        assert recursive[f"resonance_{pe}"] > 99.99
    for pe in ("yarn", "ntk_by_parts", "llama3"):
        assert within(SCALED["recursive_hidden", pe]) - recursive[pe] < 2
    plain = {pe: accuracy for pe, accuracy in cot.items() if not pe.startswith("resonance_") and pe != "clip"}
    told = f"RoPE's weights keep {plain['rope']:.1f} % beyond, scaled at most {max(plain.values()):.1f} %"
    resonance = {pe: accuracy for pe, accuracy in cot.items() if pe.startswith("resonance_") and pe != "resonance_clip"}
    told += f", Resonance RoPE's {resonance['resonance_rope']:.1f} and {max(resonance.values()):.1f} %"
    assert told in FAR_WORDS
    assert {max(plain, key=lambda pe: plain[pe]), max(resonance, key=lambda pe: resonance[pe])} == {
        "pi",
        "resonance_pi",
    }
    assert f"nothing exceeds {max(semi.values()):.1f} %" in FAR_WORDS


def test_the_semi_recursive_task() -> None:
    learned = {pe: EQUAL[HIDDEN[2], pe] for pe in ENCODINGS if EQUAL[HIDDEN[2], pe]["learned"] == "True"}
    most = max(map(ood, learned.values()))
    assert f"learned by {len(learned)} encodings" in FAR_WORDS
    assert learned.keys() >= {"rerope", "self_extend", "partial"}
    assert most < 7.3
    assert f"none of the {len(learned)} exceeds 7.3 %" in FAR_WORDS


def test_longer_trainings() -> None:
    task = "cot_hidden"
    later = [pe for pe in ENCODINGS if int(EQUAL[task, pe]["epochs"]) > 8 and EQUAL[task, pe]["learned"] == "True"]
    numbers = [
        f"{mean(value(table[task, pe]) for pe in later):.1f}" for value in (within, ood) for table in (FIRST, EQUAL)
    ]
    told = "The {} encodings that learned it after 8 epochs, in 16 to 64, go from {} to {} % within 64 tokens"
    told += " and from {} to {} % beyond"
    assert told.format(len(later), *numbers) in FAR_WORDS
    assert f"RoPE falls from {ood(FIRST[task, 'rope']):.2f} to {ood(EQUAL[task, 'rope']):.2f} %" in FAR_WORDS
    gained = {pe for pe in later if ood(EQUAL[task, pe]) - ood(FIRST[task, pe]) > 10}
    assert gained == {"rerope", "resonance_rerope", "pope", "resonance_pope"}


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
        ("recursive_hidden", "t5_bias"), ("recursive_hidden", "fire"), ("recursive_hidden", "alibi"),
        ("cot_hidden", "resonance_leaky_rerope"),
    }  # fmt: skip


def test_what_it_rests_on() -> None:
    folder = results() / "quick/league"
    trained = {
        folder: {r.run_id for r in load(folder / "records.jsonl") if r.task in HIDDEN}
        for folder in (folder, *(folder / f"epochs-{count}" for count in (16, 32, 64)))
    }
    told = "{} trainings of 8 epochs, {} of 16, {} of 32, {} of 64"
    assert told.format(*map(len, trained.values())) in FAR_WORDS
    longer = [r for count in (32, 64) for r in load(folder / f"epochs-{count}/records.jsonl")]
    assert {r.pe for r in longer if r.task == "semi_recursive_hidden"} == {"alibi"}
    assert not {"randomized", "resonance_randomized"} & {r.pe for r in longer}
    first, second = (load(folder / "test_time" / name / "records.jsonl") for name in ("", "epochs-16"))
    told = "24 encodings: {} trainings of 8 epochs, {} of 16"
    assert told.format(*(len({r.run_id for r in several}) for several in (first, second))) in FAR_WORDS
    assert len({r.pe for r in first}) == 24


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
