"""Table 1: hand-computed cells, the published values, bold, and everything that is not there shown as not there."""

from __future__ import annotations

import csv
import io
import re
import statistics

import pytest

from conf.published import load_table1, variance_from_std
from eval.evidence.cells import collect
from eval.evidence.table1 import Measured, Row, Table1, build
from eval.evidence.table1_render import latex, markdown, terminal, tidy_csv
from posgen.errors import BadValue, UserError
from tests.committed import ROOT

PUBLISHED = load_table1(ROOT / "conf" / "published" / "table1.csv")

# Table 1 of arXiv 2403.00071v2, copied by hand: accuracy and "variance" of recursive, CoT, semi-recursive.
PAPER = {
    "rope": ((65.29, 0.43), (69.56, 0.33), (17.96, 0.03)),
    "resonance_rope": ((62.64, 0.15), (75.25, 0.10), (29.78, 0.07)),
    "yarn": ((95.93, 0.04), (98.71, 0.00), (33.70, 0.04)),
    "resonance_yarn": ((98.30, 0.00), (99.58, 0.00), (48.46, 0.03)),
}
TASKS = ("recursive", "cot", "semi_recursive")


def table(records: list[dict], **options: object) -> Table1:
    return build(collect(records, **options), PUBLISHED)  # type: ignore[arg-type]


def row(made: Table1, task: str, pe: str) -> Row:
    return next(row for row in made.rows if (row.task, row.pe) == (task, pe))


def cell(made: Table1, task: str, pe: str, protocol: str = "paper") -> Measured:
    return row(made, task, pe).measured[protocol]


def notes(made: Table1) -> str:
    return "\n".join(made.notes)


def test_the_published_file_is_the_papers_table():
    assert {key: (cell.ood_percent, cell.variance) for key, cell in PUBLISHED.items()} == {
        (task, pe): values[index] for pe, values in PAPER.items() for index, task in enumerate(TASKS)
    }
    assert list(dict.fromkeys(task for task, _ in PUBLISHED)) == list(TASKS)


def test_the_papers_unit_of_spread():
    assert round(variance_from_std(6.56), 2) == 0.43  # what the paper prints for RoPE on recursive is 6.6 points
    assert variance_from_std(10.0) == pytest.approx(1.0)
    fractions = [0.5, 0.6, 0.7]  # variance 0.01 with n - 1
    assert variance_from_std(100 * statistics.stdev(fractions)) == pytest.approx(100 * statistics.variance(fractions))


def test_a_cell_computed_by_hand(record):
    # 60, 70 and 80 %: mean 70, deviations -10, 0, 10, so the sample variance is 200 / 2 and the std 10 points.
    made = table([record(seed=seed, ood=ood) for seed, ood in ((1, 0.6), (2, 0.7), (3, 0.8))])
    found = cell(made, "cot", "rope")
    assert found.ood_percent == pytest.approx(70.0)
    assert found.ood_std_points == pytest.approx(10.0)
    assert found.variance == pytest.approx(1.0)
    assert found.difference_points == pytest.approx(70.0 - 69.56)
    assert (found.id_percent, found.id_std_points) == (87.5, 0.0)
    assert (found.seeds, found.n_text) == ((1, 2, 3), "3")


def test_cells_agree_with_pythons_statistics(full_sweep):
    sweep = full_sweep(seeds=(5549, 4955, 42))
    for index, one in enumerate(sweep):
        one["metrics"]["ood_accuracy"] = (index * 37 % 101) / 101
        one["metrics"]["id_accuracy"] = (index * 53 % 97) / 97
    made = table(sweep)
    for protocol in ("paper", "zero_shot"):
        for task, pe in PUBLISHED:
            pool = [r for r in sweep if (r["task"], r["pe"]) == (task, pe) and protocol in r["protocols"]]
            assert len(pool) == 3
            for name, mean, std in (("ood_accuracy", "ood_percent", "ood_std_points"),
                                    ("id_accuracy", "id_percent", "id_std_points")):  # fmt: skip
                values = [100 * r["metrics"][name] for r in pool]
                found = cell(made, task, pe, protocol)
                assert getattr(found, mean) == pytest.approx(statistics.mean(values))
                assert getattr(found, std) == pytest.approx(statistics.stdev(values))


def test_one_training_fills_the_rope_rows_of_both_protocols(full_sweep):
    made = table(full_sweep())
    assert made.protocols == ("paper", "zero_shot")
    for task in TASKS:
        assert cell(made, task, "rope") == cell(made, task, "rope", "zero_shot")
        ours, theirs = cell(made, task, "yarn"), cell(made, task, "yarn", "zero_shot")
        assert theirs.ood_percent == pytest.approx((ours.ood_percent or 0) + 10)


