"""Table 1: hand-computed cells, the published values, bold, and everything that is not there shown as not there."""

from __future__ import annotations

import csv
import io
import re
import statistics

import pytest
from msgspec import structs

from conf.published import load_table1, variance_from_std
from eval.evidence.cells import collect, differences_table
from eval.evidence.latex import latex
from eval.evidence.table import Table, csv_text, markdown, terminal
from eval.evidence.table1 import Measured, Row, Table1, build
from eval.evidence.table1_tables import document, numbers, wide
from eval.store.kinds import AccuracyRecord
from posgen.errors import BadValue, UserError
from tests.committed import ROOT
from tests.eval.made import MAKER, with_metrics

PUBLISHED = load_table1(ROOT / "conf" / "published" / "table1.csv")

# Table 1 of arXiv 2403.00071v2, copied by hand: accuracy and "variance" of recursive, CoT, semi-recursive.
PAPER = {
    "rope": ((65.29, 0.43), (69.56, 0.33), (17.96, 0.03)),
    "resonance_rope": ((62.64, 0.15), (75.25, 0.10), (29.78, 0.07)),
    "yarn": ((95.93, 0.04), (98.71, 0.00), (33.70, 0.04)),
    "resonance_yarn": ((98.30, 0.00), (99.58, 0.00), (48.46, 0.03)),
}
TASKS = ("recursive", "cot", "semi_recursive")


def table(records: list[AccuracyRecord], **options: object) -> Table1:
    return build(collect(records, **options), PUBLISHED)  # type: ignore[arg-type]


def row(made: Table1, task: str, pe: str) -> Row:
    return next(row for row in made.rows if (row.task, row.pe) == (task, pe))


def cell(made: Table1, task: str, pe: str, protocol: str = "paper") -> Measured:
    return row(made, task, pe).measured[protocol]


def notes(made: Table1) -> list[str]:
    """The points below the tables in the paper's shape."""
    return re.findall(r"^- (.*)$", markdown(document(made)), flags=re.MULTILINE)


def csv_lines(made: Table1) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(numbers(made)))))


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
    sweep = [
        with_metrics(one, ood_accuracy=(index * 37 % 101) / 101, id_accuracy=(index * 53 % 97) / 97)
        for index, one in enumerate(full_sweep(seeds=(5549, 4955, 42)))
    ]
    made = table(sweep)
    for protocol in ("paper", "zero_shot"):
        for task, pe in PUBLISHED:
            pool = [r for r in sweep if (r.task, r.pe) == (task, pe) and protocol in r.protocols]
            assert len(pool) == 3
            for name, mean, std in (("ood_accuracy", "ood_percent", "ood_std_points"),
                                    ("id_accuracy", "id_percent", "id_std_points")):  # fmt: skip
                values = [100 * getattr(r.metrics, name) for r in pool]
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
    text = markdown(wide(made))
    assert "| CoT | RoPE | 69.56 | 0.33 | 87.50 | **60.00** | — | 1 | -9.56 |" in text
    assert "| CoT | Resonance RoPE | **75.25** | 0.10 | 87.50 | 50.00 | — | 1 | -25.25 |" in text


def test_missing_cells_show_as_missing_never_as_zero(record):
    made = table([record(seed=1, ood=0.5), record(seed=2, ood=0.5)])
    found = cell(made, "recursive", "yarn")
    assert (found.ood_percent, found.ood_std_points, found.variance, found.id_percent) == (None,) * 4
    assert "| Recursive | YaRN | 95.93 | 0.04 | — | — | — | 0 | — |" in markdown(wide(made))
    missing = next(note for note in notes(made) if note.startswith("Missing under paper"))
    assert len(missing.split(",")) == 11
    assert "CoT RoPE" not in missing
    lines = [line for line in csv_lines(made) if line["task"] == "recursive"]
    assert {line["ood_accuracy_percent"] for line in lines} == {""}


