"""How an answer becomes a score: the rules of L-Eval's own scorer as named switches.

The preset `leval` scores as the authors' code does (auto_eval.py and em.py at cd34b050), oddities included; `strict`
reads answers as a person would. Written from their described behaviour and held against their scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from eval.measuring.llm.leval import parsing
from eval.measuring.llm.leval.tasks import LETTERS, Task
from posgen.errors import BadValue, UserError, nearest
from posgen.plain import plain


@dataclass(frozen=True)
class Scoring:
    """Each switch is a rule of the authors' scorer; False is the strict reading.

    task_in_file_name: a task is the first whose key occurs anywhere in the name of its predictions' file.
    whole_if_in_abcd: a response that stands in the text ABCD (`AB`, `BCD`) is the answer as it is.
    first_letter_anywhere: one choice is the first of the characters A to D, that of a word (`Answer: D`) included.
    default_a: an answer that has no letter counts as A.
    terminated_letters: several choices are the letters at the beginning, else those that a space . ) or ; follows,
        else the first letter: `A, B, C` is A.
    quarter_in_every_task: 0.25 for some of the right letters and no wrong one, whatever the task.
    signs_dropped, decimals_dropped: of numbers, so that -18 and 18.5 are 18.
    output_in_last_words: the output of a program is looked for in a few words, without spaces.
    truth_in_words: true or false within another word, such as untrue, counts.
    missing_fact_is_error: an answer to sci_fi without `[fact:` ends the scoring.
    """

    name: str = "leval"
    task_in_file_name: bool = True
    whole_if_in_abcd: bool = True
    first_letter_anywhere: bool = True
    default_a: bool = True
    terminated_letters: bool = True
    quarter_in_every_task: bool = True
    signs_dropped: bool = True
    decimals_dropped: bool = True
    output_in_last_words: bool = True
    truth_in_words: bool = True
    missing_fact_is_error: bool = True

    @property
    def switches(self) -> dict[str, bool]:
        """Without the name: what a record keeps, and what its digest is made of."""
        return {key: value for key, value in plain(self).items() if key != "name"}


_SWITCHES = [field.name for field in fields(Scoring) if field.name != "name"]
_STRICT: dict[str, Any] = {"name": "strict", **dict.fromkeys(_SWITCHES, False)}
PRESETS = {"leval": Scoring(), "strict": Scoring(**_STRICT)}


def preset(text: str) -> Scoring:
    """`leval`, `strict`, or one with switches overridden: `leval+default_a=false`. BadValue for what is unknown."""
    name, *changes = text.split("+")
    if name not in PRESETS:
        raise BadValue("scoring", name, nearest(name, PRESETS))
    scoring = PRESETS[name]
    for change in changes:
        key, _, value = change.partition("=")
        if key not in _SWITCHES:
            raise BadValue("scoring", key, nearest(key, _SWITCHES))
        if value not in ("true", "false"):
            raise BadValue(f"scoring.{key}", value, "use true or false")
        switched: dict[str, Any] = {key: value == "true"}
        scoring = replace(scoring, **switched)
    return replace(scoring, name="+".join([name, *sorted(set(changes))]))


@dataclass(frozen=True)
class Scored:
    """A question: what was read out of gold answer and prediction, one for each judgement, and their scores, 0 to 1."""

    gold: tuple[str, ...]
    prediction: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean of its judgements."""
        return sum(self.scores) / len(self.scores)


def score(task: Task, gold: str, prediction: str, rules: Scoring) -> Scored:
    """Score one prediction. UserError where the gold answer cannot be read, or the authors' scorer would crash."""
    if task.answer == "truth":
        return _truth(gold, prediction, rules)
    if task.answer == "number":
        if not any(map(str.isdigit, gold)):
            raise UserError(f"the gold answer {gold[:60]!r} has no number; restore the file")
        numbers = [parsing.number(text, rules.signs_dropped, rules.decimals_dropped) for text in (gold, prediction)]
        right = bool(numbers[0]) and bool(numbers[1]) and float(numbers[0]) == float(numbers[1])
        return Scored((numbers[0],), (numbers[1],), (float(right),))
    if task.answer == "output":
        return _output(gold, prediction, rules)
    read = parsing.letters if task.answer == "letters" else parsing.letter
    key, answer = (read(text, rules) for text in (gold, prediction))
    partial = task.answer == "letters" or rules.quarter_in_every_task
    return Scored((key,), (answer,), (_letters_score(key, answer, partial),))


def _letters_score(key: str, answer: str, partial: bool) -> float:
    if answer == key:
        return 1.0
    some = bool(key) and set(key) <= set(LETTERS) and bool(answer) and set(answer) <= set(key)
    return 0.25 if partial and some else 0.0


def _output(gold: str, prediction: str, rules: Scoring) -> Scored:
    if not rules.output_in_last_words:
        key, text = parsing.tidy_output(gold), parsing.tidy_output(prediction)
        return Scored((key,), (text,), (float(parsing.contains(text, key)),))
    key = parsing.bare_output(gold)
    answer = parsing.output_words(prediction, len(gold.split()))
    letters = parsing.normalised(key)
    if letters and set(letters) <= set(LETTERS):  # a word such as BAD is taken for four options
        result = _letters_score(letters, parsing.normalised(answer), rules.quarter_in_every_task)
    else:
        result = float(_same_output(key, answer))
    return Scored((key,), (answer,), (result,))


def _same_output(key: str, answer: str) -> bool:
    """Numbers by value; else whether the one text stands in the other, without spaces and in lower case."""
    try:
        return float(answer) == float(key)
    except ValueError:
        return key.lower().replace(" ", "") in answer.lower().replace(" ", "")


def _truth(gold: str, prediction: str, rules: Scoring) -> Scored:
    key = parsing.truths(gold, rules.truth_in_words)
    answer = parsing.truths(prediction, rules.truth_in_words)
    if key is None or parsing.NO_TRUTH in key:
        raise UserError(f"the gold answer {gold[:60]!r} is not of the form `True [fact: False]`; restore the file")
    if answer is None:
        if rules.missing_fact_is_error:
            raise UserError("the prediction has no `[fact: ...]`, and the authors' scorer ends with IndexError here; "
                            "use --scoring leval+missing_fact_is_error=false to count it as wrong")  # fmt: skip
        answer = (parsing.truth(prediction, rules.truth_in_words), parsing.NO_TRUTH)
    return Scored(key, answer, tuple(float(a == b) for a, b in zip(key, answer, strict=True)))


def constants(task: Task, golds: Sequence[str]) -> list[str]:
    """Answers that know nothing of a question: each letter, both truths, the most frequent gold answers."""
    if task.answer == "truth":
        return [f"{a} [fact: {b}]" for a in ("True", "False") for b in ("True", "False")]
    if task.answer in ("letter", "letters"):
        return list(LETTERS)
    return [gold for gold, _ in Counter(golds).most_common(5)]


def floor(task: Task, golds: Iterable[str], rules: Scoring) -> tuple[str, float]:
    """(the constant answer that scores best on these gold answers, its mean score)."""
    keys = list(golds)
    means = {c: sum(score(task, key, c, rules).score for key in keys) / len(keys) for c in constants(task, keys)}
    best = max(means, key=lambda answer: means[answer])
    return best, means[best]
