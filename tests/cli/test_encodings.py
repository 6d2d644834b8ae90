"""`posgen encodings`: the list, the numbers of `show` against transformers', the files of `plot`, and mistakes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conf.overrides import choices
from tests import command
from tests.committed import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "encodings_transformers.json").read_text())["cases"]
HEAVY = ("torch", "pandas", "scipy", "wandb", "matplotlib", "hydra", "omegaconf", "pyarrow", "numpy")
KEYS = ["name", "head_dim", "base", "train_length", "test_length", "factor", "inv_freq", "wavelengths",
        "attention_factor", "critical_feature", "feature_gap"]  # fmt: skip
# transformers' rope types by our names, with what transformers takes unless told and our YAMLs do not
OURS = {
    "default": ("rope", []),
    "linear": ("pi", []),
    "dynamic": ("dynamic_ntk", []),
    "yarn": ("yarn", ["yarn.beta_fast=32"]),
    "longrope": ("longrope", []),
    "llama3": ("llama3", []),
}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return command.run("encodings", *arguments)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert run("show", *arguments, "--json") == 0
    found: dict = json.loads(capsys.readouterr().out)
    assert list(found) == KEYS
    return found


@pytest.mark.parametrize("words", [[], ["show"], ["plot"]])
def test_help_has_examples_and_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from cli.main import main\n"
        f"try: main({['encodings', *words, '--help']!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" ".join(["posgen encodings", *words])) >= 2  # the usage line, and an example


def test_the_list_has_every_file_of_conf_pe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "rotary", "trainable", "source"]
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines}
    assert sorted(rows) == choices("pe")
    assert rows["rope"] == ["yes", "no", "Su et al. 2021, arXiv 2104.09864"]
    assert rows["resonance_yarn"][2] == "Peng et al. 2023, arXiv 2309.00071; Wang et al. 2024, arXiv 2403.00071"
    # what the papers say of them: ALiBi's slopes are fixed, FIRE's network is trained
    assert [rows["alibi"][:2], rows["fire"][:2]] == [["no", "no"], ["no", "yes"]]
    assert all(len(row) == 3 and re.search(r"\d{4}", row[2]) for row in rows.values())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['rope_type']}-{case['seq_len']}")
def test_show_gives_the_numbers_of_transformers(case: dict, capsys: pytest.CaptureFixture[str]) -> None:
    name, settings = OURS[case["rope_type"]]
    given = case["rope_parameters"]
    settings = [*settings, *(f"{name}.{key}={given[key]}".replace(" ", "") for key in given if "_factor" in key)]
    factor = [] if case["factor"] is None else ["--factor", str(case["factor"])]
    found = shown(
        capsys, name, *settings, "--head-dim", str(case["dim"]), "--base", str(case["base"]), *factor,
        "--train-length", str(case["L"]), "--test-length", str(case["seq_len"]),
    )  # fmt: skip
    np.testing.assert_allclose(found["inv_freq"], case["inv_freq"], rtol=1e-6)
    assert found["attention_factor"] == pytest.approx(case["attention_factor"], rel=1e-6)
    np.testing.assert_allclose(found["wavelengths"], [2 * math.pi / theta for theta in case["inv_freq"]], rtol=1e-6)


def test_options_not_given_take_posgens_values(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "resonance_rope")
    assert [found[key] for key in KEYS[:6]] == ["resonance_rope", 64, 10_000.0, 64, 256, 4.0]
    assert found["critical_feature"] == 9  # the paper: the first 17 dimensions, 0 to 2 * 9 - 1
    assert found["wavelengths"][:9] == [6, 8, 11, 15, 20, 26, 35, 47, 63]
    assert max(found["feature_gap"][:9]) <= 5e-14
    gaps = [0.0708, 0.0796, 0.0752, 0.1276, 0.1093, 0.0076, 0.0596, 0.0625, 0.0496]
    np.testing.assert_allclose(shown(capsys, "rope")["feature_gap"][:9], gaps, atol=6e-5)
    assert run("show", "resonance_rope") == 0
    out = capsys.readouterr().out
    for expected in ("features 0 to 8 are pre-critical", "16,936,920", "head_dim 64, base 10000, train_length 64"):
        assert expected in out
    assert len(out.split("feature gap\n")[1].splitlines()) == 32


def test_lengths_and_factor_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    def of(*arguments: str) -> list:
        return [shown(capsys, "pi", *arguments)[key] for key in ("train_length", "test_length", "factor")]

    assert of("--train-length", "128") == [128, 256, 2.0]
    assert of("--train-length", "4096", "--test-length", "32768") == [4096, 32768, 8.0]
    assert of("--train-length", "8192", "--factor", "8") == [8192, 65536, 8.0]
    assert of("--train-length", "8192") == [8192, 32768, 4.0]
    assert of("pi.factor=3") == [64, 256, 3.0]


def test_a_setting_reaches_the_encoding_by_its_name_or_its_scalings(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = shown(capsys, "resonance_yarn", "resonance_yarn.beta_fast=32")
    assert wanted == shown(capsys, "resonance_yarn", "yarn.beta_fast=32")
    assert wanted == shown(capsys, "resonance_yarn", "pe.params.beta_fast=32")
    assert wanted["inv_freq"] != shown(capsys, "resonance_yarn")["inv_freq"]


def test_what_show_takes_training_takes_too_and_says_how_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["p_rope.p=0.3", "pe.params.p=0.3"]
    by_name, by_key = (shown(capsys, "p_rope", setting) for setting in settings)
    assert by_name == by_key
    assert by_name["wavelengths"][8:10] == [pytest.approx(2 * math.pi * 10_000 ** (8 / 32)), None]  # 9 of 32 rotate
    train = ("train", "--pe", "p_rope", "--profile", "smoke", "--dry-run")
    assert command.run(*train, settings[0]) == 2
    assert capsys.readouterr().err.endswith("p_rope.p=0.3: with --pe p_rope write pe.params.p=0.3\n")
    assert command.run(*train, settings[1]) == 0
    assert "pe.params.p=0.3" in capsys.readouterr().out


def test_what_an_encoding_does_not_have_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "p_rope", "p_rope.p=0.5")
    assert found["wavelengths"][16:] == [None] * 16
    assert None not in found["inv_freq"] + found["feature_gap"] + found["wavelengths"][:16]
    assert shown(capsys, "rope", "--train-length", "64", "--test-length", "64")["feature_gap"] == [None] * 32
    assert shown(capsys, "rope", "--head-dim", "2")["critical_feature"] is None
    for name, gives in (("alibi", "an attention bias"), ("sinusoidal", "an input embedding"), ("nope", "nothing")):
        assert run("show", name, "--json") == 0
        out, err = capsys.readouterr()
        assert [json.loads(out)[key] for key in KEYS[6:]] == [None] * 5
        assert err.count("\n") == 1
        assert f"{name} does not rotate" in err
        assert err.endswith(f"gives the decoder {gives}\n")
        assert run("show", name) == 0
        assert err in capsys.readouterr().out


def test_an_encoding_of_ones_own(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "half.py").write_text(
        "from dataclasses import dataclass\n"
        "from models.encodings.scalings.base import Scaling, rope_inv_freq\n"
        "@dataclass(frozen=True)\n"
        "class Half(Scaling):\n"
        "    slower: float = 2.0\n"
        "    def inv_freq(self, head_dim, base, length):\n"
        "        return rope_inv_freq(head_dim, base) / self.slower\n"
    )
    found = shown(capsys, "half.py:Half", "Half.slower=4")
    assert found["inv_freq"] == shown(capsys, "pi")["inv_freq"]
    assert run("plot", "half.py:Half", "--out", "drawn") == 0
    names = sorted(path.name for path in (workplace / "drawn").iterdir())
    figure1 = ["figure1-half.py-Half.pdf", "figure1-half.py-Half.png"]
    assert names == ["features.pdf", "features.png", *figure1, "matches.pdf", "matches.png"]


@pytest.mark.slow
def test_plot_writes_one_comparison_and_one_figure_1_a_pair(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plot", "rope,resonance_rope,randomized,rounded", "--feature", "4") == 0
    out = capsys.readouterr().out
    assert "no Figure 1 of randomized" in out
    assert "no Figure 1 of rounded: it rounds by its own settings" in out
    folder = workplace / "results" / "encodings"
    names = sorted(path.name for path in folder.iterdir())
    figures = ("features", "figure1-rope", "matches")
    assert names == [f"{figure}.{kind}" for figure in figures for kind in ("pdf", "png")]
    for name in names:
        assert (folder / name).read_bytes().startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")


WRONG = {
    "no name": (["show"], "NAME"),
    "unknown name": (["show", "yarm"], "did you mean yarn?"),
    "unknown command": (["shwo"], "show"),
    "setting of another encoding": (["show", "yarn", "ntk.factor=2"], "ntk is not shown"),
    "unknown parameter": (["show", "yarn", "yarn.beta_fats=3"], "did you mean beta_fast?"),
    "parameter of none": (["show", "rope", "rope.factor=3"], "no parameters"),
    "no equals sign": (["show", "yarn", "yarn.beta_fast"], "yarn.beta_fast=32"),
    "no dot": (["show", "yarn", "beta_fast=3"], "ENCODING.PARAMETER=VALUE"),
    "parameter out of range": (["show", "yarn", "yarn.factor=0"], "pe.params.factor=0"),
    "parameter of another type": (["show", "yarn", "yarn.beta_fast=much"], "must be a number"),
    "parameter that does not fit the head": (["show", "longrope", "longrope.long_factor=[1,2]"], "head_dim / 2"),
    "given twice": (["show", "yarn", "--factor", "2", "yarn.factor=2"], "once"),
    "head of odd size": (["show", "rope", "--head-dim", "63"], "even number"),
    "base out of range": (["show", "rope", "--base", "1"], "--base=1.0"),
    "base that is no number": (["show", "rope", "--base", "x"], "--base"),
    "factor below 1": (["show", "rope", "--factor", "0.5"], "factor=0.5"),
    "factor without end": (["show", "rope", "--factor", "inf"], "factor=inf"),
    "test before train": (["show", "rope", "--train-length", "64", "--test-length", "32"], "at least --train-length"),
    "no length": (["show", "rope", "--train-length", "0"], "--train-length=0"),
    "empty entry": (["plot", "rope,,yarn"], "empty"),
    "nothing that rotates": (["plot", "rope,alibi"], "alibi: does not rotate"),
    "feature that is not pre-critical": (["plot", "rope", "--feature", "9"], "0 to 8"),
    "missing file": (["show", "missing.py:Mine"], "missing.py"),
}


@pytest.mark.parametrize(("arguments", "remedy"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], remedy: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r"posgen: error: [^\n]+\n", err)
    assert remedy in err
    assert "Traceback" not in out + err
    assert [path for path in workplace.rglob("*") if path.is_file()] == []


def test_show_says_what_goes_beyond_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Which layers rotate, that distances are remapped (so that positions have no gap), and FoX's rotation."""
    for words, told in (
        (["rnope"], "layers in turns: rope that sees 16 tokens, nope"),
        (["rnope", "rnope.pattern=[nope,rope]", "rnope.window=null"], "layers in turns: nope, rope;"),
        (["self_extend"], "pairs less than 32 tokens apart; others have remapped distances"),
        (["fox"], "it gives the decoder forget gates, and trains gate.weight [2, 512, 8], gate.bias [2, 8]"),
        (["fox", "fox.rope=resonance_rope"], "fox has no frequencies of its own and no feature gap"),
        (["fox", "fox.rope=resonance_rope"], "rotate as under Resonance RoPE, base 10000"),
    ):
        assert run("show", *words) == 0
        assert told in capsys.readouterr().out
    assert run("show", "rerope", "--json") == 0
    shown_as_json = capsys.readouterr()
    assert json.loads(shown_as_json.out)["feature_gap"] is None
    assert shown_as_json.err == "distances are remapped: positions have no feature gap\n"
