"""Losses on a text laid out: a table a protocol, the verdicts on the pairs, and every number as CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from conf import names
from conf.rules import VerdictRules
from eval.evidence.cells import Collection
from eval.evidence.figures.panels import labelled
from eval.evidence.losses.measured import BITS, Losses, LossTable
from eval.evidence.statistics import Summary, p_value, smallest_sign_flip
from eval.evidence.table import MISSING, Cell, Column, Document, Table, Value, Words, cells
from eval.evidence.table1 import provenance
from eval.evidence.verdict import words
from eval.evidence.verdict.judge import PairVerdict
from eval.evidence.verdict.tables import (
    difference_cell,
    number_column,
    outcome_cell,
    p_cell,
    share_cell,
    table_by_protocol,
)


def document(table: LossTable) -> Document:
    """A table a protocol, what the pairs prove, and what the numbers are."""
    parts = [of_protocol(table, protocol) for protocol in table.collection.protocols]
    return [*parts, *verdicts(table), Words(tuple(_notes(table.collection)), points=True)]


def of_protocol(table: LossTable, protocol: str) -> Table:
    """The losses of every encoding under one protocol."""
    columns = (
        Column("Encoding"),
        Column("ID loss", number=True, decimals=3),
        Column("OOD loss", number=True, decimals=3),
        Column("OOD bits/byte", number=True, decimals=3),
        Column("OOD - ID", number=True, decimals=3, signed=True),
        Column("at the end", number=True, decimals=3),
        Column("n", number=True),
    )
    rows = []
    for (_, pe), by_protocol in table.rows.items():
        losses = by_protocol[protocol]
        if losses.seeds or losses.diverged:
            rows.append((Cell(names.encoding(pe)), *_of_losses(losses)))
    caption = f"Loss in nats a byte, lower is better, profile {labelled(table.collection)}. Protocol "
    return Table(columns, tuple(rows), f"Text, protocol {protocol}", f"{caption}{names.protocol(protocol)}.")


def verdicts(table: LossTable) -> Document:
    """Resonance against its plain form, seed by seed."""
    if not table.pairs:
        return []
    rules = table.rules
    columns: dict[Column, Callable[[PairVerdict], Value | Cell]] = {
        Column("Encoding"): lambda pair: names.encoding(pair.pe),
        Column("Verdict"): outcome_cell,
        number_column(f"Difference\n[{rules.confidence:.0%}]"): lambda pair: difference_cell(pair.difference, 4),
        number_column("p"): lambda pair: p_cell(p_value(pair.difference)),
        number_column("p\nHolm"): lambda pair: p_cell(pair.p_adjusted),
        number_column("p\nsign flip"): lambda pair: p_cell(pair.sign_flip),
        number_column(f"Power\nat {rules.effect_nats:g}"): lambda pair: share_cell(pair.power),
        number_column("n"): lambda pair: len(pair.seeds),
    }
    title = "Pairs on the text: Resonance - counterpart, nats of OOD loss"
    return [table_by_protocol(title, table.pairs, columns, *_how_judged(table.pairs, rules))]


def _how_judged(pairs: tuple[PairVerdict, ...], rules: VerdictRules) -> Iterator[str]:
    yield (
        "Below 0 Resonance has the lower loss. Paired by seed; the verdict is that of the paired t test at level "
        f"{rules.alpha:g} after Holm's adjustment over the pairs of a protocol. Power: the probability of finding a "
        f"true difference of {rules.effect_nats:g} nats, a lower bound. Undecided does not mean equal."
    )
    fewest = min((len(pair.seeds) for pair in pairs if pair.seeds), default=0)
    if fewest and smallest_sign_flip(fewest) > rules.alpha:
        yield (
            f"With {fewest} seed{'s' * (fewest > 1)} the sign-flip test, which assumes no normal differences, gives no "
            f"p below {smallest_sign_flip(fewest):.3g}: it shows the spread and decides nothing."
        )
    diverged = [f"{names.encoding(p.pe)} under {p.protocol}" for p in pairs if p.diverged]
    if diverged:
        yield f"Seeds that diverged are left out of {', '.join(diverged)}."


def _of_losses(losses: Losses) -> list[Cell]:
    ood = losses.ood
    return [
        _with_spread(losses.id),
        _with_spread(ood, strong=losses.best),
        Cell(None if ood is None else ood.mean * BITS),
        _with_spread(losses.gap, signed=True),
        Cell(losses.end.mean if losses.end else None),
        Cell(len(losses.seeds), losses.n_text),
    ]


def _with_spread(over: Summary | None, strong: bool = False, signed: bool = False) -> Cell:
    if over is None:
        return Cell(None, MISSING)
    spread = "" if math.isnan(over.std) else f" ± {over.std:.3f}"
    return Cell(over.mean, f"{over.mean:{'+' if signed else ''}.3f}{spread}", strong)


def _notes(collection: Collection) -> Iterator[str]:
    record = next(collection.records())
    task, data = record.training.task, record.training.data
    L, longest, windows = data.train_length, data.test_length, data.test_size
    yield (
        f"ID = positions {task.prefix_length} to {L - 1}, OOD = {L} to {longest - 1}, at the end = the last {L}, all "
        f"in the same {windows} windows of {longest:,} bytes from documents that no training saw. Checkpoint "
        f"{record.selection}. ± is the sample standard deviation over seeds; OOD - ID is taken within each seed. Bold "
        "(starred in a terminal): the lower of an encoding and its Resonance form, both when equal to three decimals."
    )
    yield (
        f"A uniform guess costs {math.log(task.modulus):.3f} nats, 8 bits a byte. A longer context makes bytes easier "
        "to predict: an encoding that uses it has OOD - ID below 0. Dynamic NTK and LongRoPE follow the length of the "
        "sequence, so that under them the ID positions are measured with the table of the whole window."
    )
    seeds = sorted({record.seed for record in collection.records()})
    yield (
        f"Corpus {task.texts[:12]}. Seeds: {', '.join(map(str, seeds))}. Nothing of this is published. Generated by "
        f"{provenance(collection)}."
    )


def numbers(table: LossTable) -> Table:
    """A row an encoding and protocol, with the difference of its pair where it is a Resonance form: losses.csv."""
    pairs = {(pair.protocol, pair.task, pair.pe): pair for pair in table.pairs}
    keys = (
        "profile", "profile_label", "protocol", "task", "pe", "id_loss", "id_loss_std", "ood_loss", "ood_loss_std",
        "ood_bits_per_byte", "ood_minus_id", "ood_minus_id_std", "end_loss", "n", "seeds", "diverged_seeds",
        "best_of_pair", "verdict", "difference", "low", "high", "p", "p_holm", "p_sign_flip", "power_effect",
    )  # fmt: skip
    rows = []
    for (task, pe), by_protocol in table.rows.items():
        for protocol, losses in by_protocol.items():
            line: dict[str, Value] = {
                "profile": table.collection.profile, "profile_label": table.collection.label, "protocol": protocol,
                "task": task, "pe": pe, **_mean_and_std("id_loss", losses.id), **_mean_and_std("ood_loss", losses.ood),
                "ood_bits_per_byte": losses.ood.mean * BITS if losses.ood else None,
                **_mean_and_std("ood_minus_id", losses.gap), "end_loss": losses.end.mean if losses.end else None,
                "n": len(losses.seeds), "seeds": " ".join(map(str, losses.seeds)),
                "diverged_seeds": " ".join(map(str, losses.diverged)), "best_of_pair": losses.best,
                **_of_pair(pairs.get((protocol, task, pe))),
            }  # fmt: skip
            rows.append(cells(*map(line.get, keys)))
    return Table(tuple(map(Column, keys)), tuple(rows))


def _mean_and_std(key: str, over: Summary | None) -> dict[str, Value]:
    return {key: over.mean, f"{key}_std": over.std} if over else {}


def _of_pair(pair: PairVerdict | None) -> dict[str, Value]:
    if pair is None or pair.difference is None:
        return {}
    difference = pair.difference
    return {
        "verdict": words.with_diverged(pair.outcome, pair.diverged), "difference": difference.mean,
        "low": difference.low, "high": difference.high, "p": difference.p, "p_holm": pair.p_adjusted,
        "p_sign_flip": pair.sign_flip, "power_effect": pair.power,
    }  # fmt: skip
