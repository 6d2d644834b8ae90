"""What `posgen encodings` says of one: its sizes, what its numbers need to be read, its features as a table or JSON."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cli.shared.encodings import Fitted
    from eval.evidence.figures.feature_gap import Features


def as_json(fitted: Fitted, features: Features | None) -> dict[str, Any]:
    """Numbers at full precision; None where there is none, or it is infinite."""
    return {
        "name": fitted.name,
        "head_dim": fitted.encoding.head_dim,
        "base": fitted.base,
        "train_length": fitted.train_length,
        "test_length": fitted.test_length,
        "factor": fitted.factor,
        "inv_freq": None if features is None else features.inv_freq.tolist(),
        "wavelengths": None if features is None else _finite(features.wavelengths.tolist()),
        "attention_factor": None if features is None else features.attention_factor,
        "critical_feature": None if features is None else features.critical,
        "feature_gap": None if features is None or features.gaps is None else _finite(features.gaps.tolist()),
    }


def _finite(numbers: list[float]) -> list[float | None]:
    return [number if isfinite(number) else None for number in numbers]


def sizes(fitted: Fitted) -> str:
    """Head dimension, base and lengths, in a line."""
    head = f"head_dim {fitted.encoding.head_dim}, base {fitted.base:g}, " if fitted.encoding.rotary else ""
    return f"{head}train_length {fitted.train_length}, test_length {fitted.test_length}"


def remarks(fitted: Fitted, features: Features | None) -> list[str]:
    """What the numbers need to be read, a line each."""
    from eval.evidence.figures.feature_gap import repetition_length
    from models.encodings import Rotary

    encoding = fitted.encoding
    if features is None or not isinstance(encoding, Rotary):
        gives = _gives(fitted)
        rotates = encoding.rotation(encoding.positions(1), 1) is not None
        without = "has no frequencies of its own and" if rotates else "does not rotate: no frequencies and"
        lines = [f"{fitted.name} {without} no feature gap; it gives the decoder {gives}"]
        return [*lines, *encoding.remarks()]
    count = len(features.inv_freq)
    critical = features.critical
    if critical is None:
        critical_line = f"critical feature none: all {count} features are pre-critical"
    elif critical == 0:
        critical_line = "critical feature 0: no feature is pre-critical"
    else:
        critical_line = f"critical feature {critical}: features 0 to {critical - 1} are pre-critical"
    lines = [f"attention factor {features.attention_factor:.8g}", critical_line]
    if encoding.resonance and critical != 0:
        period = repetition_length(features.wavelengths, fitted.train_length)
        shown = f"{period:,}" if period < 10**15 else f"{period:.4e}"
        lines.append(f"the pre-critical features together repeat after {shown} tokens")
    if not encoding.frequencies(fitted.train_length)[0].equal(encoding.frequencies(fitted.test_length)[0]):
        lines.append(f"the frequencies depend on the length: these are those of {fitted.test_length} tokens")
    lines += encoding.remarks()
    if encoding.gives("far"):
        lines.append("distances are remapped: positions have no feature gap")
    elif features.gaps is None:
        lines.append("training draws its positions at random: none is new, and there is no feature gap")
    elif fitted.train_length == fitted.test_length:
        lines.append("the test is no longer than the training: no position is new, and there is no feature gap")
    return lines


def _gives(fitted: Fitted) -> str:
    """What the decoder gets of an encoding that does not rotate."""
    from models.encodings import Encoding

    kind = type(fitted.encoding)
    parts = [
        word
        for word, overridden in (
            ("an attention bias", kind.bias is not Encoding.bias),
            ("an input embedding", kind.embedding is not Encoding.embedding),
            ("forget gates", kind.gates is not Encoding.gates),
        )
        if overridden
    ]
    weights = ", ".join(f"{name} {list(shape)}" for name, shape in fitted.weights.items())
    return (" and ".join(parts) or "nothing") + (f", and trains {weights}" if weights else "")


def feature_table(features: Features) -> str:
    """A row a feature."""
    from cli.shared.output import MISSING, table

    rows = []
    for j, (inv_freq, wavelength) in enumerate(zip(features.inv_freq, features.wavelengths, strict=True)):
        gap = None if features.gaps is None else _finite([features.gaps[j]])[0]
        rows.append([
            str(j), yes(wavelength < features.train_length), f"{inv_freq:.9g}", f"{wavelength:.9g}",
            MISSING if gap is None else f"{gap:.4g}",
        ])  # fmt: skip
    return table(["feature", "pre-critical", "inv_freq", "wavelength", "feature gap"], rows)


def yes(answer: object) -> str:
    """yes or no."""
    return "yes" if answer else "no"
