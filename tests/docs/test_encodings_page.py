"""docs/encodings.md and the README's count: encodings that are there, numbers that come out."""

from __future__ import annotations

import re

from conf.compose import Choice, compose, composer
from conf.overrides import choices
from models.encodings import build_rotary
from models.encodings.kinds.fox import GateType
from models.encodings.logit_scale import LogitScaling
from models.spec import LogitScale
from tests.committed import ROOT

PAGE, README = (ROOT / "docs" / "encodings.md").read_text(), (ROOT / "README.md").read_text()


def test_the_readme_counts_the_encodings() -> None:
    assert f"`posgen encodings` lists the {len(choices('pe'))} that are there" in README
    with composer() as make:
        scaled = [pe for pe in choices("pe") if make(Choice(pe=pe), ()).pe.scaling != "none"]
    scalings = [pe for pe in scaled if "resonance" not in pe]
    assert len(scalings) == 10
    assert "RoPE and ten scalings of it" in README


def test_the_page_names_what_is_there() -> None:
    rows = PAGE.split("|---|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {
        "clip", "resonance_clip", "log_n", "ssmax", "pope", "resonance_pope", "xpos", "resonance_xpos", "kerple",
        "rnope", "resonance_rnope", "rerope", "resonance_rerope", "leaky_rerope", "resonance_leaky_rerope",
        "self_extend", "resonance_self_extend", "fox", "rounded", "bf16_rope", "resonance_bf16_rope",
    }  # fmt: skip
    for row in rows:
        pe, settings = row.split("|")[1], re.findall(r"`(\w+)`", row.split("|")[4])
        for name in re.findall(r"`(\w+)`", pe) if "base" not in pe else ():
            params = compose(Choice(pe=name)).pe.params
            assert set(settings) - {"ssmax_fixed"} <= set(params) or not params
    scales = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Logit scales")[1].split("##")[0], flags=re.MULTILINE)
    assert scales == [scale.value for scale in LogitScale]


def test_the_page_names_the_choices_of_mixed_layers_remaps_and_gates() -> None:
    gates = re.findall(r"^\| `(\w+)` \|", PAGE.split("at the start |")[1].split("##")[0], flags=re.MULTILINE)
    assert gates == [gate.value for gate in GateType]
    remapped = {
        pe: compose(Choice(pe=pe, profile="quick")).pe.params for pe in ("rerope", "leaky_rerope", "self_extend")
    }
    assert "`rerope` | w | w = 32 |" in PAGE
    assert remapped["rerope"] == {"window": 32}
    for pe, key, shown in (("leaky_rerope", "k", "w = 32, k = 8"), ("self_extend", "group", "W = 32, G = 8")):
        assert (remapped[pe]["window"], remapped[pe][key]) == (32, 8)
        assert shown in PAGE
    assert compose(Choice(pe="rnope", profile="quick")).pe.params["window"] == 16
    assert "L / 4 = 16 by default" in PAGE


def test_its_numbers() -> None:
    for length, shown in ((64, "0.312 at L = 64"), (1_024, "0.168 at 1,024")):
        assert shown in PAGE
        assert f"{LogitScaling(LogitScale.ssmax, length).start():.3f}" == shown[:5]
    assert "`p_rope` with `p=0.28125`, bit for bit" in PAGE
    clip, p_rope = (compose(Choice(pe=pe), o).pe for pe, o in (("clip", ()), ("p_rope", ("pe.params.p=0.28125",))))
    both = [build_rotary(spec, 64).frequencies(256)[0] for spec in (clip, p_rope)]
    assert both[0].equal(both[1])
    command = "pe.scaling=clip pe.params.critical=64"
    assert f"`--pe pope {command}`" in PAGE
    clipped = build_rotary(compose(Choice(pe="pope"), command.split()).pe, 64).frequencies(256)[0]
    assert clipped.shape == (64,)
    assert int((clipped > 0).sum()) == 17
