"""Declarations: what they hold, what their digest is of, and one line for every fault."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from conf.experiments import Experiment, experiments, load
from posgen.errors import UserError
from tests.declared import NODE, THREE_BASES, experiment, node, write


def test_every_combination_of_levels_is_a_cell_with_a_name_that_says_it() -> None:
    made = experiment(factors=[*NODE["factors"], THREE_BASES])
    assert [cell.name for cell in made.cells] == [
        "rope", "base_64", "base_500", "resonance", "resonance+base_64", "resonance+base_500",
        "p_rope", "p_rope+base_64", "p_rope+base_500",
        "p_rope+resonance", "p_rope+resonance+base_64", "p_rope+resonance+base_500",
    ]  # fmt: skip
    levels = [["all_rotate", "p_rope"], ["unrounded", "resonance"], ["base_10000", "base_64", "base_500"]]
    assert [tuple(cell.levels.values()) for cell in made.cells] == list(itertools.product(*levels))
    last = made.cells[-1]
    assert last.title == "p-RoPE + Resonance + base_500"
    assert dict(last.settings) == {
        "pe.scaling": "p_rope", "pe.params.p": 0.28125, "pe.resonance": True, "pe.base": 500.0,
    }  # fmt: skip
    assert (made.cells[0].title, dict(made.cells[0].settings)) == ("RoPE", {})


def test_a_level_may_start_from_another_file_and_set_the_run() -> None:
    levels = [{"name": "two"}, {"name": "deep_alibi", "settings": {"pe": "alibi", "model.layers": 3}}]
    (first, second) = experiment(factors=[{"name": "kind", "levels": levels}], hypotheses=[
        {"name": "H", "claim": "It helps.", "effect": ["kind"], "direction": "higher"}
    ]).cells  # fmt: skip
    assert (first.pe, second.pe, dict(second.settings)) == ("rope", "alibi", {"model.layers": 3})


def test_the_digest_is_of_what_is_declared_and_not_of_how_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path)
    digest = load(str(path)).digest
    assert digest == experiment().digest
    backwards = dict(reversed(NODE.items()))
    path.write_text("# a comment\n" + yaml.safe_dump(backwards, sort_keys=False))
    assert load(str(path)).digest == digest
    path.write_text(path.read_text().replace("'2026-11-27'", "2026-11-27"))  # a date and its text are one
    assert load(str(path)).digest == digest


@pytest.mark.parametrize(
    "changed",
    [
        {"question": "Another?"},
        {"tasks": ["recursive"]},
        {"profiles": [{"name": "smoke", "seeds": [1, 2, 4]}]},
        {"profiles": [{"name": "smoke", "seeds": [1, 2, 3], "settings": {"model.heads": 1}}]},
        {"rule": {"alpha": 0.01}},
        {"interactions": [["p_rope", "resonance"]]},
        {"hypotheses": [{**NODE["hypotheses"][0], "margin": 2}]},
        {"date": "2026-11-28"},
        {"protocol": "released"},
    ],
)
def test_whatever_is_declared_otherwise_has_another_digest(changed: dict[str, Any]) -> None:
    assert experiment(**changed).digest != experiment().digest


H = NODE["hypotheses"][0]
FACTORS = NODE["factors"]


def level(**keys: Any) -> dict[str, Any]:
    return {"factors": [{"name": "f", "levels": [{"name": "plain"}, {"name": "other", **keys}]}]}


def profile(**keys: Any) -> dict[str, Any]:
    return {"profiles": [{"name": "smoke", "seeds": [1, 2], **keys}]}


def hypothesis(**keys: Any) -> dict[str, Any]:
    kept = {**H, **keys}
    return {"hypotheses": [{key: value for key, value in kept.items() if value is not None}]}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"question": None}, "a key of Experiment is missing: 'question'"),
        ({"titel": "x"}, "titel is not known"),
        ({"name": "other"}, "name=other: call it as its file is called, tiny"),
        ({"date": "soon"}, "date=soon: write the day of the declaration as YYYY-MM-DD"),
        ({"title": " "}, "title= : say it in a sentence"),
        ({"tasks": "cot"}, "tasks should be a list, not 'cot'"),
        ({"tasks": []}, "tasks=: name tasks, each once"),
        ({"tasks": ["cott"]}, "task=cott: did you mean cot?"),
        ({"tasks": ["text"]}, "task=text: is a text, which has no accuracy"),
        ({"protocol": "papper"}, "protocol=papper: did you mean paper?"),
        ({"encoding": "roop"}, "pe=roop: did you mean rope?"),
        ({"profiles": []}, "profiles=: name one or more, each once, with its seeds"),
        (profile(name="smok"), "profiles.name=smok: did you mean smoke?"),
        (profile(seeds=3), "seeds should be a list, not 3"),
        (profile(seeds=["a", 2]), "seeds should be a whole number, not 'a'"),
        (profile(seeds=[1]), "profiles.smoke.seeds=1: list two or more different seeds"),
        (profile(seeds=[1, 1]), "profiles.smoke.seeds=1, 1: list two or more different seeds"),
        (profile(seeds=[1, -1]), "profiles.smoke.seeds=1, -1"),
        (profile(settings={"model.head": 2}), "profiles.smoke.model.head=2: is no setting; did you mean model.heads?"),
        (profile(settings={"protocol.bos": False}), "profiles.smoke.protocol.bos=False: is no setting"),
        ({"factors": []}, "factors=[]: name what is varied"),
        ({"factors": [FACTORS[0], FACTORS[0]]}, "give every factor a name of its own"),
        ({"factors": [{"name": "f", "levels": [{"name": "one"}]}]}, "factors.f.levels=one: give two or more levels"),
        ({"factors": [FACTORS[0], {**FACTORS[0], "name": "again"}]}, "levels.name=p_rope: names two levels"),
        (level(settings={"scalling": "pi"}), "levels.other.scalling=pi: is no setting; did you mean scaling?"),
        (level(settings={"model.layer": 3}), "levels.other.model.layer=3: is no setting; did you mean model.layers?"),
        (level(settings={"paths.runs": "x"}), "levels.other.paths.runs=x: is no setting"),
        (level(settings={"params": 3}), "levels.other.params=3: use values by name"),
        (level(settings={"pe": "ropee"}), "pe=ropee: did you mean rope?"),
        (level(settings=3), "settings should be values by name, not 3"),
        ({"factors": [{"name": "a+b", "levels": []}]}, "factors.name=a+b: use 1 to 40 letters"),
        ({"interactions": [["p_rope", "resonanse"]]}, "interactions=resonanse: did you mean resonance?"),
        ({"interactions": [["p_rope"]]}, "interactions=p_rope: name two factors"),
        ({"hypotheses": []}, "hypotheses=: state one or more"),
        ({"hypotheses": [H, H]}, "hypotheses=H1, H1: state one or more, each with a name of its own"),
        (hypothesis(claim=" "), "hypotheses.H1.claim= : say what is expected"),
        (hypothesis(direction="up"), "direction should be one of higher, lower, equal, not_lower, not 'up'"),
        (hypothesis(tasks=["semi_recursive"]), "hypotheses.H1.tasks=semi_recursive: is no task of the experiment"),
        (hypothesis(effect=["p-rope"]), "hypotheses.H1.effect=p-rope: did you mean p_rope?"),
        (hypothesis(effect=["p_rope=plain"]), "hypotheses.H1.effect=p_rope=plain: name its level"),
        (hypothesis(effect=["p_rope", "p_rope"]), "name two different factors"),
        (hypothesis(effect=[]), "give either effect (of factors) or against (of cells)"),
        (hypothesis(against="chance"), "give either effect (of factors) or against (of cells)"),
        (hypothesis(effect=None, against="luck"), "against should be one of chance, id_accuracy, not 'luck'"),
        (hypothesis(cells="each"), "hypotheses.H1.cells=each: is for against"),
        (hypothesis(where={"base": "x"}), "hypotheses.H1.where=base"),
        (hypothesis(where={"resonance": "on"}), "hypotheses.H1.where.resonance=on: one of"),
        (hypothesis(where={"p_rope": "p_rope"}), "is the effect itself; leave it out of where"),
        (hypothesis(direction="equal"), "hypotheses.H1.margin=None: say within how many points"),
        (hypothesis(margin=0), "hypotheses.H1.margin=0"),
        (hypothesis(std_points=-1), "hypotheses.H1.std_points=-1"),
        ({"rule": {"alpha": 2}}, "rule.alpha=2: use an error rate"),
        ({"rule": {"alfa": 2}}, "alfa is not known"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_that_names_the_file_the_key_and_the_remedy(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        experiment(**changed) if "name" not in changed else _named(changed)
    line = str(error.value)
    assert line.startswith("tiny.yaml: ")
    assert told in line
    assert "\n" not in line


def _named(changed: dict[str, Any]) -> Experiment:
    from conf.experiments import parsed

    return parsed(node(**changed), "tiny", "tiny.yaml")


def test_a_factor_of_several_levels_needs_the_level_that_is_meant() -> None:
    three = [*FACTORS, THREE_BASES]
    with pytest.raises(UserError, match="name its level: one of base=base_64, base=base_500"):
        experiment(factors=three, **hypothesis(effect=["base"]))
    assert experiment(factors=three, **hypothesis(effect=["base=base_500"])).hypotheses[0].effect == ("base=base_500",)


def test_too_many_cells_are_refused() -> None:
    many = [
        {"name": f"f{i}", "levels": [{"name": "plain"}, *({"name": f"f{i}_{j}"} for j in range(1, 9))]}
        for i in range(3)
    ]
    with pytest.raises(UserError, match="factors=729 cells: cross fewer"):
        experiment(factors=many)


def test_a_file_that_is_not_there_or_no_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such file"):
        load(str(tmp_path / "none.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is no YAML"):
        load(str(tmp_path / "broken.yaml"))
    with pytest.raises(UserError, match="experiment=clipp"):
        load("clipp")


@pytest.mark.parametrize("name", experiments())
def test_what_is_declared_in_conf_can_be_read(name: str) -> None:
    declared = load(name)
    assert declared.name == name
    assert len({cell.name for cell in declared.cells}) == len(declared.cells)
