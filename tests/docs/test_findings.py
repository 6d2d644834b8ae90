"""docs/findings.md: identities proved on sequences, numbers recomputed from the records."""

from __future__ import annotations

import re

import numpy as np
import pytest

from conf import names
from eval.store.records import load
from posgen.generate import generate
from posgen.spec import Task
from tests.committed import ROOT, results
from tests.docs.findings import FINDINGS, csv_rows


@pytest.mark.parametrize(("rule", "back", "step"), [("recursive", 5, 1), ("cot", 4, 1), ("semi_recursive", 4, 2)])
def test_two_tokens_are_enough(rule: str, back: int, step: int) -> None:
    """x_l = 2 x_(l-1) - x_(l-back) mod m for every l >= 5, or every second one."""
    prefixes = np.random.default_rng(0).integers(0, 17, (500, 4))
    tokens = generate(Task(rule, rule), prefixes, 256).astype(int)
    for position in range(5, 256, step):
        expected = (2 * tokens[:, position - 1] - tokens[:, position - back]) % 17
        assert np.array_equal(tokens[:, position], expected)


def test_the_two_token_rule_says_nothing_at_even_positions_of_the_semi_recursive_task() -> None:
    prefixes = np.random.default_rng(0).integers(0, 17, (2000, 4))
    tokens = generate(Task("s", "semi_recursive"), prefixes, 64).astype(int)
    agree = [(tokens[:, p] == (2 * tokens[:, p - 1] - tokens[:, p - 4]) % 17).mean() for p in range(6, 64, 2)]
    assert np.mean(agree) == pytest.approx(1 / 17, abs=0.01)


@pytest.mark.parametrize("profile", ["quick", "narrow"])
@pytest.mark.parametrize(
    ("task", "title"), [("recursive", "Recursive"), ("cot", "CoT"), ("semi_recursive", "Semi-recursive")]
)
def test_the_accuracies_are_those_of_the_records(profile: str, task: str, title: str) -> None:
    every = [r for r in load(results() / profile / "records.jsonl") if r.task == task]
    records = [r for r in every if {"paper", "zero_shot"} & set(r.protocols)]
    by_position = np.array([r.accuracy_by_position for r in records], dtype=float)
    assert len(records) == {"quick": 18, "narrow": 30}[profile]
    expected = [by_position[:, 4], by_position[:, 6:64:2], by_position[:, 5:64:2]]
    line = next(line for line in FINDINGS.splitlines() if line.startswith(f"| {profile} | {title} |"))
    found = [float(cell.replace("%", "")) for cell in line.split("|")[3:6]]
    assert found == [round(100 * part.mean(), 1) for part in expected]


PROTOCOLS = ("paper", "zero_shot", "zero_shot_text")


def test_trained_with_yarn_or_not() -> None:
    """The first table, its twelve rows, and the sentences below it."""
    titles = {"recursive": "Recursive", "cot": "CoT", "semi_recursive": "Semi-recursive"}
    cells: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in csv_rows("narrow/table1.csv"):
        cells.setdefault((row["task"], row["pe"]), {})[row["protocol"]] = row
    assert len(cells) == 12
    words, far, near, short = " ".join(FINDINGS.split()), [], [], []
    for (task, pe), by_protocol in cells.items():
        trained, code, text = (float(by_protocol[p]["ood_accuracy_percent"]) for p in PROTOCOLS)
        published = float(by_protocol["paper"]["published_ood_accuracy_percent"])
        name = names.encoding(pe)
        assert f"| {titles[task]} | {name} | {published:.2f} | {trained:.2f} | {code:.2f} | {text:.2f} |" in FINDINGS
        if "yarn" in pe:
            assert min(code, text) > trained
        if "yarn" in pe and task != "semi_recursive":
            far += [published - trained, published - code]
            near.append(abs(text - published))
        if "yarn" not in pe and task != "semi_recursive":
            short.append(published - text)
        if (task, pe) == ("semi_recursive", "yarn"):
            assert f"YaRN, {text:.2f} against {published:.2f}, is {text - published:.0f} points too good" in words
    assert (
        "does better in all six rows and at every size, and with the code's lengths in all six at narrow and" in words
    )
    quick = {
        (r["task"], r["pe"], r["protocol"]): float(r["ood_accuracy_percent"]) for r in csv_rows("quick/table1.csv")
    }
    for task, pe in cells:
        if "yarn" in pe:
            assert quick[task, pe, "zero_shot_text"] > quick[task, pe, "paper"]
    assert min(far) > 8
    assert "within 8 points" in words
    assert max(near) < 3.3
    assert "within 3.3 points in all four rows" in words
    assert f"end {min(short):.0f} to {max(short):.0f} points below" in words
    pairs = [r for r in csv_rows("narrow/verdict.csv") if r["kind"] == "pair" and r["pe"] == "resonance_yarn"]
    for protocol in PROTOCOLS:
        three = [f"{float(r['difference']):+.2f}" for r in pairs if r["protocol"] == protocol]
        assert "{}, {} and {} points under `{}`".format(*three, protocol) in words


