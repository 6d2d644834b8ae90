"""What theory needs to know of a task and an encoding to predict whether it holds beyond L: computed, not listed.

Facts (names as conf.league.FACTS): `far_moves`: answers need a far token that is at no fixed distance and no fixed
place. Of the encoding: `absolute` (adds a vector to the tokens), `bias` (on the attention), `no_position` (neither, and
it does not rotate), `draws_positions` (while training). Of a rotary one `rotary`, `trained_distances` (a window, or
remapped distances, keep all rotated pairs as near as those in training), and otherwise, by its tables in training and
test: `post_critical_unseen` (a feature whose wavelength in training is at least L takes an angle farther from all
trained ones than two positions are apart, beyond their range), `gap` (a faster feature takes one that is not trained),
or `no_gap` (neither).
"""

from __future__ import annotations

import numpy as np

from eval.evidence.figures.feature_gap import draws_positions, gaps_between, wavelengths
from eval.store.kinds import AccuracyRecord
from models.encodings import Rotary, build
from models.encodings.base import Encoding
from models.encodings.remapped import Remapped
from models.spec import EncodingSpec
from posgen.answers import scored_positions
from posgen.errors import UserError
from posgen.own_code import refuse_untrusted
from posgen.plain import restore
from posgen.rules import dependencies
from posgen.spec import Answers, DataSpec, Task

_KNOWN: dict[tuple[object, ...], frozenset[str]] = {}


def facts_of(record: AccuracyRecord, gap: float) -> frozenset[str] | None:
    """Of a record's task, and of its encoding in training and test; None where these need code that nobody named.
    `gap`: how far from all trained angles one counts as new."""
    try:
        trained = restore(EncodingSpec, record.training.config["train_encoding"])
        refuse_untrusted((trained.kind, trained.scaling), f"the record of run {record.run_id}")
        model, bos = record.training.model, int(record.training.model.bos)
        built = [build(spec, model.head_dim) for spec in (trained, record.spec)]
    except (UserError, KeyError, TypeError, ValueError):
        return None
    data = record.training.data
    lengths = (data.train_length + bos, data.test_length + bos)
    # By what they are and not by the encodings themselves: a user's own may hold what cannot be a key.
    key = (trained.key, record.spec.key, model.head_dim, lengths, gap)
    if key not in _KNOWN:
        _KNOWN[key] = _of_encoding(built[0], built[1], lengths, gap)
    return frozenset({*_of_task(record.training.task, data), *_KNOWN[key]})


def _of_task(task: Task, data: DataSpec) -> set[str]:
    """Fed back, the answer follows from near tokens (docs/audit.md): there the far token's place does not matter."""
    if task.answers is Answers.fed_back or not task.far:
        return set()
    asked = [(position, dependencies(task, position)[0]) for position in scored_positions(task, data.test_length)]
    distances = {position - far[0] for position, far in asked if far}
    places = {far[0] for _, far in asked if far}
    return {"far_moves"} if len(distances) > 1 and len(places) > 1 else set()


def _of_encoding(trained: Encoding, tested: Encoding, lengths: tuple[int, int], gap: float) -> frozenset[str]:
    if not isinstance(trained, Rotary) or not isinstance(tested, Rotary):
        kind = type(tested)
        given = {
            "absolute": kind.embedding is not Encoding.embedding,
            "bias": tested.gives("bias", "gates"),
            "rotary": kind.rotary,
        }
        return frozenset({name for name, there in given.items() if there} or {"no_position"})
    if draws_positions(trained, lengths[0]):
        return frozenset({"rotary", "draws_positions"})
    if _as_near_as_in_training(tested, lengths):
        return frozenset({"rotary", "trained_distances"})
    widest = gaps_between(trained, lengths[0], tested, lengths[1])
    slow = wavelengths(trained, lengths[0]) >= lengths[0]
    step = 2 * np.sin(trained.frequencies(lengths[0])[0].double().numpy() / 2)  # between two trained positions
    unseen, between = (slow & (widest > step + gap)).any(), (~slow & (widest > gap)).any()
    facts = {"post_critical_unseen": unseen, "gap": between, "no_gap": not (unseen or between)}
    return frozenset({"rotary", *(name for name, there in facts.items() if there)})


def _as_near_as_in_training(tested: Rotary, lengths: tuple[int, int]) -> bool:
    """Whether no query is rotated against a key farther away than in training. `lengths` count the BOS, and the last
    token, which is predicted and never read."""
    trained, read = (length - 1 for length in lengths)  # distances in training: 0 to trained - 1
    if isinstance(tested, Remapped):
        at = tested.positions(read)
        distances = tested.query_positions(at)[-1] - tested.key_positions(at)[: -tested.window]
        return tested.window <= trained and float(distances.max()) <= trained - 1
    layers = tested.layers()
    return layers is not None and layers.window is not None and layers.window <= trained
