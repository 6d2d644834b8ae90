"""What docs/performance.md tells of a GPU: the committed output of `posgen bench step`, and the seconds of records."""

from __future__ import annotations

from dataclasses import replace

from eval.store.records import load
from models.bench_products import matrix_products
from models.spec import ModelSpec, OptimSpec
from posgen.spec import DataSpec
from tests.committed import ROOT, results
from tests.models.test_bench import SPEC

PAGE = (ROOT / "docs" / "performance.md").read_text()
WORDS = " ".join(PAGE.split())
PEAKS = {"bf16": 989, "tf32": 495, "fp32": 67}
"""TFLOP/s of an H100 SXM without sparsity, from its data sheet."""
STEPS = 11_850


def test_the_table_of_the_gpu() -> None:
    """As printed, with operations a second and their share of the data sheet's peak."""
    spec = replace(SPEC, model=ModelSpec(), data=DataSpec(train_size=128), optim=OptimSpec())
    spec = replace(spec, task=replace(spec.task, modulus=17))
    operations = sum(product.operations for product in matrix_products(spec))
    assert f"alone, {operations / 1e9:.0f} billion a member and step" in WORDS
    assert "dense: bf16 {bf16}, TF32 {tf32}, fp32 {fp32} TFLOP/s".format(**PEAKS) in WORDS
    lines = (results() / "bench" / "h100.txt").read_text().splitlines()
    found = [line.split() for line in lines if line.startswith("paper  ")]
    assert len(found) == 4
    for _, precision, members, device, step, *ratios, utilisation, percent, tokens, peak in found:
        assert (device, percent) == ("cuda", "%")
        rate = int(members) * operations / float(step) / 1e9
        cells = [precision, members, step, *ratios, f"{utilisation} %", tokens, peak]
        cells += [f"{rate:.0f}", f"{100 * rate / PEAKS[precision]:.0f} %"]
        assert f"| {' | '.join(cells)} |" in PAGE
        assert abs(int(members) * 128 * 64 * 1000 / float(step) / int(tokens.replace(",", "")) - 1) < 0.002
    most = max(float(line[6]) for line in found)
    assert most < 15  # HFTA's
    assert f"{most:.2f} times over one by one with 60 members" in WORDS
    bf16, fp32 = (next(x[5] for x in found if x[1:3] == [p, "60"]) for p in ("bf16", "fp32"))
    assert f"the {bf16} hold three things" in WORDS
    assert f"In fp32 alone it is {fp32}." in WORDS


def test_the_seconds_of_trainings() -> None:
    """A record's train_seconds are its share of the population's."""
    for folder, members, steps, saved in (("paper/clip", 30, STEPS, 60), ("paper/fp32", 3, STEPS, 60),
                                          ("paper/layers-6", 30, 0, 60), ("paper", 30, STEPS, 1e5)):  # fmt: skip
        every = {r.run_id: r for r in load(results() / folder / "records.jsonl")}
        assert len(every) == members
        assert {r.config["save_seconds"] for r in every.values()} == {saved}
        seconds = sum(r.train_seconds or 0.0 for r in every.values())
        (line,) = [text for text in PAGE.splitlines() if f"| {seconds:.0f} |" in text]
        assert f"{members} trainings" in line
        if steps:
            assert f"{steps:,} steps" in line
            assert f"| {seconds / steps * 1000:.1f} ms |" in line
