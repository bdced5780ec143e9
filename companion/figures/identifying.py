"""Plots of beliefs about who is typing: how often they are right, and whether as often as sure.

They are offered by :mod:`companion.figures`, as all plots of the book are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from companion.measure.tables import AWARE, BLIND

from .looks import BOUNDS, OTHER, Look, canvas, log_messages, look, style

EXACT = "exact posterior"
GRAYS = (Look("#555555", "^"), Look("#999999", "v"), Look("#777777", "s"), Look("#BBBBBB", "o"))
SMALLEST, LARGEST = 14.0, 420.0  # areas of markers that stand for no beliefs, and for all of them


@style()
def naming(curves: Mapping[str, pd.Series], xlabel: str = "messages read") -> tuple[Figure, Axes]:
    """How often the right user is named, against how many messages were read.

    Parameters
    ----------
    curves : mapping of str to pandas.Series
        Accuracies in percent, indexed by messages. ``"exact posterior"`` is dashed, as bounds are;
        a method of the book has its look, its variants and everything else are shades of gray.
    """
    figure, axes = canvas()
    for (name, curve), line in zip(curves.items(), _lines(curves), strict=True):
        axes.plot(curve.index, curve, label=name, **line)
    log_messages(axes, np.concatenate([curve.index for curve in curves.values()]))
    axes.set_ylim(bottom=0)
    axes.set(xlabel=xlabel, ylabel="users named correctly (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure, axes


@style()
def reliability(tables: Mapping[str, pd.DataFrame]) -> tuple[Figure, Axes]:
    """How often beliefs are right against how sure they are: calibrated ones lie on the diagonal.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        From :func:`companion.measure.reliability`. A marker's area grows with the share of the
        beliefs that it stands for. Names decide the look as in :func:`naming`.
    """
    figure, axes = canvas(height=4.0)
    color, dashes = BOUNDS[BLIND]
    axes.plot([0, 100], [0, 100], color=color, linestyle=dashes, linewidth=1.4, zorder=1)
    handles = []
    for (name, table), line in zip(tables.items(), _lines(tables), strict=True):
        line = {"marker": OTHER.marker, "markersize": OTHER.size, **line}
        sure, right = 100 * table["sure"], 100 * table["right"]
        axes.plot(sure, right, color=line["color"], linewidth=1, linestyle=line.get("linestyle"))
        areas = SMALLEST + (LARGEST - SMALLEST) * table["share"]
        axes.scatter(
            sure, right, s=areas, color=line["color"], marker=line["marker"], alpha=0.8, zorder=3
        )
        handles.append(Line2D([], [], label=name, **line))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(20))
    axes.set(xlim=(0, 103), ylim=(0, 103), aspect="equal")
    axes.set(xlabel="how sure the belief is (%)", ylabel="how often it is right (%)")
    figure.legend(handles=handles, loc="outside right center")
    return figure, axes


def _lines(names: Mapping[str, object]) -> list[dict[str, Any]]:
    """Arguments of the line of each name."""
    color, dashes = BOUNDS[AWARE]
    exact = {"color": color, "linestyle": dashes, "linewidth": 1.4}
    others, taken, found = cycle(GRAYS), {OTHER}, []
    for name in names:
        method = look(name)
        if method in taken and name != EXACT:
            method = next(others)
        taken.add(method)
        found.append(exact if name == EXACT else method.line)
    return found