def test_six_layers() -> None:
    """Two depths side by side, and the sentences below the table."""
    two = {(r["task"], r["pe"]): r for r in csv_rows("quick/table1.csv") if r["protocol"] == "zero_shot_text"}
    six = {(r["task"], r["pe"]): r for r in csv_rows("quick/depth/table1.csv")}
    section = FINDINGS.split("## What do six layers change?")[1].split("\n## ")[0]
    words = " ".join(section.split())
    assert len(six) == 12

    def cell(row: dict[str, str]) -> str:
        return f"{float(row['ood_accuracy_percent']):.2f} ± {float(row['ood_std_points']):.2f}"

    for place, row in six.items():
        published = f"{float(row['published_ood_accuracy_percent']):.2f}"
        told = (names.task(place[0]), names.encoding(place[1]), published, cell(two[place]), cell(row))
        assert f"| {' | '.join(told)} |" in section
    off = {place: float(row["difference_points"]) for place, row in six.items()}
    assert f"within {max(abs(off['recursive', pe]) for _, pe in off):.2f} points of the published" in words
    assert f"within {max(abs(off['cot', pe]) for pe in ('yarn', 'resonance_yarn')):.2f} for YaRN" in words
    assert f"stay {-off['cot', 'rope']:.0f} and {-off['cot', 'resonance_rope']:.0f} points below" in words
    assert f"YaRN on the semi-recursive task is {off['semi_recursive', 'yarn']:.0f} points too good" in words
    seeds = sorted(
        100 * (r.ood_accuracy or 0.0)
        for r in load(results() / "quick/depth/records.jsonl")
        if (r.task, r.pe) == ("recursive", "rope")
    )
    assert "lie at {:.1f}, {:.1f} and {:.1f} %".format(*seeds) in words
    assert max(float(six[task, "yarn"]["ood_std_points"]) for task, _ in six) < 1
    pairs = [r for r in csv_rows("quick/depth/verdict.csv") if r["kind"] == "pair" and r["pe"] == "resonance_yarn"]
    assert "is {}, {} and {} points here".format(*(f"{float(r['difference']):+.2f}" for r in pairs)) in words
    ceilings = {"recursive": 100.0, "cot": 100.0, "semi_recursive": 50 + 50 / 17}  # of the two-token rule
    assert all(0 < ceilings[t] - float(six[t, "yarn"]["ood_accuracy_percent"]) < 2 for t in ceilings)


def test_what_is_undecided() -> None:
    for profile in ("quick", "narrow"):
        rows = csv_rows(f"{profile}/verdict.csv")
        assert {r["verdict"] for r in rows if r["kind"] == "pair"} == {"undecided"}
        failed = [(r["protocol"], r["name"]) for r in rows if r["kind"] == "claim" and r["verdict"] != "undecided"]
        expected = [("zero_shot", "figure3_b"), ("zero_shot_text", "figure3_b")]
        assert failed == (expected if profile == "narrow" else [])
    words, largest = " ".join(FINDINGS.split()), 0.0
    for protocol in ("zero_shot", "zero_shot_text"):
        rows = [r for r in csv_rows("narrow/verdict.csv") if r["protocol"] == protocol]
        (part,) = (r for r in rows if r["kind"] == "part" and r["name"] == "figure3_b")
        (claim,) = (r for r in rows if r["kind"] == "claim" and r["name"] == "figure3_b")
        assert (
            f"{-float(part['difference']):.2f} nats above it under `{protocol}` (p {float(claim['p_fails']):.3f}"
            in words
        )
        others = [r for r in rows if r["kind"] == "part" and r["name"] == "table1_best" and r["against"] != "yarn"]
        assert len(others) == 6
        largest = max(largest, *(float(r["p_holm"]) for r in others))
    assert f"p at most {largest:.3f} after Holm" in words