def test_diverged_members_are_counted_and_named(record):
    made = table([
        record(seed=1, ood=0.5), record(seed=2, ood=0.75), record(seed=3, ood=None),
        record(pe="yarn", seed=1, ood=None),
    ])  # fmt: skip
    found = cell(made, "cot", "rope")
    assert (found.seeds, found.diverged_seeds, found.n_text) == ((1, 2), (3,), "2/3")
    assert found.ood_percent == pytest.approx(62.5)
    told = "Diverged under paper, not part of the means: CoT RoPE 1 of 3 (seed 3), CoT YaRN 1 of 1 (seed 1)."
    assert told in notes(made)
    assert cell(made, "cot", "yarn").n_text == "0/1"
    assert "CoT YaRN" in next(note for note in notes(made) if note.startswith("Missing"))


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
    assert "free-running" in "".join(notes(free))
    with pytest.raises(BadValue, match=r"accuracy=free_runing: .*did you mean free_running"):
        table(both, accuracy_mode="free_runing")


def test_members_of_different_settings_are_never_pooled(record):
    other = record(seed=2, sweep="wide", config={"model": {"layers": 2, "d_model": 512}})
    with pytest.raises(UserError, match=r"model\.d_model is 64 in sweep quick and 512 in sweep wide; .*--sweep"):
        table([record(seed=1), other])
    yarn, hot = (
        record(pe="yarn", seed=seed, encoding={"name": "yarn", "params": {"factor": factor}})
        for seed, factor in ((1, 4), (2, 8))
    )
    with pytest.raises(UserError, match=r"pe\.params\.factor"):
        table([yarn, hot])


def test_an_unknown_protocol_names_the_known_ones(record):
    with pytest.raises(BadValue, match=r"protocol=zeroshot: .*one of paper"):
        table([record()], protocols=["zeroshot"])


def differing(made: Table1) -> dict[str, tuple[str, str]]:
    """Setting -> (here, published), as the table of differences has them."""
    table = differences_table(made.collection)
    return {str(a.value): (str(b.value), str(c.value)) for a, b, c in table.rows} if table else {}


def test_the_caption_says_profile_and_protocol_and_a_table_what_is_smaller(record):
    made = table([record(protocols=("paper", "zero_shot"))])
    shown = document(made)
    for part, protocol in zip(shown[:2], ("paper", "zero_shot"), strict=True):
        assert isinstance(part, Table)
        for words in (
            "profile quick (synthetic numbers_only)",
            f"{protocol}: trained with",
            "Sizes are not the paper's",
        ):
            assert words in part.caption
    expected = {"modulus": ("7", "17"), "d_model": ("64", "512"), "epochs": ("6", "150"), "batch_size": ("64", "128")}
    assert differing(made) == expected  # train_size is 10,000, as published
    assert "Not comparable cell by cell" in markdown(shown)
    # One in seven, one in seventeen.
    assert "Chance is 14.3 % (modulus 7) here and 5.9 % in the paper (modulus 17)." in notes(made)


def test_published_sizes_say_so(record):
    config = {"task": {"modulus": 17, "far": 1, "near": 3}, "model": {}, "optim": {"epochs": 150}}
    made = table([record(profile="paper", config=config)])
    assert differences_table(made.collection) is None
    assert "not the paper's" not in markdown(document(made))
    assert not [note for note in notes(made) if "Chance" in note]


def test_what_a_protocol_switches_does_not_count_as_another_size(record):
    config = {
        "task": {"modulus": 17, "far": 1, "near": 3},
        "model": {"layers": 6, "freeze_ffn": True},
        "optim": {},
    }
    made = table([record(protocols=("released",), profile="paper", config=config)])
    assert differing(made) == {"layers": ("6", "2"), "freeze_ffn": ("True", "False")}
    assert "Not comparable" not in markdown(document(made))


def test_several_commits_are_footnoted(record):
    other = structs.replace(MAKER, git_commit="fedcba9876543210", git_dirty=True)
    second = record(seed=2, measured_by=other)
    second = structs.replace(second, training=structs.replace(second.training, trained_by=(other,)))
    made = table([record(seed=1), second])
    assert "several commits: 0123456789ab, fedcba987654 with uncommitted changes" in "".join(notes(made))


def test_code_that_is_not_committed_is_told_apart_by_its_source(record):
    edits = [structs.replace(MAKER, git_dirty=True, source=source) for source in ("aaaaaaaaaaaa", "bbbbbbbbbbbb")]

    def trained_by(seed, maker):
        made = record(seed=seed)
        return structs.replace(made, training=structs.replace(made.training, trained_by=(maker,)))

    noted = "".join(notes(table([trained_by(seed, maker) for seed, maker in enumerate(edits)])))
    dirty = "0123456789ab with uncommitted changes (source {})"
    assert f"several states of one commit: {dirty.format('a' * 12)}, {dirty.format('b' * 12)}, on" in noted
    clean = structs.replace(MAKER, source="aaaaaaaaaaaa")
    assert "at 0123456789ab, on" in "".join(notes(table([trained_by(1, clean), record(seed=2)])))


