"""The book's look: one size, one style, one color and one marker per method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from companion.measure.tables import AWARE, BLIND

SIZE = (6.4, 3.6)  # inches
DPI = 100  # shown; stored at twice that
COLORS = 96
STYLE: Any = {
    "figure.figsize": SIZE,
    "figure.dpi": DPI,
    "savefig.dpi": 2 * DPI,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "axes.facecolor": "white",
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws alike
    "font.size": 10,
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "xtick.color": "#222222",
    "ytick.color": "#222222",
    "lines.linewidth": 1.8,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.7,
    "svg.hashsalt": "companion",
}


class Look(NamedTuple):
    """How one method looks in every figure."""

    color: str
    marker: str

    @property
    def size(self) -> float:
        """A marker size, in points, at which all markers look equally large."""
        return {"*": 11.0, "P": 8.5, "X": 8.5, "p": 8.5, "h": 8.5, "D": 6.5}.get(self.marker, 7.5)

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of a line and its markers."""
        return {"color": self.color, "marker": self.marker, "markersize": self.size}


LOOKS = {
    "base model": Look("#626262", "o"),
    "n-gram": Look("#A5A76A", "X"),
    "unigram cache": Look("#E59014", "v"),
    "bigram cache": Look("#57230E", "^"),
    "user embedding": Look("#33AAEB", "s"),
    "fine-tuning": Look("#B63900", "D"),
    "user head": Look("#00B6B8", "P"),
    "hypernetwork": Look("#980088", "p"),
    "user memory": Look("#2008A0", ">"),
    "meta-learning": Look("#2880F8", "h"),
    "combination": Look("#0800F8", "*"),
}
"""Colors found by search: any two stay apart (CIE76 distance of 27 or more) for normal vision,
protanopia and deuteranopia, and each stands out from white (contrast of 2.5 or more)."""

OTHER = Look("#000000", "o")
HURT = "#000000"
BOUNDS = {BLIND: ("#777777", (0, (5, 2))), AWARE: ("#000000", (0, (2, 1.5)))}  # color, dashes


def look(name: str) -> Look:
    """The look of a method: of the last one named in `name`, so that mixtures can be told apart.

    ``"base model + unigram cache"`` looks like the unigram cache; a name that names no method of
    the book is black.
    """
    lowered = name.lower()
    found = {lowered.rfind(method): method for method in LOOKS if method in lowered}
    return LOOKS[found[max(found)]] if found else OTHER


@contextmanager
def style() -> Iterator[None]:
    """Give the book's look to the plots made inside ``with style():``."""
    with mpl.rc_context(STYLE):
        yield


def apply() -> None:
    """Give the book's look to all plots from here on; in a notebook, store them crisp and small."""
    mpl.rcParams.update(STYLE)
    if "inline" in mpl.get_backend():
        from IPython import get_ipython
        from matplotlib_inline import backend_inline  # noqa: F401  sets its own formatter up first

        get_ipython().display_formatter.formatters["image/png"].for_type(Figure, _stored)


def png(figure: Figure) -> bytes:
    """The figure as it is stored: opaque, at twice the size shown, with few colors.

    Few colors make the file half as large, or less, and no difference to the eye.
    """
    full, small = BytesIO(), BytesIO()
    with style():
        figure.savefig(full, format="png", dpi=2 * DPI)
    colors = Image.open(full).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    colors.save(small, format="png", optimize=True)
    return small.getvalue()


def _stored(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """What a notebook keeps of a figure: the picture, and the size to show it at in pixels."""
    width, height = figure.get_size_inches() * DPI
    return png(figure), {"width": round(width), "height": round(height)}


def canvas(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """An empty figure in the book's look, as wide as all, `height` inches high."""
    with style():
        return plt.subplots(figsize=(SIZE[0], height))


def log_messages(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis of message counts, in plain numbers; from 0 where there is a 0."""
    values = np.unique(values)
    if values[0] == 0:
        axes.set_xscale("symlog", linthresh=values[1] if len(values) > 1 else 1, linscale=0.5)
        ticks = values
    else:
        axes.set_xscale("log")
        ticks = np.array([m * 10**e for e in range(7) for m in (1, 2, 5)])
        ticks = ticks[(ticks >= values[0]) & (ticks <= values[-1])]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