@pytest.mark.parametrize(("profile", "pe"), [(p, e) for p in ("quick", "narrow") for e in ("rope", "resonance_rope")])
def test_where_accuracy_falls(profile: str, pe: str) -> None:
    fallen = {}
    for r in load(results() / profile / "records.jsonl"):
        if (r.task, r.pe) == ("recursive", pe):
            by_position = np.array(r.accuracy_by_position, dtype=float)
            fallen[r.seed] = 64 + int(np.argmax(by_position[64:] < 0.8 * by_position[5:64].mean()))
    places = [f"{n} ({seed})" if pe == "rope" else str(n) for seed, n in sorted(fallen.items())]
    assert f"{profile} {', '.join(places)}" in " ".join(FINDINGS.split())


def test_effective_lengths_by_test_factor() -> None:
    """The last table and the sentences below it, read from the committed table of lengths."""
    lines = (results() / "narrow" / "lengths" / "lengths.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| zero_shot")]
    found = {(c[0], c[1], c[2], c[3]): c for c in cells}
    times = []
    for protocol, told in (("zero_shot", "the code's"), ("zero_shot_text", "the text's")):
        for task in ("Recursive", "CoT"):
            for prefix in ("", "Resonance "):
                row = [found[protocol, task, f"{prefix}RoPE", "none"][4]]
                row += [found[protocol, task, f"{prefix}YaRN", f"s = {s}"][4] for s in (4, 8, 16, 64, "n/L")]
                assert f"| {told} | {task} | {prefix}RoPE, {prefix}YaRN | {' | '.join(row)} |" in FINDINGS
                if protocol == "zero_shot_text":
                    times += [int(length) / s for s, length in zip((4, 8, 16), row[1:4], strict=True)]
    words = " ".join(FINDINGS.split())
    assert f"hold to {min(times):.0f} to {np.ceil(max(times)):.0f} tokens times s" in words
    fitted = [found["zero_shot_text", "Recursive", pe, "s = n/L"] for pe in ("YaRN", "Resonance YaRN")]
    assert "{} % (YaRN) and {} % (Resonance YaRN) of the tokens before 1,024".format(*(c[-3] for c in fitted)) in words
    assert "at {} % and {} % before 4,096".format(*(c[-1] for c in fitted)) in words
    far = [found["zero_shot", "CoT", pe, "none"][-1] for pe in ("Resonance RoPE", "RoPE")]
    assert "right at {} % of the tokens before 4,096, RoPE at {} %".format(*far) in words
    recursive = [found["zero_shot", "Recursive", pe, "none"][-1] for pe in ("Resonance RoPE", "RoPE")]
    assert all(abs(float(percent) - 100 / 17) < 1 for percent in recursive)


