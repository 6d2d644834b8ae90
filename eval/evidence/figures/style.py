"""What the figures share: colours and dashes, sizes of type, and how a figure becomes the bytes of a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe-Ito colours, which every kind of colour vision tells apart (but for their yellow, which white paper swallows: a
# wine red of Paul Tol's instead). In grey print the dashes tell the pairs apart, and within a pair the Resonance curve
# is the darker one.
_STYLES: dict[str, tuple[str, Any]] = {
    "rope": ("#E69F00", (0, (1, 1))),
    "resonance_rope": ("#D55E00", "-"),
    "yarn": ("#56B4E9", (0, (4, 1.2, 1, 1.2))),
    "resonance_yarn": ("#0072B2", (0, (5, 1.5))),
}
_SPARE_COLOURS = ("#009E73", "#CC79A7", "#000000", "#882255")
_SPARE_DASHES = ("-", "--", ":", "-.")
FONT, SMALL = 9.0, 7.5  # points
DPI = 300  # for print
SCREEN_DPI = 160
LEAST_DPI = 100
PNG_BYTES = 200_000
"""A picture stays below this, so that a repository can hold many."""
FORMATS = ("png", "svg", "pdf")
GUIDE: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "linestyle": (0, (2, 2)), "zorder": 1}
"""For lines that are no data: a length, chance, a threshold."""
# Letters are not equally wide in all resolutions: the layout is made in that of most files.
SETTINGS: Any = {
    "font.size": FONT,
    "font.family": "DejaVu Sans",
    "axes.linewidth": 0.6,
    "axes.titlesize": FONT,
    "figure.dpi": SCREEN_DPI,
}
"""For `matplotlib.rc_context`, around everything that is drawn."""


def styles(encodings: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Name -> (colour, dashes): those of the paper's four are fixed, up to sixteen others differ from each other."""
    named = list(dict.fromkeys(encodings))
    others = [name for name in named if name not in _STYLES]
    count = len(_SPARE_COLOURS)
    spare = {
        name: (_SPARE_COLOURS[i % count], _SPARE_DASHES[(i + i // count) % len(_SPARE_DASHES)])
        for i, name in enumerate(others)
    }
    return {name: _STYLES.get(name) or spare[name] for name in named}


# Of encodings that go in pairs; black for what has no scaling.
_PAIR_COLOURS = ("#000000", "#E69F00", "#009E73", "#56B4E9", "#0072B2", "#CC79A7", "#D55E00", "#882255")


def pair_styles(encodings: Sequence[str], plain_of: Callable[[str], str]) -> dict[str, tuple[str, Any]]:
    """Name -> (colour, dashes): the two of a pair have one colour, the plain one is solid and the other dashed. Eight
    pairs differ from each other; `plain_of` names the plain one of an encoding."""
    plains = list(dict.fromkeys(map(plain_of, encodings)))
    colours = {plain: _PAIR_COLOURS[index % len(_PAIR_COLOURS)] for index, plain in enumerate(plains)}
    return {name: (colours[plain_of(name)], "-" if plain_of(name) == name else (0, (4, 1.6))) for name in encodings}


def bare(panel: Axes) -> None:
    """A panel with thin ticks, a faint grid and no frame above and to the right."""
    panel.tick_params(width=0.6, length=2.5)
    panel.grid(color="0.92", linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)


def settle(figure: Figure) -> None:
    """Lay the figure out once, not again for every file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def render(figure: Figure, suffix: str, dpi: int = DPI) -> bytes:
    """The figure as `png` (`dpi` dots an inch, fewer where the file would pass PNG_BYTES), `pdf` or `svg`. Equal
    figures always give equal bytes: no time in them, and in an SVG no names drawn at random."""
    import matplotlib

    metadata = {"pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}}.get(suffix)
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "posgen"}):
        while True:
            out = io.BytesIO()
            figure.savefig(out, format=suffix, dpi=dpi, metadata=metadata)
            data = out.getvalue() if suffix != "png" else compact(out.getvalue())
            if suffix != "png" or len(data) <= PNG_BYTES or dpi <= LEAST_DPI:
                return data
            dpi = max(LEAST_DPI, dpi * 4 // 5)


def compact(png: bytes) -> bytes:
    """A PNG of 256 colours: the most frequent ones, then those that the others stand for worst, so that a dotted line
    in a legend keeps its own. Only the smoothing of edges is coarser. A third of the size."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        dpi, pixels = image.info.get("dpi"), np.asarray(image.convert("RGB"), dtype=np.int64)
    codes = (pixels << np.array([16, 8, 0])).sum(-1)
    colours, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    rgb = (colours[:, None] >> np.array([16, 8, 0])) & 255
    chosen = np.argsort(-counts, kind="stable")[:128].tolist()
    squares = (rgb**2).sum(1)
    distance = (squares[:, None] + squares[chosen] - 2 * rgb @ rgb[chosen].T).min(1)
    while len(chosen) < 256 and distance.any():
        chosen.append(int((counts * distance).argmax()))
        distance = np.minimum(distance, ((rgb - rgb[chosen[-1]]) ** 2).sum(1))
    kept = rgb[np.sort(chosen)]
    # Squared distance less |a|^2, which is the same for every candidate.
    nearest = ((kept**2).sum(1) - 2 * rgb @ kept.T).argmin(1)
    indexed = Image.fromarray(nearest[places].reshape(codes.shape).astype(np.uint8), mode="P")
    indexed.putpalette(kept.astype(np.uint8).tobytes())
    out = io.BytesIO()
    indexed.save(out, "PNG", optimize=True, **({"dpi": dpi} if dpi else {}))
    return out.getvalue()