def test_an_encoding_beyond_the_papers_gets_a_row(record):
    made = table([record(pe="resonance_ntk", ood=0.5)])
    found = row(made, "cot", "resonance_ntk")
    assert found.published is None
    assert "| CoT | Resonance NTK-aware | — | — | 87.50 | 50.00 | — | 1 | — |" in markdown(wide(made))
    assert [r.pe for r in made.rows if r.task == "cot"][-1] == "resonance_ntk"


def test_csv_is_tidy_and_precise(full_sweep):
    lines = csv_lines(table(full_sweep()))
    assert len(lines) == 12 * 2
    one = next(line for line in lines if (line["protocol"], line["task"], line["pe"]) == ("paper", "cot", "yarn"))
    values = [100 * (0.2 + 0.15 * 2 + 0.05 + 0.01 * seed) for seed in (1, 2, 3)]
    assert float(one["ood_accuracy_percent"]) == pytest.approx(statistics.mean(values), abs=1e-6)
    assert float(one["ood_std_points"]) == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert float(one["difference_points"]) == pytest.approx(statistics.mean(values) - 98.71, abs=1e-6)
    assert (one["n"], one["n_diverged"], one["seeds"], one["modulus"]) == ("3", "0", "1 2 3", "7")
    assert one["published_ood_accuracy_percent"] == "98.71"


def in_the_papers_shape(made: Table1) -> list[Table]:
    return [part for part in document(made) if isinstance(part, Table) and part.title.startswith("Table 1")]


def test_the_papers_shape_has_encodings_down_and_tasks_across(full_sweep):
    made = table(full_sweep())
    papers, zero_shot = in_the_papers_shape(made)
    assert [row[0].value for row in papers.rows] == ["RoPE", "Resonance RoPE", "YaRN", "Resonance YaRN"]
    assert list(dict.fromkeys(column.group for column in papers.columns)) == ["", "Recursive", "CoT", "Semi-recursive"]
    yarn = papers.texts(papers.rows[2])
    values = [100 * (0.2 + 0.15 * 2 + 0.05 + 0.01 * seed) for seed in (1, 2, 3)]
    mean, std = statistics.mean(values), statistics.stdev(values)
    assert yarn[4:7] == ["98.71", f"{mean:.2f} ± {std:.2f}", f"{mean - 98.71:+.1f}"]
    assert zero_shot.rows[2][5].value == pytest.approx(mean + 10)
    assert [row[1].strong for row in papers.rows] == [True, False, False, True]  # as the paper prints it


@pytest.mark.parametrize("protocols", [("paper",), ("zero_shot_text",)])
def test_the_papers_shape_fits_a_hundred_columns(record, protocols):
    """With the widest numbers that there are."""
    from rich.console import Console

    made = table([
        record(task, pe, seed, ood, protocols)
        for task in TASKS for pe in PAPER for seed, ood in ((1, 1.0), (2, 0.0), (3, 0.5))
    ])  # fmt: skip
    out = io.StringIO()
    terminal(in_the_papers_shape(made), Console(file=out, width=100))
    grid = out.getvalue().split("OOD accuracy in %")[0]
    assert max(len(line.rstrip()) for line in grid.splitlines()) <= 100
    assert grid.count("50.00 ± 50.00") == 12
    assert "*99.58" in grid, "a star where bold may not show"


def test_latex_is_balanced_escaped_and_of_even_width(full_sweep):
    text = "\n".join(latex(part, "t") for part in in_the_papers_shape(table(full_sweep())))
    begun = re.findall(r"\\begin\{([a-z*]+)\}", text)
    assert sorted(begun) == sorted(re.findall(r"\\end\{([a-z*]+)\}", text)) == sorted(["table*", "tabular"] * 2)
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    body = text.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 4
    assert {line.count("&") for line in rows} == {9}  # an encoding, and three columns a task
    assert r"numbers\_only" in text
    assert not re.search(r"(?<!\\)[_%#]", text)
    assert text.isascii()