def test_what_the_rows_of_the_ledger_do() -> None:
    """The table of the ledger's means, and the sentences below it."""
    every = [r for r in csv_rows("quick/ledger/effects.csv") if (r["pe"], r["task"]) == ("mean", "all")]
    found = {(r["base"], r["number"]): r for r in every}

    def text(base: str, number: str) -> str:
        row = found.get((base, number))
        if row is None:
            return "the same in both"
        low, points, high = (float(row[key]) for key in ("low", "change_points", "high"))
        return f"{points:+.1f} [{low:+.1f}, {high:+.1f}]"

    lines = FINDINGS.split("## What do the forks")[1].split("## ")[0].splitlines()
    rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("| ") and line[2].isdigit()
    ]
    assert len(rows) == 7
    for name, paper, released in rows:
        number = name.split(",")[0]
        assert (paper, released) == (text("paper", number), text("released", number)), name
    assert {r["number"] for r in found.values() if r["base"] == "released" and r["decided"] == "True"} >= {
        "2",
        "3",
        "7",
        "8",
    }
    assert all(found[base, "1"]["decided"] == "False" for base in ("paper", "released"))
    words = " ".join(FINDINGS.split())
    change = {place: float(row["change_points"]) for place, row in found.items()}
    frozen, depth = ([abs(change[base, n]) for base in ("released", "paper")] for n in ("7", "8"))
    told = (
        f"Frozen feed-forward layers cost {frozen[0]:.0f} to {frozen[1]:.0f} points, six layers in place of two bring"
    )
    assert f"{told} {depth[1]:.0f} to {depth[0]:.0f}, in either base" in words
    little = [r for r in every if r["base"] == "paper" and r["number"] in ("4", "5", "9", "13", "14", "26")]
    assert len(little) == 7  # row 14 has two settings
    assert all(abs(float(r["change_points"])) < 4 and r["decided"] == "False" for r in little)
    ramp, base = change["released", "5"], change["released", "26"]
    assert f"(row 5) gains {ramp:.1f} points and the plain NTK base (row 26) costs {-base:.1f}" in words
    assert all(found["released", n]["decided"] == "True" for n in ("5", "26"))


def test_the_league() -> None:
    """Places, differences and what was not learned, from the committed table and its notes."""
    every = [r for r in csv_rows("quick/league/league.csv") if r["family"] == "fed_back"]
    rows, later = ([r for r in every if r["protocol"] == name] for name in ("paper", "zero_shot_text"))
    words = " ".join(FINDINGS.split())
    means, scaled = ({r["pe"]: float(r["mean_ood_percent"]) for r in several} for several in (rows, later))
    assert (len(means), len(scaled)) == (49, 49)
    three = ["resonance_rerope", "rerope", "dynamic_ntk"]
    assert sorted(means, key=lambda pe: -means[pe])[:3] == three
    first, second, third = (f"{means[pe]:.2f} %" for pe in three)
    assert f"ReRoPE is first with {first} (mean OOD accuracy of the three tasks), ReRoPE second with {second}" in words
    assert f"Dynamic NTK third with {third}" in words
    told = "Clip has {:.2f} %, YaRN, trained scaled, {:.2f} %; RoPE is at {:.2f} %"
    assert told.format(*(means[pe] for pe in ("clip", "yarn", "rope"))) in words
    ranked = sorted(scaled, key=lambda pe: -scaled[pe])
    remapped = [form + pe for pe in ("rerope", "leaky_rerope", "self_extend") for form in ("", "resonance_")]
    assert set(ranked[:6]) == set(remapped)
    assert f"reach {scaled[ranked[5]]:.2f} to {scaled[ranked[0]]:.2f} %" in words
    three = ["llama3", "yarn", "ntk_by_parts"]
    assert ranked[6:9] == three
    assert "{:.2f}, {:.2f} and {:.2f} %".format(*(scaled[pe] for pe in three)) in words
    assert f"Dynamic NTK {scaled['dynamic_ntk']:.2f} %, NTK-aware scaling {scaled['ntk']:.2f} %" in words
    assert all(abs(float(r["id_accuracy_percent"]) - 100 / 17) < 0.2 for r in later if r["pe"] == "pi")
    readme = " ".join((ROOT / "README.md").read_text().split())
    notes = (results() / "quick/league/league.md").read_text().splitlines()
    for name, several in (("paper", rows), ("zero_shot_text", later)):
        apart = {r["pe"] for r in several if r["p_to_first"] and float(r["p_to_first"]) < 0.05}
        if name == "paper":
            assert f"Under `paper` {len(apart)} of the 48 others differ" in words
            assert apart >= {"rope", "fire", "pi", "sinusoidal"}
            assert not apart & {"yarn", "t5_bias"}
        else:
            assert apart == {"sinusoidal"}
        note = next(line for line in notes if line.startswith(f"- Resonance minus plain form under {name}:"))
        mean, low, high, ahead = re.findall(r"[-+][0-9.]+(?= |,|\])|[0-9]+ of [0-9]+", note.split(f"{name}: ")[1])
        assert "mean over 19 pairs" in note
        assert f"{mean}{' points' * (name == 'paper')} [{low}, {high}] under `{name}`" in words
        assert ahead in words
        if name == "paper":
            assert "Over all 19 pairs of the [league](results/quick/league/league.md)" in readme
            assert f"the difference is {float(mean):.1f} points [{float(low):.1f}, {float(high):+.1f}]" in readme
    within = {r["pe"]: float(r["id_accuracy_percent"]) for r in rows if r["task"] == "recursive"}
    slow = {"alibi", "nope", "fox", "kerple", "pope", "resonance_pope", "randomized", "resonance_randomized", "learned"}
    assert {pe for pe, accuracy in within.items() if accuracy < 50} == slow
    told = (
        f"{len(slow)} encodings are right at no more than {max(within[pe] for pe in slow):.1f} % of the recursive task"
    )
    assert told in words
    assert f"where others reach {max(within.values()):.1f} %" in words
    decided = [r for r in rows if r["verdict"] in ("held", "failed")]
    failed = [r for r in decided if r["verdict"] == "failed"]
    told = f"{len(decided)} of its predictions under `paper` are decided, {len(decided) - len(failed)} held and"
    assert f"{told} {len(failed)} failed" in words
    assert {r["pe"] for r in failed} == {"t5_bias", "fire"}
    foreseen = [r for r in decided if r["predicted"] == "generalises" and r["verdict"] == "held"]
    assert [(r["pe"], r["task"]) for r in foreseen] == [("resonance_rerope", "recursive")]
    assert f"over seeds reach {max(float(r['ood_std_points']) for r in rows):.0f} points" in words
    measured = load(results() / "quick/league/records.jsonl")
    on_gpu = {r.pe for r in measured if r.task == "cot" and str(r.measured_by.device).startswith("cuda")}
    assert f"{len(on_gpu)} of the encodings on a GPU" in words


