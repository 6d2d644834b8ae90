"""Which measurements `posgen lengths` asks for: finished members at long lengths, scaled encodings under several s.

An encoding is scaled for a test length by the protocol's own rule (conf/pe with that length), and only where that rule
gives back what the member was tested with: parameters that were set by hand say nothing about other lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from conf.compose import Choice, composer
from conf.overrides import choices
from conf.rules import LengthRules
from conf.schema import Config
from eval.evidence.cells import Collection
from eval.evidence.lengths.measuring import Measurement, longest, same_at_every_length
from eval.store.kinds import AccuracyRecord
from models.encodings import build
from models.encodings.build import stretches
from models.spec import EncodingSpec
from posgen.errors import UserError
from posgen.plain import plain

Make = Callable[[Choice, Sequence[str]], Config]


@dataclass
class LengthsPlan:
    """What is to be measured, and what cannot be, a line each."""

    measurements: list[Measurement] = field(default_factory=list)
    remarks: dict[str, None] = field(default_factory=dict)


def plan_lengths(collection: Collection, rules: LengthRules) -> LengthsPlan:
    """The measurements of the finished members of a collection; each once, whatever protocols it serves."""
    by_place: dict[tuple[str, str, int], Measurement] = {}
    plan = LengthsPlan()
    with composer() as make:
        fits = _Fits(make, rules, plan)
        for (protocol, _, _), cell in collection.cells.items():
            for record in cell.finished:
                for measurement in fits.measurements(protocol, record):
                    place = (record.run_id, measurement.spec.key, measurement.length)
                    known = by_place.setdefault(place, measurement)
                    if protocol not in known.protocols or known.ends != measurement.ends:
                        both = dict.fromkeys((*known.protocols, protocol))
                        ends = sorted({*known.ends, *measurement.ends})
                        by_place[place] = replace(known, protocols=tuple(both), ends=tuple(ends))
    plan.measurements = list(by_place.values())
    return plan


class _Fits:
    """Encodings scaled for other lengths, each composed and looked at once."""

    def __init__(self, make: Make, rules: LengthRules, plan: LengthsPlan) -> None:
        self.make, self.rules, self.plan = make, rules, plan
        self._scaled: dict[tuple[str, ...], EncodingSpec] = {}
        self._looked: dict[tuple[str, str], tuple[list[int], bool]] = {}

    def measurements(self, protocol: str, record: AccuracyRecord) -> Iterator[Measurement]:
        """Those of one member under one protocol."""
        data, tested = record.training.data, record.spec
        forms: dict[int | None, tuple[EncodingSpec, list[int]]] = {None: (tested, self.rules.lengths)}
        if stretches(tested) and self._follows(record):
            fixed = {data.test_length, *(round(s * data.train_length) for s in self.rules.factors)}
            fitted = {n for n in self.rules.lengths if n >= data.train_length}
            scaled = {n: (self._at(record, n), self.rules.lengths if n in fixed else [n]) for n in fixed | fitted}
            # ReRoPE stretches, but has nothing that follows the test length.
            if any(spec.key != tested.key for spec, _ in scaled.values()):
                forms = {n: scaled[n] for n in sorted(scaled)}
        for fitted_to, (spec, lengths) in forms.items():
            yield from self._of(protocol, record, spec, lengths, fitted_to)

    def _of(
        self, protocol: str, record: AccuracyRecord, spec: EncodingSpec, lengths: list[int], fitted_to: int | None
    ) -> Iterator[Measurement]:
        possible, whole = self._look(record, spec, lengths)
        if whole and possible:
            yield Measurement(record, (protocol,), spec, possible[-1], tuple(possible), len(lengths) > 1, fitted_to)
        elif possible:
            for n in possible:
                yield Measurement(record, (protocol,), spec, n, (n,), False, fitted_to)

    def _look(self, record: AccuracyRecord, spec: EncodingSpec, lengths: list[int]) -> tuple[list[int], bool]:
        """(lengths at which the encoding can be measured, whether the longest of them shows the others)."""
        model = record.training.model
        place = (spec.key, repr((plain(model), lengths)))
        if place not in self._looked:
            encoding = build(spec, model.head_dim)
            possible, why = longest(encoding, model, lengths)
            if why:
                reached = f"up to {possible[-1]} tokens" if possible else "at none of these lengths"
                self.plan.remarks[f"{spec.name} is measured {reached}: {why}"] = None
            self._looked[place] = possible, bool(possible) and same_at_every_length(encoding, model, possible)
        return self._looked[place]

    def _follows(self, record: AccuracyRecord) -> bool:
        """Whether conf/pe gives the encoding that the member was tested with."""
        test_length = record.training.data.test_length
        if record.pe in choices("pe") and self._at(record, test_length).key == record.spec.key:
            return True
        self.plan.remarks[
            f"{record.spec.name} is measured as it was tested only: its parameters were set by hand, and no rule "
            "scales it for other lengths"
        ] = None
        return False

    def _at(self, record: AccuracyRecord, test_length: int) -> EncodingSpec:
        """The encoding of a record as its protocol scales it for a test length."""
        if record.protocol is None:
            raise UserError(f"run {record.run_id}: its record does not hold its protocol; sweep again")
        settings = [
            f"data.train_length={record.train_length}", f"data.test_length={test_length}",
            f"model.bos={_word(record.training.model.bos)}", f"pe.base={record.spec.base}",
            *(f"protocol.{name}={_word(value)}" for name, value in record.protocol.items() if name != "name"),
        ]  # fmt: skip
        place = (record.pe, *settings)
        if place not in self._scaled:
            self._scaled[place] = self.make(Choice(pe=record.pe, protocol="paper"), settings).pe
        return self._scaled[place]


def _word(value: object) -> str:
    """A switch's value in Hydra's grammar."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
