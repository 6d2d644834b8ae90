"""Perplexity, paired differences and Figure 4 from made records, against arithmetic by hand and scipy."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from conf.perplexity import perplexity_protocol
from eval.evidence.figures.style import pair_styles, render
from eval.evidence.llm.curves import Curves, collect
from eval.evidence.llm.figure4 import figure, names
from eval.evidence.llm.tables import differences, document, numbers
from eval.evidence.table import csv_text, markdown
from eval.store.kinds import Training
from eval.store.lm_kinds import AtLength, PerplexityRecord
from models.lm.names import NAMES, plain_of, title
from posgen.errors import UserError
from posgen.plain import digest, plain
from tests.eval.made import MAKER

WIDTH = 128


def record(encoding: str, name: str, means: dict[int, float], nll: list[float], **fields: Any) -> PerplexityRecord:
    """`means`: NLL by length; `nll`: by bin, the first without the BOS's position."""
    protocol = {**plain(perplexity_protocol("paper")), "corpus": {"documents": 1}}
    made: dict[str, Any] = dict(  # noqa: C408 - as a call would have it
        run_id="0123456789ab", sweep="figure4", profile="figure4", created="2026-01-01T00:00:00Z", measured_by=MAKER,
        training=Training({"language_model": {"name": "m"}}, (MAKER,)), model="m (Q4)", model_key="abc",
        encoding=encoding, rope={"all": {"rope_type": encoding}}, factor=2.0, train_length=256, dtype="bf16",
        protocol=protocol, document=name, document_sha=name, tokens=10_000, length=max(means), width=WIDTH,
        nll=tuple(nll), scored=tuple(WIDTH - (i == 0) for i in range(len(nll))), seconds=1.0,
        at=tuple(AtLength(length=n, nll=v, scored=n - 1, window_nll=v, windows=1) for n, v in means.items()),
    )  # fmt: skip
    return PerplexityRecord(**{**made, **fields})


def curves(*records: PerplexityRecord) -> Curves:
    (group,) = collect(records)
    return group


def test_perplexity_is_weighted_as_the_protocol_says() -> None:
    long = AtLength(length=256, nll=1.0, scored=300, window_nll=2.0, windows=3)
    short = AtLength(length=256, nll=4.0, scored=100, window_nll=5.0, windows=1)
    wanted = {"token": 1.75, "window": 2.75, "document": 2.5}
    for weighting, mean in wanted.items():
        protocol = {**plain(perplexity_protocol("paper")), "weighting": weighting}
        made = curves(*(record("none", name, {256: 1.0}, [1.0], at=(at,), protocol=protocol)
                        for name, at in (("a", long), ("b", short))))  # fmt: skip
        assert made.points[0].perplexity == pytest.approx(math.exp(mean))
        assert made.points[0].tokens == 400