def test_effective_lengths_of_the_league() -> None:
    lines = (results() / "quick" / "lengths" / "lengths.md").read_text().splitlines()
    every = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    cells = {(c[1], c[2], c[3]): c for c in every if c[0] == "zero_shot_text"}
    section = FINDINGS.split("## How far do they reach")[1].split("\n## ")[0]
    words = " ".join(section.split())
    for pe in ("RoPE", "Resonance RoPE", "T5 bias"):
        recursive, cot = (cells[task, pe, "none"][4] for task in ("Recursive", "CoT"))
        assert f"| {pe} (no s) | {recursive} | | | {cot} | | |" in section
    for base in ("Llama 3", "YaRN", "NTK-by-parts", "Dynamic NTK", "NTK-aware", "LongRoPE (without its search)"):
        for pe in (base, f"Resonance {base}"):
            row = [cells[task, pe, f"s = {s}"][4] for task in ("Recursive", "CoT") for s in ("4", "16", "n/L")]
            assert f"| {pe} | {' | '.join(row)} |" in section
    ranges = [cells["CoT", "YaRN", f"s = {s}"][5] for s in (4, 16)]
    assert "(YaRN on the chain of thought: {} tokens at s = 4, {} at s = 16)".format(*ranges) in words
    unscaled = [c for place, c in cells.items() if place[2] == "none" and place[0] != "Semi-recursive"]
    assert max(int(c[4]) for c in unscaled if c[4].isdigit()) == 149
    assert all("≥" not in c[4] for c in unscaled)
    assert "beyond 149 tokens" in words
    assert all(cells[t, pe, "none"][4] == "64" for t in ("Recursive", "CoT") for pe in ("FIRE", "Sinusoidal"))
    fitted = {pe: c[4] for (task, pe, s), c in cells.items() if (task, s) == ("Recursive", "s = n/L")}
    furthest = max(fitted, key=lambda pe: int(re.sub("[^0-9]", "", fitted[pe])))
    assert (furthest, int(fitted[furthest].strip("≥")) > 2000) == ("Llama 3", True)
    assert fitted["LongRoPE (without its search)"] == fitted["NTK-aware"] == "171"
    held = {c[2] for c in every if c[1] == "Semi-recursive" and c[4].isdigit()}
    assert held == {"T5 bias"}
    percents = [cells["Recursive", "YaRN", f"s = {s}"][8] for s in (16, 4)]
    assert "right at {} % of the tokens before 128 on the recursive task, at s = 4 at {} %".format(*percents) in words
