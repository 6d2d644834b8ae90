"""Shares of answers that move, stay or change otherwise, by hand; the table, the figure and the page."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from msgspec import structs

from conf import published
from conf.ledger import ledger
from conf.rules import intervention_rules, length_rules, verdict_rules
from eval.evidence.cells import collect
from eval.evidence.interventions.figure import caption, figure
from eval.evidence.interventions.shares import Measured, build
from eval.evidence.interventions.tables import document, numbers, positions
from eval.evidence.latex import latex
from eval.evidence.report.page import Picture
from eval.evidence.report.reproduction import Reproduction
from eval.evidence.report.sections import beyond_the_table
from eval.evidence.report.sources import Sources
from eval.evidence.table import Table, csv_text, markdown
from eval.store import records
from eval.store.probes import Interventions, InterventionsRecord
from posgen.errors import BadValue, UserError
from tests.committed import ROOT
from tests.eval.made import synthetic_interventions, synthetic_record

# Of 100 answers: how many are right, and of these how many move and stay.
Line = tuple[int, int, int]


def made(pe: str, seed: int, lines: dict[int, Line], task: str = "cot", **fields: Any) -> InterventionsRecord:
    return synthetic_interventions(task, pe, seed, lines, **fields)


@pytest.fixture
def measured() -> Measured:
    """RoPE: seed 1 stays, seed 2 moves in part; at position 4 hardly any answer is right. YaRN moves."""
    return build([
        made("rope", 1, {4: (5, 5, 0), 8: (80, 0, 80), 64: (50, 0, 40), 128: (20, 0, 20)}),
        made("rope", 2, {4: (20, 10, 10), 8: (60, 30, 30), 64: (40, 10, 20), 128: (0, 0, 0)}),
        made("yarn", 1, {4: (100, 100, 0), 8: (100, 100, 0), 64: (100, 90, 5), 128: (0, 0, 0)}),
    ])  # fmt: skip


def test_a_seeds_positions_are_pooled_and_seeds_averaged(measured: Measured) -> None:
    rope, yarn = measured.rows
    inside, beyond = rope.shares["id", "right"], rope.shares["ood", "right"]
    assert (inside.answers, inside.seeds) == (165, 2)
    assert inside.moved == pytest.approx((5 / 85 + 40 / 80) / 2)
    assert inside.stayed == pytest.approx((80 / 85 + 40 / 80) / 2)
    assert inside.other == pytest.approx(0)
    assert (inside.lowest, inside.highest) == (pytest.approx(5 / 85), pytest.approx(0.5))
    assert beyond.moved == pytest.approx((0 + 10 / 40) / 2)
    assert beyond.other == pytest.approx((10 / 70 + 10 / 40) / 2)
    # Among all 100 answers a position; the synthetic ones that were wrong stay.
    assert rope.shares["ood", "all"].answers == 400
    assert rope.shares["ood", "all"].moved == pytest.approx((0 + 10 / 200) / 2)
    assert yarn.shares["ood", "right"].moved == pytest.approx(0.9)
    assert yarn.seeds == (1,)


def test_a_seed_without_right_answers_has_no_share() -> None:
    (row,) = build([
        made("rope", 1, {8: (0, 0, 0), 64: (0, 0, 0)}), made("rope", 2, {8: (10, 5, 5), 64: (0, 0, 0)})
    ]).rows  # fmt: skip
    assert (row.shares["id", "right"].seeds, row.shares["id", "right"].moved) == (1, 0.5)
    assert (row.shares["ood", "right"].answers, row.shares["ood", "right"].moved) == (0, None)


def test_the_table(measured: Measured) -> None:
    text = markdown(document(measured))
    assert "| paper | CoT | RoPE | right before | 165 | 27.9 (5.9 to 50.0) | 72.1 | 0.0 | 110 |" in text
    assert "| paper | CoT | YaRN | right before | 200 | 100.0 | 0.0 | 0.0 | 100 | 90.0 | 5.0 | 5.0 | 1 |" in text
    assert "the far token of the answers looked at" in text
    assert "synthetic numbers_only" in text
    assert "| modulus | 7 | 17 |" in text
    assert "answers are fed back" in text
    (shares, _) = (part for part in document(measured) if isinstance(part, Table))
    assert latex(shares).count(r"\\") >= 6
    lines = list(csv.DictReader(io.StringIO(csv_text(numbers(measured)))))
    (one,) = [line for line in lines if (line["pe"], line["side"], line["among"]) == ("rope", "ood", "right")]
    assert (one["answers"], one["n"], one["seeds"], one["moved_highest"]) == ("110", "2", "1 2", "0.25")
    lines = list(csv.DictReader(io.StringIO(csv_text(positions(measured)))))
    assert len(lines) == 12
    assert [line["right_stayed"] for line in lines if line["position"] == "64"] == ["40", "20", "5"]
    assert all(line["distance"] == line["position"] for line in lines)  # CoT: to the first token


def test_the_figure_shows_the_positions_that_all_seeds_resolve(measured: Measured) -> None:
    drawn = figure(measured, "paper")
    (panel,) = drawn.axes
    curves = [
        (list(map(int, line.get_xdata())), list(line.get_ydata()))  # type: ignore[arg-type]
        for line in panel.lines
        if len(line.get_xdata()) > 2  # type: ignore[arg-type]
    ]
    (yarn,) = curves
    assert yarn == ([4, 8, 64], [100.0, 100.0, pytest.approx(90.0)])
    (rope,) = [line for line in panel.lines if np.array_equal(line.get_xdata(), [8, 64])]
    assert np.asarray(rope.get_ydata()).tolist() == pytest.approx(
        [25.0, 12.5]
    )  # position 4 has 5 right answers in a seed
    assert panel.get_xscale() == "log"
    texts = {text.get_text() for text in drawn.findobj(Text)}
    assert {"4\n4", "128\n128"} <= texts
    assert "fewer than 10 right answers of 100 sequences" in caption(measured, "paper")
    with pytest.raises(UserError, match="protocol=released"):
        figure(measured, "released")


def test_even_and_odd_answers_have_lines_of_their_own() -> None:
    lines: dict[int, Line] = {at: (100, 100 * (at % 2 == 0), 0) for at in (4, 5, 20, 21, 64, 65)}
    table = build([made("rope", 1, lines, task="semi_recursive")])
    assert table.rows[0].distances == {4: 4, 5: 5, 20: 12, 21: 13, 64: 34, 65: 35}
    lines_of = figure(table, "paper").axes[0].lines
    drawn = [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in lines_of]
    assert ([4, 20, 64], [100.0] * 3) in drawn
    assert ([5, 21, 65], [0.0] * 3) in drawn


@pytest.mark.parametrize("different", [{"seed": 9}, {"sequences": 50}])
def test_what_was_measured_differently_is_not_pooled(different: dict[str, int]) -> None:
    one, other = (made("rope", seed, {8: (50, 0, 50)}) for seed in (1, 2))
    other = structs.replace(other, interventions=structs.replace(other.interventions, **different))
    with pytest.raises(UserError, match="measured with different positions"):
        build([one, other])
    with pytest.raises(UserError, match="measured with different positions"):
        build([one, made("rope", 2, {9: (50, 0, 50)})])


def test_what_there_is_no_record_of() -> None:
    one = made("rope", 1, {8: (50, 0, 50)})
    with pytest.raises(UserError, match="--exchange near"):
        build([one], "near")
    with pytest.raises(BadValue, match="protocol=papr: no record of it; did you mean paper"):
        build([one], protocols=["papr"])


def test_a_record_is_read_back_and_a_wrong_one_refused(tmp_path: Path) -> None:
    far, near = made("rope", 1, {8: (50, 10, 20)}), made("rope", 1, {8: (50, 0, 50)}, exchange="near")
    file = tmp_path / "records.jsonl"
    records.append(file, [far, near])
    assert records.load(file, kind=InterventionsRecord) == [far, near]  # they stand beside each other
    again = structs.replace(far, protocols=("zero_shot",))
    records.append(file, [again])
    assert records.load(file, kind=InterventionsRecord)[0].protocols == ("paper", "zero_shot")
    assert records.check(file) == (3, 0, [])
    counts = {name: (1,) for name in Interventions.__struct_fields__ if name not in ("exchange", "sequences", "seed")}
    for wrong in ({"moved": (1, 2)}, {"moved": (1,), "stayed": (1,)}, {"right": (2,)}):
        with pytest.raises(ValueError, match=r"should be|cannot be"):
            Interventions(
                exchange="far", sequences=1, seed=0, **{**counts, "stayed": (0,), "right_stayed": (0,), **wrong}
            )


def sources(folder: Path) -> Sources:
    return Sources(folder, "quick", published.table1(), published.figure3(), verdict_rules(), ledger(), 0.5)


def sections(folder: Path, parts: Sequence[InterventionsRecord]) -> dict[str, list[object]]:
    records.append(folder / "quick" / "records.jsonl", [synthetic_record()])
    if parts:
        records.append(folder / "quick" / "interventions" / "records.jsonl", parts)
    reproduction = Reproduction(collect([synthetic_record()]), ["interventions"])
    found = beyond_the_table(sources(folder), reproduction)
    assert "posgen interventions --measure --profile quick" in reproduction.everything
    return {section.key: [part for _, part in section.parts] for section in found}


def test_the_page_has_a_section_where_there_are_records(tmp_path: Path) -> None:
    assert "interventions" not in sections(tmp_path / "without", [])
    lines: dict[int, Line] = {8: (50, 0, 50), 64: (50, 0, 50)}
    both = [made("rope", 1, lines), made("rope", 1, lines, exchange="near")]
    parts = sections(tmp_path / "with", both)["interventions"]
    pictures = [part for part in parts if isinstance(part, Picture)]
    assert len(pictures) == sum(isinstance(part, Table) for part in parts) == 2
    assert "CoT: RoPE 0" in pictures[0].alt
    assert len(sources(tmp_path / "with").every("interventions")) == 2


def test_drawing_needs_no_torch() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import eval.evidence.interventions.figure, eval.evidence.interventions.tables, eval.store.records\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'hydra'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_rules_are_those_of_the_file() -> None:
    rules = intervention_rules()
    assert (rules.exchange, rules.positions, rules.at, rules.sequences, rules.seed) == ("far", 12, None, 100, 0)
    assert intervention_rules(["interventions.at=[4,9]"]).at == [4, 9]
    assert length_rules().sequences == 32
    for wrong in ("at=[-1]", "at=[]", "at=[a]", "positions=0", "sequences=x", "exchange=both", "seed=-1"):
        with pytest.raises((BadValue, UserError), match="interventions"):
            intervention_rules([f"interventions.{wrong}"])
