"""What is read out of an answer: letters, a number, a program's output, true or false."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from eval.measuring.llm.leval.tasks import LETTERS

if TYPE_CHECKING:
    from eval.measuring.llm.leval.scoring import Scoring

EMPTY = "None"
"""What an answer without any text is read as."""
NO_TRUTH = "<error>"
"""What an answer without true and false is read as."""
_LEADING = re.compile(f"[{LETTERS}]{{2,}}")
_TERMINATED = re.compile(f"[{LETTERS}](?=[ .);])")
# A letter by itself, as a person reads it: not the article in "A long time".
_STANDING = re.compile(rf"(?<![A-Za-z])([{LETTERS}])(?=$|[\s]*[.,:;)\n&/]|\s+(?:and|or)\b|\s*$)", re.MULTILINE)
_TOGETHER = re.compile(rf"(?<![A-Za-z])([{LETTERS}]{{2,4}})(?![A-Za-z])")
_AFTER = re.compile(r"(?i)\banswers?\b(?:\s+(?:is|are))?\s*:?\s*")
_ANSWER_IS = re.compile(r"The answer is (\S+)")
_NUMBER = re.compile(r"[-−]?\s?\$?\d[\d,]*(?:\.\d+)?")
# What the authors' scorer strikes out, wherever it stands: also the `is` of `list`.
_FILLERS = ("will be", "of the code", "is", "would be", "the value of", "the result of", "printed")
_BETWEEN_BRACKETS = re.compile(r"(?<=\]) (?=[\[\]])|(?<=\[) (?=\[)")
_FINAL = "the final output"


def letter(text: str, rules: Scoring) -> str:
    """The one choice of an answer."""
    if not text.strip():
        return EMPTY
    if rules.whole_if_in_abcd and text.strip() in LETTERS:
        return text.strip()
    if rules.first_letter_anywhere:
        chosen = _first(text)
    else:
        standing = _standing(text)
        chosen = standing[0] if standing else ""
    return chosen or ("A" if rules.default_a else EMPTY)


def letters(text: str, rules: Scoring) -> str:
    """All choices of an answer, in alphabetical order."""
    if not text.strip():
        return EMPTY
    if rules.whole_if_in_abcd and text.strip() in LETTERS:
        return text.strip()
    if not rules.terminated_letters:
        chosen = _standing(text)
    elif leading := _LEADING.match(text.strip()):
        chosen = leading.group()
    else:
        chosen = "".join(_TERMINATED.findall(text.split("Question")[0])) or _first(text)
    return "".join(sorted(set(chosen))) or ("A" if rules.default_a else EMPTY)


def _first(text: str) -> str:
    return next((character for character in text if character in LETTERS), "")


def _standing(text: str) -> str:
    """Letters that stand by themselves, after the word `answer` where it is there, in the first line that has some."""
    after = _AFTER.search(text)
    for line in (text[after.end() :] if after else text).splitlines():
        together = _TOGETHER.search(line)
        if together:
            return together.group(1)
        if single := _STANDING.findall(line):
            return "".join(single)
    return ""


def number(text: str, signs_dropped: bool, decimals_dropped: bool) -> str:
    """The number of an answer, as digits; empty without one.

    The word after `The answer is`, or else the last with a digit in the first paragraph. Where signs and decimals
    count, the first number after `the answer is`, or else the last one.
    """
    if not (signs_dropped and decimals_dropped):
        return _whole_number(text, signs_dropped, decimals_dropped)
    stated = _ANSWER_IS.search(text)
    if stated:
        word = stated.group(1)
    else:
        words = [word for word in text.split("\n\n")[0].split() if any(map(_is_digit, word))]
        word = words[-1] if words else ""
    return "".join(filter(_is_digit, word.split(".")[0]))


def _is_digit(character: str) -> bool:
    return "0" <= character <= "9"


def _whole_number(text: str, unsigned: bool, whole: bool) -> str:
    after = re.search(r"(?i)the answer is\s*:?", text)
    numbers = _NUMBER.findall(text[after.end() :] if after else text)
    if not numbers:
        return ""
    digits = re.sub(r"[\s$,]", "", numbers[0 if after else -1]).replace("−", "-")
    if unsigned:
        digits = digits.lstrip("-")
    return digits.split(".")[0] if whole else digits


def bare_output(text: str) -> str:
    """A program's output without commas, single quotes, backslashes and `.0`, one space at most between words and none
    between brackets."""
    bare = re.sub(r"[,'\\]", "", re.sub(r"\s+", " ", text)).replace(".0", "")
    return _BETWEEN_BRACKETS.sub("", bare)


def output_words(text: str, words: int) -> str:
    """The `words` + 3 words of an answer in which a program's output is looked for: the first after the last `the final
    output` where that is there, else the last; without filler words."""
    bare = bare_output(text)
    for filler in _FILLERS:
        bare = bare.replace(filler, "")
    _, said, after = bare.rpartition(_FINAL)
    parts = re.split(r"\s+", after if said else bare)
    return " ".join(parts[: words + 3] if said else parts[-(words + 3) :])


def normalised(text: str) -> str:
    """Without punctuation and the articles a, an and the; words one space apart."""
    unmarked = "".join(character for character in text if character not in string.punctuation)
    return " ".join(word for word in unmarked.split() if word not in ("a", "an", "the"))


def tidy_output(text: str) -> str:
    """A program's output without quotes and backslashes; commas are spaces (gold answers have none), of which there is
    one between words and none at the inside of brackets."""
    words = " ".join(re.sub(r"[,]", " ", re.sub(r"['\"\\`]", "", text)).split())
    return re.sub(r"(?<=[\[({]) | (?=[\])}])|(?<=\]) (?=\[)", "", words)


def contains(text: str, part: str) -> bool:
    """Whether the part stands in the text and no number or word goes on before or after it."""
    return bool(part) and re.search(rf"(?<![\w.\-]){re.escape(part)}(?![\w]|\.\d)", text) is not None


def truths(text: str, within_words: bool) -> tuple[str, str] | None:
    """(true or false by the document, by the facts) of `X [fact: Y]`; None without the second."""
    loyalty, fact, rest = text.lower().partition("[fact:")
    return (truth(loyalty, within_words), truth(rest, within_words)) if fact else None


def truth(text: str, within_words: bool) -> str:
    """`true` or `false` by the first word that says either, or `NO_TRUTH`."""
    for word in text.lower().split():
        for value in ("true", "false"):
            if value in word if within_words else re.fullmatch(rf"\W*{value}\W*", word.partition("<")[0]):
                return value
    return NO_TRUTH
