"""What docs/text-task.md says of the profiles for texts is what their files say."""

from __future__ import annotations

import math

import pytest

from conf import files, names
from conf.rules import verdict_rules
from eval.measuring.metrics import bin_width
from models.parameters import parameter_count
from models.spec import ModelSpec
from posgen.texts import PREPARE
from tests.committed import ROOT
from tests.docs.findings import csv_rows, section

PAGE = (ROOT / "docs" / "text-task.md").read_text()
FINDINGS = section("And on text?")
FOUND = " ".join(FINDINGS.split())
WORDS = {1: "one", 2: "two", 4: "four", 5: "five", 6: "six", 7: "seven", 18: "eighteen"}


def losses(profile: str) -> dict[tuple[str, str], dict[str, str]]:
    """Rows of a profile's table by protocol and encoding."""
    return {(line["protocol"], line["pe"]): line for line in csv_rows(f"{profile}/losses.csv")}


@pytest.mark.parametrize("profile", ["text", "text_quick", "text_smoke"])
def test_the_table_has_the_sizes_of_the_files(profile: str) -> None:
    node = files.load(files.FOLDER / "profile" / f"{profile}.yaml")
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{profile}` |")]
    data, model = node["data"], node["model"]
    assert f"| {data['train_length']} → {data['test_length']:,} |" in line
    assert data["test_length"] % data["train_length"] == 0
    if profile == "text_smoke":
        return
    heads = f"{WORDS[model['heads']]} head{'s' * (model['heads'] > 1)} of {model['head_dim']}"
    assert f"{model['layers']} layers of {model['d_model']}, {heads}, {model['precision']} products" in line
    assert f"{data['train_size']:,} windows once" in line
    assert node["optim"]["epochs"] == 1
    assert len(node["profile"]["seeds"]) >= 3
    for pe in node["profile"]["pes"]:
        plain = pe.removeprefix("resonance_")
        assert plain in node["profile"]["pes"]
        assert plain in ("learned", "nope") or f"resonance_{plain}" in node["profile"]["pes"]


def test_the_numbers_in_the_text() -> None:
    node = files.load(files.FOLDER / "profile" / "text.yaml")
    pes, seeds = node["profile"]["pes"], node["profile"]["seeds"]
    steps = node["data"]["train_size"] // node["optim"]["batch_size"]
    assert f"{len(pes) * len(seeds)} trainings of {steps:,} steps" in " ".join(PAGE.split())
    # At test time only: what stretches, of either of RoPE's trainings.
    stretching = [pe for pe in pes if pe not in ("rope", "resonance_rope", "learned", "nope") and "p_rope" not in pe]
    assert f"{(len(pes) + len(stretching)) * len(seeds)} tests" in " ".join(PAGE.split())
    assert f"{WORDS[len(pes)]}: RoPE and {WORDS[(len(pes) - 4) // 2]} scalings" in PAGE
    assert f"{math.log(256):.3f} nats" in PAGE
    assert f"times {1 / math.log(2):.4f} in bits" in " ".join(PAGE.split())
    assert f"{verdict_rules().effect_nats:g} nats" in " ".join(PAGE.split())
    assert f"{bin_width(256, 4096)} at 4,096" in " ".join(PAGE.split())
    assert PREPARE in PAGE
    assert parameter_count(ModelSpec(4, 128, 2, 64, 512), 261) == 820_992


def test_the_losses_are_those_of_the_committed_table() -> None:
    by_place = losses("text_quick")
    lines = list(by_place.values())
    for pe in dict.fromkeys(line["pe"] for line in lines):
        trained, scaled = by_place["paper", pe], by_place["zero_shot_text", pe]
        numbers = (trained["id_loss"], trained["ood_loss"], scaled["ood_loss"])
        assert f"| {names.encoding(pe)} | {' | '.join(f'{float(number):.3f}' for number in numbers)} |" in PAGE
    pairs = [line for line in lines if line["verdict"]]
    assert {line["verdict"] for line in pairs} == {"undecided"}
    assert (len(pairs), sum(float(line["difference"]) < 0 for line in pairs)) == (4, 3)


def test_findings_have_the_same_losses() -> None:
    loss = {key: f"{float(line['ood_loss']):.3f}" for key, line in losses("text_quick").items()}
    plain = loss["paper", "rope"], loss["paper", "yarn"], loss["zero_shot_text", "yarn"]
    assert "RoPE {}, YaRN trained with it {}, YaRN on RoPE's weights at test time only {}".format(*plain) in FOUND
    resonant = (loss[place, f"resonance_{pe}"] for place, pe in (
        ("paper", "rope"), ("paper", "yarn"), ("zero_shot_text", "yarn"),
    ))  # fmt: skip
    assert "with Resonance {}, {} and {}".format(*resonant) in FOUND
    assert f"({loss['paper', 'nope']}, {loss['paper', 'learned']})" in FOUND


def test_findings_of_the_larger_profile() -> None:
    lines = losses("text")
    titles = {names.encoding(pe): pe for _, pe in lines}
    _, _, *rows = [line for line in FINDINGS.splitlines() if line.startswith("|")]
    assert len(rows) == 7
    for row in rows:
        title, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        plain, resonant = titles[title], f"resonance_{titles[title]}"
        both = ("paper", "zero_shot_text")
        shown = [
            lines["paper", plain]["id_loss"],
            *(lines[place, pe]["ood_loss"] for pe in (plain, resonant) for place in both),
        ]
        assert cells == [f"{float(value):.3f}" for value in shown]
    pairs = [line for line in lines.values() if line["verdict"]]
    assert {line["verdict"] for line in pairs} == {"undecided"}
    differences = [float(line["difference"]) for line in pairs]
    halves = [(float(line["high"]) - float(line["low"])) / 2 for line in pairs]
    told = f"lie between {min(differences):.3f} and {max(differences):+.3f} nats, with intervals of"
    told += f" ±{min(halves):.2f} to ±{max(halves):.2f}"
    assert f"None of the {len(pairs)} differences of Resonance is decided; they {told}" in FOUND
    lower = {pe for (place, pe), line in lines.items() if place == "zero_shot_text" and line["verdict"] and
             float(line["difference"]) < 0}  # fmt: skip
    assert lower == {"resonance_dynamic_ntk"}
    rope, ours = (lines["paper", pe] for pe in ("rope", "p_rope"))
    p = files.load(files.FOLDER / "pe" / "p_rope.yaml")["params"]["p"]
    slow = sum(2 * math.pi * 10_000 ** (j / 32) >= 256 for j in range(32))
    told = f"default p = {p}, which stops {round(32 * (1 - p))} of 32 pairs; clip at 256 bytes would stop {slow}"
    assert f"gains {float(rope['ood_loss']) - float(ours['ood_loss']):.3f} nats over RoPE here with its {told}" in FOUND
    for pe, title in (("learned", "Learned positions"), ("nope", "NoPE")):
        line = lines["paper", pe]
        within, beyond = f"{float(line['id_loss']):.3f}", f"{float(line['ood_loss']):.3f}"
        assert f"{title} ({within}{' within' * (pe == 'learned')}, {beyond}" in FOUND
        assert float(line["id_loss"]) - float(rope["id_loss"]) > 0.5
        assert float(line["ood_minus_id"]) < float(rope["ood_minus_id"])


def test_a_training_ends_where_the_page_says() -> None:
    ends = [float(line["id_loss"]) for (place, pe), line in losses("text").items() if (place, pe) == ("paper", "rope")]
    assert f"ends at about {ends[0]:.1f} nats" in " ".join(PAGE.split())