def test_the_published_bold_is_the_papers(record):
    made = table([record()])
    bold = {(row.task, row.pe) for row in made.rows if row.published_best}
    resonance_wins = {(task, pe) for task in TASKS for pe in ("resonance_rope", "resonance_yarn")}
    assert bold == resonance_wins - {("recursive", "resonance_rope")} | {("recursive", "rope")}


def test_bold_is_the_better_of_a_pair_and_needs_both(record):
    made = table([
        record(pe="rope", ood=0.6), record(pe="resonance_rope", ood=0.5), record(pe="yarn", ood=0.9),
        record("recursive", "yarn", ood=0.31111), record("recursive", "resonance_yarn", ood=0.31114),
    ])  # fmt: skip
    assert cell(made, "cot", "rope").best
    assert not cell(made, "cot", "resonance_rope").best
    assert not cell(made, "cot", "yarn").best, "nothing to compare with"
    assert cell(made, "recursive", "yarn").best, "31.11 is printed for both: a tie"
    assert cell(made, "recursive", "resonance_yarn").best
    text = markdown(made)
    assert "| CoT | RoPE | 69.56 | 0.33 | 87.50 | **60.00** | — | 1 | -9.56 |" in text
    assert "| CoT | Resonance RoPE | **75.25** | 0.10 | 87.50 | 50.00 | — | 1 | -25.25 |" in text


def test_missing_cells_show_as_missing_never_as_zero(record):
    made = table([record(seed=1, ood=0.5), record(seed=2, ood=0.5)])
    found = cell(made, "recursive", "yarn")
    assert (found.ood_percent, found.ood_std_points, found.variance, found.id_percent) == (None,) * 4
    assert "| Recursive | YaRN | 95.93 | 0.04 | — | — | — | 0 | — |" in markdown(made)
    missing = next(note for note in made.notes if note.startswith("Missing under paper"))
    assert len(missing.split(",")) == 11
    assert "CoT RoPE" not in missing
    lines = [line for line in csv.DictReader(io.StringIO(tidy_csv(made))) if line["task"] == "recursive"]
    assert {line["ood_accuracy_percent"] for line in lines} == {""}


def test_diverged_members_are_counted_and_named(record):
    made = table([
        record(seed=1, ood=0.5), record(seed=2, ood=0.75), record(seed=3, ood=None),
        record(pe="yarn", seed=1, ood=None),
    ])  # fmt: skip
    found = cell(made, "cot", "rope")
    assert (found.seeds, found.diverged_seeds, found.n_text) == ((1, 2), (3,), "2/3")
    assert found.ood_percent == pytest.approx(62.5)
    assert "Diverged under paper, not part of the means: CoT RoPE 1 of 3 (seed 3), CoT YaRN 1 of 1 (seed 1)" in notes(
        made
    )
    assert cell(made, "cot", "yarn").n_text == "0/1"
    assert "CoT YaRN" in next(note for note in made.notes if note.startswith("Missing"))


def test_of_one_seed_trained_twice_the_later_record_counts(record):
    older = record(run_id="a" * 12, ood=0.1, created="2026-01-01T00:00:00Z")
    newer = record(run_id="b" * 12, ood=0.9, created="2026-01-02T00:00:00Z")
    for order in ([older, newer], [newer, older]):
        found = cell(table(order), "cot", "rope")
        assert (found.seeds, found.ood_percent) == ((42,), pytest.approx(90.0))


def test_only_the_test_split_at_the_test_length_counts(record):
    made = table([record(ood=0.5), record(ood=0.1, length=512), record(ood=0.2, split="validation")])
    assert cell(made, "cot", "rope").ood_percent == pytest.approx(50.0)


def test_accuracy_modes_are_not_pooled(record):
    both = [record(ood=0.5), record(ood=0.25, accuracy_mode="free_running")]
    assert cell(table(both), "cot", "rope").ood_percent == pytest.approx(50.0)
    free = table(both, accuracy_mode="free_running")
    assert cell(free, "cot", "rope").ood_percent == pytest.approx(25.0)
    assert "free-running" in notes(free)
    with pytest.raises(BadValue, match=r"accuracy=free_runing: .*did you mean free_running"):
        table(both, accuracy_mode="free_runing")


def test_members_of_different_settings_are_never_pooled(record):
    other = record(seed=2, sweep="wide")
    other["config"]["model"]["d_model"] = 512
    with pytest.raises(UserError, match=r"model\.d_model is 64 in sweep quick and 512 in sweep wide; .*--sweep"):
        table([record(seed=1), other])
    yarn, hot = record(pe="yarn", seed=1), record(pe="yarn", seed=2)
    hot["config"]["pe"] = {"name": "yarn", "params": {"factor": 8}}
    with pytest.raises(UserError, match=r"pe\.params\.factor"):
        table([yarn, hot])


