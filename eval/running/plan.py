"""Which members a choice of tasks, encodings, seeds and protocols asks for: every training once, whatever it serves.

A protocol decides what an entry of Table 1 means. Where it trains with the plain encoding (ledger row 2), RoPE and YaRN
are one training tested twice; and what protocol `paper` trains for RoPE is that same training.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from conf.compose import Choice, compose, composer
from conf.environment import as_written
from conf.names import trained_as
from conf.overrides import changed
from conf.published import table1_names
from conf.schema import Config, ProfileSpec, ProtocolSpec, TrainWith
from eval.measuring.planned import PlannedMember, Target
from models.spec import AccuracyMode, EncodingSpec, LogitScale, MemberSpec
from posgen.errors import BadValue, UserError, require
from posgen.plain import plain


@dataclass
class _Training:
    """A training while its targets are being collected; (protocol, pe, test encoding, accuracy) for each."""

    config: Config
    train_encoding: EncodingSpec
    tests: list[EncodingSpec] = field(default_factory=list)
    targets: list[tuple[str, str, EncodingSpec, AccuracyMode]] = field(default_factory=list)
    protocols: dict[str, ProtocolSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Derived:
    """An encoding without a file of its own: the file of conf/pe that it starts from, and the settings that differ,
    which may be of the run too (`pe.base=64`, `model.layers=6`)."""

    pe: str
    settings: tuple[str, ...] = ()


def plan(
    tasks: Sequence[str],
    pes: Sequence[str],
    seeds: Sequence[int] | None,
    protocols: Sequence[str] | None,
    profile: str,
    overrides: Sequence[str] = (),
    changed_profile: ProfileSpec | None = None,
    ticked: Callable[[], None] = lambda: None,
) -> list[PlannedMember]:
    """The members, by task, training encoding and seed. Seeds and protocols None: the profile's. `changed_profile`: the
    profile as `settings` gives it, with the overrides in its name. `ticked` is called after each place of a table.

    Raises BadValue or UserError, one line each, for an unknown name, a value out of range or a scaling's bad parameter.
    """
    spec = changed_profile or settings(profile, overrides).profile
    places = [(task, pe, protocol) for task in tasks for pe in pes for protocol in protocols or spec.protocols]
    return plan_places(places, seeds, profile, overrides, spec, ticked)


def plan_places(
    places: Sequence[tuple[str, str, str]],
    seeds: Sequence[int] | None,
    profile: str,
    overrides: Sequence[str],
    changed_profile: ProfileSpec,
    ticked: Callable[[], None] = lambda: None,
    derived: Mapping[str, Derived] = MappingProxyType({}),
) -> list[PlannedMember]:
    """`plan` for a list of (task, pe, protocol) that need not be all combinations. `derived`: encodings by the names
    that `places` call them."""
    seeds = seeds or changed_profile.seeds
    require(bool(seeds), "profile.seeds", changed_profile.seeds, "give at least one seed")
    trainings: dict[str, _Training] = {}
    with composer() as make:

        def composed(task: str, pe: str, protocol: str) -> Config:
            name, settings = pe, tuple(overrides)
            if pe in derived:
                name, settings = derived[pe].pe, (f"pe.name='{pe}'", *derived[pe].settings, *overrides)
            config = make(Choice(task, name, protocol, profile), settings)
            return dataclasses.replace(config, profile=changed_profile)

        for task, pe, protocol in places:
            _collect(trainings, composed(task, pe, protocol), protocol, pe)
            ticked()
        _check(trainings)
        _foresee(trainings, changed_profile, composed)
    return [_member(training, seed) for training in trainings.values() for seed in seeds]


def settings(profile: str, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Config:
    """What does not depend on task and encoding: profile, paths, tracker, device, threads.

    The profile's name says which overrides changed its numbers (`conf.overrides.changed`); seeds beyond the profile's
    count as one of them.
    """
    config = compose(Choice(profile=profile), [o for o in overrides if not o.startswith(("pe.", "task."))])
    further = set(seeds or ()) - set(config.profile.seeds)
    changes = [*overrides, f"seed={','.join(map(str, seeds or ()))}"] if further else overrides
    return dataclasses.replace(config, profile=changed(config.profile, changes))


def trained_with(config: Config) -> EncodingSpec:
    """The encoding during training: the named one without what is exactly nothing up to the training length, and under
    `plain` (ledger row 2) without its scaling or its remapped distances."""
    from models.encodings.build import stretches, unstretched

    pe = config.pe
    if config.protocol.train_with is TrainWith.plain and stretches(pe):
        pe = unstretched(pe)
    most_keys = config.data.train_length - 1 + int(config.model.bos)  # the last token is never an input
    if pe.logit_scale is LogitScale.log_n and most_keys <= (pe.logit_length or 0):
        name = pe.trained_as or pe.name
        pe = dataclasses.replace(pe, name=name, logit_scale=LogitScale.none, logit_length=None)
    return dataclasses.replace(pe, trained_as="")


def _collect(trainings: dict[str, _Training], config: Config, protocol: str, pe: str) -> None:
    training = _Training(config, trained_with(config))
    # How it is measured is no part of a training: one may serve targets of several test encodings and accuracies. The
    # checkpoint is part of a run, which keeps one for each test encoding; runs may share a training.
    training = trainings.setdefault(_spec(training, config.seed).run_id, training)
    if config.pe not in training.tests:
        training.tests.append(config.pe)
    training.protocols[protocol] = config.protocol
    # A user's class goes by its name, not by the path to it.
    training.targets.append((protocol, config.pe.name if ":" in pe else pe, config.pe, config.protocol.accuracy))


def _foresee(
    trainings: Mapping[str, _Training], profile: ProfileSpec, composed: Callable[[str, str, str], Config]
) -> None:
    """Let plain trainings be validated under every encoding that the profile's whole table tests them with.

    The checkpoint is chosen for each test encoding while a model trains. Were it chosen for those of one call alone,
    `train --pe rope` would have to be repeated for a sweep that tests RoPE's weights with YaRN.
    """
    from models.encodings.build import stretches

    plain_trainings = [training for training in trainings.values() if not stretches(training.train_encoding)]
    for task in dict.fromkeys(training.config.task.name for training in plain_trainings):
        # Protocols under which every encoding trains as itself, but for those that say otherwise; composing takes long.
        named: set[str] = set()
        for protocol, pe in itertools.product(profile.protocols, profile.pes or table1_names()[1]):
            if protocol in named and not trained_as(pe):
                continue
            try:
                config = composed(task, pe, protocol)
                _try(config, config.pe)
            except UserError:  # a setting that is not for this encoding
                continue
            if config.protocol.train_with is TrainWith.named:
                named.add(protocol)
            run_id = _spec(_Training(config, trained_with(config)), config.seed).run_id
            training = trainings.get(run_id)
            if training in plain_trainings and config.pe not in training.tests:
                training.tests.append(config.pe)
    for training in plain_trainings:  # first, because what was never planned is measured with the first one's weights
        training.tests.sort(key=lambda test: test.key != training.train_encoding.key)


def _spec(training: _Training, seed: int) -> MemberSpec:
    config = training.config
    return MemberSpec(
        task=config.task,
        data=config.data,
        train_encoding=training.train_encoding,
        test_encodings=tuple(training.tests),
        model=config.model,
        optim=config.optim,
        selection=config.protocol.selection.of(config.task),
        accuracy=config.protocol.accuracy,
        seed=seed,
    )


def _member(training: _Training, seed: int) -> PlannedMember:
    spec = _spec(training, seed)
    targets = tuple(
        Target(protocol, pe, spec.label(test), accuracy.value) for protocol, pe, test, accuracy in training.targets
    )
    # `pe` and `protocol` here are those of the first target; a record has those of its measurement.
    resolved = as_written(plain(dataclasses.replace(training.config, seed=seed)))
    del resolved["backend"]  # where a training runs is no part of what it is
    config = {
        **resolved,
        "train_encoding": plain(spec.train_encoding),
        "test_encodings": plain(spec.labels),
        "protocols": plain(training.protocols),
        "cells": plain(targets),
    }
    return PlannedMember(spec, targets, config)


def _check(trainings: Mapping[str, _Training]) -> None:
    """Build every encoding and resolve every h once, so that a bad parameter is an error before anything is written."""
    for training in trainings.values():
        for encoding in (training.train_encoding, *training.tests):
            _try(training.config, encoding)


def _try(config: Config, encoding: EncodingSpec) -> None:
    """BadValue, under the name of its group, unless the encoding can be built and used by this model."""
    from models.encodings import build
    from models.positions import try_out

    bos, data = int(config.model.bos), config.data
    try:
        built = build(encoding, config.model.head_dim)
        try_out(built, config.model, (data.train_length + bos, data.test_length + bos))
    except BadValue as error:
        group = "model" if error.key in {f.name for f in dataclasses.fields(config.model)} else "pe"
        raise (error if error.key == "pe" else error.under(group)) from error
