"""Learning curves from records alone: how each training went by epoch, mean over seeds, lowest and highest seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval import names
from eval.cells import Collection
from eval.figures import bands
from eval.figures.bands import Series, seeds_text, series
from eval.figures.panels import differs, labelled
from eval.records import Record


@dataclass(frozen=True)
class Quantity:
    """A number that every row of a history has: what readers call it, and by how much it is multiplied for them."""

    key: str
    title: str
    scale: float


QUANTITIES = (
    Quantity("train_loss", "training loss (nats)", 1.0),
    Quantity("validation_loss", "validation loss (nats)", 1.0),
    Quantity("validation_id_accuracy", "ID accuracy (%)", 100.0),
    Quantity("validation_ood_accuracy", "OOD accuracy (%)", 100.0),
)


@dataclass(frozen=True)
class Learning:
    """A protocol's series, quantity by quantity: `series[quantity.key]` has one for every (task, pe), in order."""

    protocol: str
    series: dict[str, list[Series]]

    def every(self) -> Iterator[Series]:
        """All series of all quantities."""
        for found in self.series.values():
            yield from found


def rows(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> Learning:
    """The learning curves of a protocol: every published (task, pe), then any other that was measured."""
    places = collection.rows(published)
    found = {
        quantity.key: [_series(collection, (protocol, *place), quantity.key) for place in places]
        for quantity in QUANTITIES
    }
    return Learning(protocol, found)


def caption(collection: Collection, found: Learning) -> str:
    """What belongs under the picture of one protocol."""
    return (
        "Learning curves by epoch: loss on the training tokens (mean over the epoch); loss on the validation sequences "
        "over all generated tokens at the test length; validation accuracy within the training length (ID) and beyond "
        f"(OOD). Protocol {names.protocol(found.protocol)}; encodings that share a training share its training loss. "
        f"Profile {labelled(collection)}, {seeds_text(found.every())}: line = mean, band = lowest to highest seed. "
        f"{differs(collection)}"
    )


def tidy_csv(found: Learning) -> str:
    """The numbers behind the picture: one line a protocol, task, encoding, quantity and epoch; losses in nats,
    accuracies as fractions."""
    lines = (((key,), one) for key, several in found.series.items() for one in several)
    return bands.tidy_csv(("quantity", "epoch"), lines)


def _series(collection: Collection, place: tuple[str, str, str], key: str) -> Series:
    def by_epoch(record: Record) -> dict[int, float]:
        return {row["epoch"]: row[key] for row in record["history"] if row.get(key) is not None}

    return series(Series, place, collection.cell(*place), by_epoch)