def test_an_unknown_protocol_names_the_known_ones(record):
    with pytest.raises(BadValue, match=r"protocol=zeroshot: .*one of paper"):
        table([record()], protocols=["zeroshot"])


def test_the_caption_says_profile_protocol_and_what_is_smaller(record):
    made = table([record(protocols=("paper", "zero_shot"))])
    assert "profile quick (synthetic numbers_only)" in made.caption
    for words in ("modulus 7 (published 17)", "d_model 64 (published 512)", "epochs 6 (published 150)",
                  "Not comparable cell by cell", "paper: trained with", "zero_shot: trained with"):  # fmt: skip
        assert words in made.caption
    assert "train_size" not in made.caption, "10,000 as published"
    # One in seven, one in seventeen.
    assert "Chance is 14.3 % (modulus 7) here and 5.9 % in the paper (modulus 17)." in made.notes


def test_published_sizes_say_so(record):
    one = record(profile="paper")
    one["config"] |= {"task": {"modulus": 17, "far": 1, "near": 3}, "model": {}, "optim": {"epochs": 150}}
    made = table([one])
    assert "All settings are the paper's." in made.caption
    assert "Chance" not in notes(made)


def test_what_a_protocol_switches_does_not_count_as_another_size(record):
    one = record(protocols=("released",), profile="paper")
    one["config"] |= {
        "task": {"modulus": 17, "far": 1, "near": 3},
        "model": {"layers": 6, "freeze_ffn": True},
        "optim": {},
    }
    caption = table([one]).caption
    assert "layers 6 (published 2), freeze_ffn True (published False)" in caption
    assert "Not comparable" not in caption


def test_several_commits_are_footnoted(record):
    made = table([record(seed=1), record(seed=2, git_commit="fedcba9876543210", git_dirty=True)])
    assert "several commits: 0123456789ab, fedcba987654 with uncommitted changes" in notes(made)


def test_an_encoding_beyond_the_papers_gets_a_row(record):
    made = table([record(pe="resonance_ntk", ood=0.5)])
    found = row(made, "cot", "resonance_ntk")
    assert found.published is None
    assert "| CoT | Resonance NTK-aware | — | — | 87.50 | 50.00 | — | 1 | — |" in markdown(made)
    assert [r.pe for r in made.rows if r.task == "cot"][-1] == "resonance_ntk"


def test_csv_is_tidy_and_precise(full_sweep):
    lines = list(csv.DictReader(io.StringIO(tidy_csv(table(full_sweep())))))
    assert len(lines) == 12 * 2
    one = next(line for line in lines if (line["protocol"], line["task"], line["pe"]) == ("paper", "cot", "yarn"))
    values = [100 * (0.2 + 0.15 * 2 + 0.05 + 0.01 * seed) for seed in (1, 2, 3)]
    assert float(one["ood_accuracy_percent"]) == pytest.approx(statistics.mean(values), abs=1e-6)
    assert float(one["ood_std_points"]) == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert float(one["difference_points"]) == pytest.approx(statistics.mean(values) - 98.71, abs=1e-6)
    assert (one["n"], one["n_diverged"], one["seeds"], one["modulus"]) == ("3", "0", "1 2 3", "7")
    assert one["published_ood_accuracy_percent"] == "98.71"


def test_latex_is_balanced_escaped_and_of_even_width(full_sweep):
    text = latex(table(full_sweep()))
    begun = re.findall(r"\\begin\{([a-z*]+)\}", text)
    assert begun == re.findall(r"\\end\{([a-z*]+)\}", text)[::-1] == ["table*", "tabular"]
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    body = text.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 12
    assert {line.count("&") for line in rows} == {12}  # an encoding, 2 published and 2 x 5 measured columns
    assert r"numbers\_only" in text
    assert not re.search(r"(?<!\\)[_%#]", text.replace(r"\label{tab:posgen-paper-zero-shot}", ""))
    assert text.isascii()


def test_latex_splits_what_does_not_fit_a_page(record):
    text = latex(table([record(protocols=("paper", "zero_shot", "released"))]))
    assert text.count(r"\begin{table*}") == 2


@pytest.mark.parametrize(("width", "tables"), [(160, 1), (80, 2)])
def test_a_narrow_terminal_gets_the_protocols_below_each_other(full_sweep, width, tables):
    from rich.console import Console

    out = io.StringIO()
    terminal(table(full_sweep()), Console(file=out, width=width))
    text = out.getvalue()
    assert text.count("Semi-recursive") == tables
    head = text.split("OOD accuracy in %")[0]
    assert max(len(line.rstrip()) for line in head.splitlines()) <= width
    assert head.count("*99.58") == tables, "a star where bold may not show"
