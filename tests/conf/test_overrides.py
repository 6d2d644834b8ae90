"""Whatever a user types is taken as meant or refused in one line that names the key, the value and the remedy."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf import schema
from conf.combinations import expand
from conf.compose import Choice, compose, composer
from conf.overrides import changed, choices, read
from eval.running.plan import settings as plan_settings
from models.spec import EncodingSpec, ModelSpec, OptimSpec
from posgen.errors import UserError
from posgen.spec import DataSpec, Task

WRONG = [
    ("model.d_modle=64", "did you mean model.d_model?"),
    ("modle.d_model=64", "did you mean model.d_model?"),
    ("d_model=64", "did you mean model.d_model?"),
    ("tsak.far=1", "did you mean task.far?"),
    ("hydra.verbose=true", "one of backend, compiled, data, device"),
    ("model.d_model=abc", "whole number"),
    ("model.d_model=1.5", "whole number"),
    ("model.d_model=true", "whole number"),
    ("model.layers=null", "whole number"),
    ("optim.lr=fast", "use a number"),
    ("model.bos=perhaps", "true or false"),
    ("protocol.selection=first_best", "did you mean first_best_id?"),
    ("protocol.splits=disjiont", "did you mean disjoint?"),
    ("profile.seeds=3", "list"),
    ("profile.seeds=[[1]]", "list"),
    ("profile.seeds=[{a: 1}]", "list"),
    ("optim.lr=-1", "0 < lr"),
    ("optim.lr=nan", "0 < lr"),
    ("model.dropout=1", "use 0 to 0.99"),
    ("model.head_dim=63", "even"),
    ("data.test_length=5", "train_length"),
    ("data.train_length=4", "use more than far + near = 4 tokens"),
    ("task.modulus=1", "2 to 32000"),
    ("protocol.beta_fast=1", "beta_slow"),
    ("protocol.layers=0", "null"),
    ("optim.epochs=1.5", "whole number"),
    ("tracker.init_timeout=0", "seconds"),
    ("paths.results=", "folder"),
    ("profile.name=a/b", "names a file"),
    ("device=gpu", "cuda"),
    ("threads=0", "1 to 1024"),
    ("seed=-1", "4294967295"),
    ("optim=adam", "adamw_onecycle"),
    ("tracker=wandbb", "did you mean wandb?"),
    ("model={d_model: 1}", "t5_small_2l"),
    ("data=big", "one by one"),
    ("pe.params={factr: 3}", "one by one"),
    ("pe.params.factr=3", "did you mean factor?"),
    ("data.train_length=${nowhere}", "nowhere"),
    ("+x=1", "neither added"),
    ("++model.x=1", "neither added"),
    ("~model", "neither added"),
    ("tracker@x=none", "without @"),
    ("optim.lr=[", "cannot be read"),
    ("optim.lr", "KEY=VALUE"),
    ("=3", "one of"),
    ("--lr=3", "options"),
    ("optim.lr=1e-3,2e-3", "posgen sweep"),
    ("data.train_length=${nowhere}", "the full name of another setting, such as ${data.train_length}"),
    ("profile.label=${oc.env:NOT_SET_ANYWHERE}", "set it, or write ${oc.env:NAME,VALUE}"),
    ("task.far=${nothing:1}", "takes oc.env"),
    ("task.far=${task.far}", "does not refer back"),
    ("task.far=${either:1}", "write a plain value in its place"),
]


def complaint(arguments: list[str]) -> str | None:
    """What a user is told about trailing arguments of a smoke-sized configuration; None when they are taken."""
    try:
        found = read(arguments)
        compose(
            Choice("cot", "yarn", "paper", "smoke"), [*found.overrides, *(f"seed={s}" for s in found.chosen.values())]
        )
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("argument", "remedy"), WRONG)
def test_wrong_input_is_one_line_with_the_remedy(argument: str, remedy: str) -> None:
    message = complaint([argument])
    assert message is not None
    assert remedy in message
    assert "\n" not in message
    assert argument.lstrip("+").partition("=")[0] in message
    assert argument.partition("=")[2].strip("{}[$").split(":")[0] in message


def test_keys_given_twice_are_refused() -> None:
    for twice in (["model.layers=1", "model.layers=2"], ["pe=rope", "pe=yarn"]):
        with pytest.raises(UserError, match="twice"):
            read(twice)


@given(st.text(max_size=30) | st.from_regex(r"\A[a-z.]{1,12}=[ -~]{0,12}\Z"))
@settings(max_examples=150, deadline=None)
def test_no_argument_escapes_as_anything_but_a_user_error(text: str) -> None:
    with contextlib.suppress(UserError):
        expand(read([text], sweeps=True).overrides)


@given(key=st.sampled_from([key for key, _ in schema.dotted_keys()]), value=st.sampled_from(
    ["0", "-1", "1e400", "null", "true", "x", "''", "[]", "{}", "${model.d_model}", "1e9", "[1,2]", "paper"]
))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_key_survives_every_kind_of_value(key: str, value: str) -> None:
    assert "\n" not in (complaint([f"{key}={value}"]) or "")


def test_choices_are_split_from_settings() -> None:
    found = read(["pe=yarn,rope", "seed=1", "optim.lr=1e-3", "profile=smoke"])
    assert found.chosen == {"pe": "yarn,rope", "seed": "1", "profile": "smoke"}
    assert found.overrides == ("optim.lr=1e-3",)


def test_sweeps_expand_to_every_combination() -> None:
    found = read(["optim.lr=1e-3,2e-3", "model.layers=3", "data.seed=range(1,4)"], sweeps=True)
    wanted = [
        (f"optim.lr={lr}", "model.layers=3", f"data.seed={seed}")
        for lr, seed in itertools.product(("0.001", "0.002"), (1, 2, 3))
    ]
    assert expand(found.overrides) == wanted
    assert expand(()) == [()]


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("tracker.init_timeout=interval(0,1)", "give one value"),
        ("threads=2,2", "give one value: it changes no number"),
        ("device=cpu,cpu", "give one value: it changes no number"),
        ("paths.results=a,b", "give one value: it changes no number"),
        ("optim.lr=interval(0,1)", "cannot be listed; give its values"),
        ("data.seed=shuffle(range(1,4))", "cannot be listed; give its values"),
        ("optim=glob(*)", "cannot be listed; give its values"),
        ("data.seed=range(1,1000000000)", "more than 10,000 combinations"),
        ("data.seed=range(1,9,0)", "is no range"),
        ("data.seed=range(9,1)", "is an empty range"),
    ],
)
def test_values_that_make_no_sweep_are_refused(setting: str, remedy: str) -> None:
    with pytest.raises(UserError, match=re.escape(remedy)) as told:
        expand(read([setting], sweeps=True).overrides)
    assert str(told.value).startswith(setting.partition("=")[0])
    assert "\n" not in str(told.value)


def test_combinations_of_settings_are_counted_before_they_are_made() -> None:
    many = [f"{key}=range(1,100)" for key in ("data.seed", "optim.epochs", "optim.batch_size", "model.layers")]
    with pytest.raises(UserError, match=r"^optim\.batch_size=range\(1,100\): makes more than 10,000 combinations"):
        expand(read(many, sweeps=True).overrides)


@pytest.mark.parametrize("value", ["9" * 5000, "1e" + "9" * 5000, "[" + "9" * 5000 + "]", "[" * 3000 + "]" * 3000])
def test_a_value_of_absurd_length_is_told_in_a_short_line(value: str) -> None:
    for key in ("task.modulus", "seed"):
        told = complaint([f"{key}={value}"])
        assert told is not None
        assert len(told) < 500
        assert "\n" not in told


def test_a_value_of_a_sweep_is_checked_too() -> None:
    with pytest.raises(UserError, match=r"model\.layers=x"):
        expand(read(["model.layers=1,x"], sweeps=True).overrides)


def test_changed_profiles_are_told_apart() -> None:
    quick = schema.ProfileSpec("quick", "much smaller", [1, 2], ["paper"])
    assert changed(quick, ["paths.results=x", "tracker=none", "device=cuda", "threads=2"]) == quick
    other = changed(quick, ["optim.lr=0.1", "device=cuda"])
    assert (other.name, other.changes) == ("quick+optim.lr=0.1", ["optim.lr=0.1"])
    assert other.label == "much smaller; changed: optim.lr=0.1"
    assert (other.seeds, other.protocols) == (quick.seeds, quick.protocols)
    assert changed(quick, ["a.b=1", "c.d=2"]) == changed(quick, ["c.d=2", "a.b=1"])
    # Each is whole in the list, whatever is in it.
    odd_values = ["paths.results=x", "task.h='a, b'", "pe.params.short_factor=[1, 2]"]
    assert changed(quick, odd_values).changes == ["pe.params.short_factor=[1, 2]", "task.h='a, b'"]
    told = plan_settings("smoke", ["optim.lr=0.1", "tracker=none"], [1, 2]).profile
    assert told.changes == ["optim.lr=0.1", "seed=1,2"]
    assert told.label.endswith("; changed: optim.lr=0.1, seed=1,2")
    odd = {changed(quick, [f"task.h=my.module:{'f' * n}"]).name for n in range(1, 100)}
    assert len(odd) == 99
    assert all(len(name) <= 100 and "/" not in name and ":" not in name for name in odd)


def test_the_schema_reuses_the_owners_of_fields() -> None:
    owners = {"task": Task, "data": DataSpec, "pe": EncodingSpec, "model": ModelSpec, "optim": OptimSpec}
    known = [key for key, _ in schema.dotted_keys()]
    for group, owner in owners.items():
        fields = [f"{group}.{field.name}" for field in dataclasses.fields(owner)]
        assert [key for key in known if key.startswith(f"{group}.")] == fields


def test_every_file_of_every_group_composes() -> None:
    with composer() as make:
        for task in choices("task"):
            if task != "text":  # which reads files and has profiles of its own: tests/eval/test_text_task.py
                assert make(Choice(task=task), ()).task.name == task
        for profile, protocol in itertools.product(choices("profile"), choices("protocol")):
            config = make(Choice(profile=profile, protocol=protocol), ())
            assert (config.profile.name, config.protocol.name) == (profile, protocol)
        for pe in choices("pe"):
            config = make(Choice(pe=pe, protocol="released"), ())
            assert config.pe.name == pe
            assert config.pe.resonance == pe.startswith("resonance_")
        for group in ("model", "optim", "tracker", "paths"):
            for name in choices(group):
                make(Choice(), [f"{group}={name}"])