def test_differences_over_documents_are_a_paired_t_test() -> None:
    ours, plain_ = [3.10, 3.05, 2.90, 3.30], [3.00, 3.06, 2.85, 3.21]
    made = curves(*(record("resonance_yarn", str(i), {256: v}, [v, v]) for i, v in enumerate(ours)),
                  *(record("yarn", str(i), {256: v}, [v, v]) for i, v in enumerate(plain_)))  # fmt: skip
    (pair,) = made.pairs
    interval = stats.ttest_rel(ours, plain_).confidence_interval(0.95)
    assert (pair.plain, pair.over, pair.n) == ("yarn", "documents", 4)
    assert pair.difference.mean == pytest.approx(np.mean(ours) - np.mean(plain_))
    assert (pair.difference.low, pair.difference.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_fewer_than_three_documents_are_compared_by_blocks() -> None:
    ours, other = [3.0, 2.5, 2.7, 2.2], [2.9, 2.6, 2.5, 9.9]
    made = curves(
        record("resonance", "a", {384: 2.735, 512: 2.61}, ours), record("none", "a", {384: 2.67, 512: 4.0}, other)
    )
    pair = made.pairs[0]
    blocks = [0.1, -0.1, 0.2]  # those within 384 positions
    half = stats.t.ppf(0.975, 2) * np.std(blocks, ddof=1) / math.sqrt(3)
    assert (pair.length, pair.over, pair.n) == (384, "blocks", 3)
    assert pair.difference.mean == pytest.approx(0.065)  # of all tokens
    assert pair.difference.high == pytest.approx(0.065 + half)
    assert "3 to 4 blocks of 128 positions" in differences(made).notes[0]


def test_only_documents_that_both_have_are_paired() -> None:
    made = curves(*(record("yarn", str(i), {256: 3.0}, [3.0, 3.0]) for i in range(5)),
                  *(record("resonance_yarn", str(i), {256: 3.1 + i}, [3.1, 3.1]) for i in (1, 3, 4)))  # fmt: skip
    assert made.pairs[0].n == 3
    assert made.pairs[0].difference.mean == pytest.approx(0.1 + 8 / 3)
    told = markdown(document([made]))
    assert "2 documents are not measured under every encoding yet, and in the paired differences alone." in told
    assert "each document counts the same; 3 documents." in told


def test_perplexities_are_over_the_documents_that_every_encoding_has() -> None:
    easy, hard = [("a", 2.0), ("b", 5.0)], [("a", 2.5)]
    made = curves(*(record("yarn", name, {256: nll}, [nll, nll]) for name, nll in easy),
                  *(record("pi", name, {256: nll}, [nll, nll]) for name, nll in hard))  # fmt: skip
    assert {point.encoding: point.nll for point in made.points} == {"yarn": 2.0, "pi": 2.5}
    assert made.position("yarn", 128).nll == (2.0, 2.0)
    apart = curves(record("yarn", "a", {256: 2.0}, [2.0, 2.0]), record("pi", "b", {256: 3.0}, [3.0, 3.0]))
    assert {point.encoding: point.nll for point in apart.points} == {"yarn": 2.0, "pi": 3.0}


def test_positions_of_an_encoding_that_follows_the_length_come_from_the_shortest_pass() -> None:
    made = curves(
        record("dynamic_ntk", "a", {256: 2.0}, [2.0, 3.0]), record("dynamic_ntk", "a", {512: 9.0}, [9.0, 9.0, 5.0, 6.0])
    )
    position = made.position("dynamic_ntk", 128)
    assert (position.ends, position.nll) == ((128, 256, 384, 512), (2.0, 3.0, 5.0, 6.0))
    coarse = made.position("dynamic_ntk", 256)
    assert coarse.nll == (pytest.approx((2.0 * 127 + 3.0 * 128) / 255), 5.5)
    assert [point.nll for point in made.points] == [2.0, 9.0]


def everything() -> list[PerplexityRecord]:
    """Fourteen encodings on three documents, at four lengths."""
    lengths, bins = (256, 512, 768, 1024), 8
    chosen = [name for name in NAMES if plain_of(name) != "ntk_by_parts"]
    made = []
    for index, encoding in enumerate(chosen):
        for document_number in range(3):
            nll = [3.0 + 0.02 * index + 0.1 * document_number * (1 + (index % 3) / 50) + 0.05 * i for i in range(bins)]
            at = {n: float(np.mean(nll[: n // WIDTH])) for n in lengths}
            made.append(record(encoding, str(document_number), at, nll))
    return made


def test_fourteen_encodings_are_told_apart() -> None:
    looks = pair_styles([name for name in NAMES if plain_of(name) != "ntk_by_parts"], plain_of)
    assert len({repr(look) for look in looks.values()}) == 14
    for name, (colour, dashes) in looks.items():
        assert looks[plain_of(name)][0] == colour
        assert (dashes == "-") == (plain_of(name) == name)


def test_the_figure_shows_what_the_records_say() -> None:
    made = curves(*everything())
    drawn = figure(made)
    left, middle, right = drawn.axes
    assert len(left.lines) == 1 + 14  # a line at the length trained on
    line = left.lines[1]
    assert np.asarray(line.get_xdata()).tolist() == [256, 512, 768, 1024]
    wanted = np.mean([[r.at[i].nll or 0.0 for i in range(4)] for r in everything() if r.encoding == "none"], axis=0)
    assert np.asarray(line.get_ydata()) == pytest.approx(np.exp(wanted))
    assert len(middle.lines) == 1 + 14
    assert len(right.containers) == 7
    (legend,) = drawn.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:2] == ["None", "Resonance"]
    assert {*shown} >= {"YaRN", "Resonance YaRN", "Clip", "Resonance Clip"}
    assert render(drawn, "png")[:4] == b"\x89PNG"


def test_the_csv_has_every_number() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(numbers([curves(*everything())])))))
    assert len(rows) == 14 * 4
    (row,) = [row for row in rows if row["encoding"] == "resonance_pi" and row["length"] == "512"]
    assert (row["minus"], row["over"], row["n"], row["documents"]) == ("pi", "documents", "3", "3")
    assert math.log(float(row["perplexity"])) == pytest.approx(float(row["nll"]), abs=1e-5)


def test_groups_are_apart_and_named_apart() -> None:
    two, four = record("none", "a", {256: 1.0}, [1.0, 1.0]), record("yarn", "a", {256: 1.0}, [1.0, 1.0], factor=4.0)
    other = record("none", "a", {256: 1.0}, [1.0, 1.0], dtype="fp32")
    assert list(names(collect([two, four]))) == ["figure4-s2", "figure4-s4"]
    apart = list(names(collect([two, other])))
    assert [name[: len("figure4-s2-bf16-")] for name in apart] == ["figure4-s2-bf16-", "figure4-s2-fp32-"]
    plans = [
        record("yarn", "a", {256: 1.0}, [1.0, 1.0], factor=4.0, profile=name) for name in ("figure4", "figure4_32k")
    ]
    assert list(names(collect(plans))) == ["figure4-s4", "figure4-32k-s4"]
    with pytest.raises(UserError, match="profile=token: no record of it"):
        collect([two], "token")


def tuned(encoding: str, name: str, nll: float, own: str = "none", lora: bool = False, **changed: Any) -> Any:
    """A document under a model that was tuned with `encoding`, measured under `own`."""
    tuning = {
        "recipe": "short adaptation", "recipe_digest": "r", "encoding": encoding, "factor": 4.0, "lora": lora,
        "batches": "b", "base": {"name": "m", "weights": "w"}, **changed,
    }  # fmt: skip
    described = {"name": f"m-{encoding}", "note": f"Q4, {title(encoding)} s=4, short adaptation", "tuning": tuning}
    identity = {"name": "m", "adapter": described} if lora else described
    training = Training({"language_model": identity}, (MAKER,))
    key = f"{encoding}{lora}{sorted(changed.items())}"
    asked = 2.0 if own == "none" else 4.0  # none has no factor: what the command was given stands in the record
    fields = {"model": f"m-{encoding}", "model_key": key, "training": training, "factor": asked, "run_id": digest(key)}
    return record(own, name, {256: nll}, [nll, nll], **fields)


@pytest.mark.parametrize("lora", [False, True])
def test_models_tuned_on_the_same_batches_are_compared_each_under_its_own_encoding(lora: bool) -> None:
    ours, plain_ = [3.10, 3.05, 2.90, 3.30], [3.00, 3.06, 2.85, 3.21]
    made = curves(*(tuned("resonance_yarn", str(i), v, lora=lora) for i, v in enumerate(ours)),
                  *(tuned("yarn", str(i), v, lora=lora) for i, v in enumerate(plain_)))  # fmt: skip
    (pair,) = made.pairs
    interval = stats.ttest_rel(ours, plain_).confidence_interval(0.95)
    assert (pair.encoding, pair.plain, pair.n) == ("resonance_yarn", "yarn", 4)
    assert (pair.difference.low, pair.difference.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    way = "LoRA, " if lora else ""
    assert f"m (Q4), tuned under each encoding ({way}short adaptation), bf16, trained on 256 tokens, s = 4: " in (
        markdown(document([made]))
    )
    assert list(names([made])) == ["figure4-tuned-s4"]
    assert render(figure(made), "png")[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "changed", [{"batches": "c"}, {"recipe_digest": "q"}, {"base": {"name": "m", "weights": "v"}}, {"factor": 2.0}]
)
def test_models_tuned_otherwise_are_apart(changed: dict[str, Any]) -> None:
    groups = collect([tuned("yarn", "a", 3.0), tuned("resonance_yarn", "a", 3.0, **changed)])
    assert [group.encodings for group in groups] == [["yarn"], ["resonance_yarn"]]
    same = changed.keys() != {"factor"}
    assert list(names(groups)) == ["figure4-tuned-s4", "figure4-tuned-s4-2" if same else "figure4-tuned-s2"]


def test_seeds_of_a_tuning_are_averaged() -> None:
    """Losses by hand: three plays, two seeds of both encodings, and a third of which one is still missing."""

    def seeded(seed: int, encoding: str, losses: Sequence[float]) -> list[Any]:
        recipe = "long adaptation with " + (f"seed={seed}, steps=9, 3 %" if seed else "steps=9, 3 %")
        changed: dict[str, Any] = {"recipe": recipe, "recipe_digest": f"r{seed}", "batches": f"b{seed}"}
        return [tuned(encoding, str(play), loss, **changed) for play, loss in enumerate(losses)]

    records = [
        *seeded(0, "yarn", (3.0, 3.2, 3.4)), *seeded(0, "resonance_yarn", (3.1, 3.2, 3.8)),
        *seeded(1, "yarn", (3.2, 3.2, 3.6)), *seeded(1, "resonance_yarn", (3.2, 3.5, 3.6)),
        *seeded(2, "yarn", (9.0, 9.0, 9.0)),
    ]  # fmt: skip
    (made,) = collect(records)
    assert [point.nll for point in made.points] == pytest.approx([(3.1 + 3.2 + 3.5) / 3, (3.15 + 3.35 + 3.7) / 3])
    (pair,) = made.pairs
    interval = stats.ttest_rel([3.15, 3.35, 3.7], [3.1, 3.2, 3.5]).confidence_interval(0.95)
    assert (pair.n, pair.difference.mean) == (3, pytest.approx(0.4 / 3))
    assert (pair.difference.low, pair.difference.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert made.position("yarn", 128).nll == pytest.approx(((3.1 + 3.2 + 3.5) / 3,) * 2)
    page = markdown(document([made]))
    assert "tuned under each encoding (long adaptation with steps=9, 3 %, mean of 2 seeds), bf16" in page
    assert "1 seed is not measured under every encoding yet, and left out." in page
    again = [*seeded(0, "yarn", (3.0, 3.2, 3.4)), *seeded(4, "yarn", (3.0, 3.2, 3.4))]
    for twice in again[3:]:  # another label of the same batches is no second seed
        twice.training.config["language_model"]["tuning"]["batches"] = "b0"
    assert len(collect(again)) == 2
    (alone,) = collect([r for r in records if "r1" in str(r.training.config)])
    assert alone.model == "m (Q4), tuned under each encoding (long adaptation with seed=1, steps=9, 3 %)"


def test_a_tuned_model_under_another_encoding_is_compared_with_itself() -> None:
    base = record("none", "a", {256: 3.5}, [3.5, 3.5])
    both = [tuned("yarn", "a", 3.0), tuned("yarn", "a", 3.1, own="resonance_yarn")]
    first, itself, family = collect([base, *both, tuned("resonance_yarn", "a", 2.9)])
    assert (first.encodings, first.tuned) == (["none"], None)
    assert family.tuned is not None
    differences_ = {group.model: group.pairs[0].difference.mean for group in (itself, family)}
    assert differences_ == {"m-yarn": pytest.approx(0.1), family.tuned: pytest.approx(-0.1)}


def test_titles() -> None:
    assert [title(name) for name in ("none", "resonance", "dynamic_ntk", "resonance_clip")] == [
        "None", "Resonance", "Dynamic NTK", "Resonance Clip",
    ]  # fmt: skip
