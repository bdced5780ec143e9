"""Every plot of the book, in one look: see :mod:`companion.figures.looks`.

Each function draws one figure, whatever the settings outside are, and returns
``(figure, axes)``. Call :func:`apply` once in a notebook to have its own plots look alike and to
store all of them crisp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from companion.history import History
from companion.measure.statistics import TOLERANCE
from companion.measure.tables import AWARE, BLIND

from .looks import BOUNDS, HURT, LOOKS, canvas, log_messages, look, style


@style()
def losses_between_bounds(table: pd.DataFrame) -> tuple[Figure, Axes]:
    """Each model's loss as a dot between the two bounds, with its interval.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`companion.measure.compare`, with bounds. An interval is that of the gain
        captured: how sure the place between the bounds is, other users given.
    """
    if "captured" not in table:
        raise ValueError("table has no bounds: give compare() blind and aware")
    models = table.drop(index=[BLIND, AWARE])
    blind, aware = table.loc[BLIND, "loss"], table.loc[AWARE, "loss"]
    figure, axes = canvas(height=max(2.2, 1.4 + 0.36 * len(models)))
    axes.axvspan(aware, blind, color="#EEF3F8", zorder=0)
    ends = blind - models[["captured_high", "captured_low"]] / 100 * (blind - aware)
    _dots(axes, models["loss"], ends.iloc[:, 0], ends.iloc[:, 1])
    _vertical_bound(axes, AWARE, aware, "right")
    left, right = axes.get_xlim()
    _vertical_bound(axes, BLIND, blind, "left" if blind < left + 0.8 * (right - left) else "right")
    for row, captured in enumerate(models["captured"]):
        axes.annotate(
            _percent(captured), (1.02, row), xycoords=axes.get_yaxis_transform(), va="center"
        )
    axes.annotate("gain captured", (1.02, 1.02), xycoords="axes fraction", va="bottom")
    axes.set_xlabel("loss on unseen messages (nats per token; lower is better)")
    return figure, axes


@style()
def gains_over_base(table: pd.DataFrame) -> tuple[Figure, Axes]:
    """Each model's gain over the base model as a dot with its interval; for text without bounds.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`companion.measure.compare`.
    """
    models = table[table["gain"].notna()].drop(index=[BLIND, AWARE], errors="ignore")
    figure, axes = canvas(height=max(2.2, 1.4 + 0.36 * len(models)))
    axes.axvline(0, color=LOOKS["base model"].color)
    _dots(axes, models["gain"], models["gain_low"], models["gain_high"])
    axes.set_xlabel("gain over the base model (nats per token; higher is better)")
    return figure, axes


@style()
def gain_by_user(gains: pd.Series, method: str) -> tuple[Figure, Axes]:
    """One bar per user, the one who gains most first: how many are helped, how many hurt.

    Parameters
    ----------
    gains : pandas.Series
        From :func:`companion.measure.per_user_gain`.
    method : str
        Its name, which decides the color.
    """
    ordered = np.sort(gains.to_numpy())[::-1]
    helped, hurt = ordered > TOLERANCE, ordered < -TOLERANCE
    figure, axes = canvas()
    handles = []
    for mask, color, verb in ((helped, look(method).color, "helped"), (hurt, HURT, "hurt")):
        axes.bar(np.flatnonzero(mask), ordered[mask], width=0.85, color=color)
        label = f"{verb}: {mask.sum()} of {len(ordered)} users"
        handles.append(Patch(color=color, label=label))
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.grid(visible=False, axis="x")
    axes.set_xticks([])
    axes.set(xlabel=f"users, from most to least gained by {method}", ylabel="gain (nats per token)")
    axes.legend(handles=handles, loc="upper right")
    return figure, axes


@style()
def gain_by_history(
    curves: Mapping[str, pd.DataFrame], xlabel: str = "messages in the user's history"
) -> tuple[Figure, Axes]:
    """Gain captured against the length of the history, a curve with its band per method.

    Parameters
    ----------
    curves : mapping of str to pandas.DataFrame
        Of each method, a table indexed by messages with columns ``captured``, ``low``, ``high``
        (percent), as :func:`companion.measure.by_history` gives. 0 messages have their place.
    """
    figure, axes = canvas()
    for name, curve in curves.items():
        method, color = look(name), look(name).color
        axes.fill_between(curve.index, curve["low"], curve["high"], color=color, alpha=0.15, lw=0)
        axes.plot(curve.index, curve["captured"], label=name, **method.line)
    for bound, level in ((BLIND, 0), (AWARE, 100)):
        color, dashes = BOUNDS[bound]
        axes.axhline(level, color=color, linestyle=dashes, linewidth=1.4, label=bound, zorder=1)
    log_messages(axes, np.concatenate([curve.index for curve in curves.values()]))
    axes.set(xlabel=xlabel, ylabel="gain captured (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure, axes


@style()
def frontier(curves: Mapping[str, pd.DataFrame]) -> tuple[Figure, Axes]:
    """Gain on own text against loss on that of others, a curve a strategy.

    Parameters
    ----------
    curves : mapping of str to pandas.DataFrame
        Of each strategy, the one to look at first, a row a strength, with columns ``forgotten``
        (nats per token, above 0) and ``gain`` (nats per token).
    """
    figure, axes = canvas(height=4.0)
    others = cycle([("#000000", "-"), ("#888888", "-"), ("#000000", "--"), ("#888888", "--")])
    for place, (name, curve) in enumerate(curves.items()):
        curve = curve.sort_values("forgotten")
        style: dict[str, Any] = {**look("fine-tuning").line, "zorder": 3}
        if place:
            color, dashes = next(others)
            marker = "os^vXP"[place % 6]
            style = {"color": color, "linestyle": dashes, "marker": marker, "markersize": 5.5}
        axes.plot(curve["forgotten"], curve["gain"], label=name, **style)
    figure.legend(loc="outside right center")
    axes.axhline(0, color=look("base model").color, linewidth=1.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("loss added on other people's text (nats per token)")
    axes.set_ylabel("gain on own text (nats per token)")
    return figure, axes


@style()
def learning_curve(
    history: History,
    method: str = "base model",
    blind: float | None = None,
    aware: float | None = None,
) -> tuple[Figure, Axes]:
    """Training and validation loss by epoch, with the bounds as lines.

    Parameters
    ----------
    history : History
    method : str
        Decides the color.
    blind, aware : float, optional
        Losses of the bounds on the validation text, nats per token.
    """
    figure, axes = canvas()
    epochs = np.arange(1, len(history.training) + 1)
    dotted: dict[str, Any] = {
        "color": look(method).color,
        "linestyle": ":",
        "label": "training (with dropout)",
    }
    axes.plot(epochs, history.training, **dotted)
    axes.plot(epochs, history.validation, label="validation", **look(method).line)
    for name, level in ((BLIND, blind), (AWARE, aware)):
        if level is not None:
            bound, dashes = BOUNDS[name]
            axes.axhline(level, color=bound, linestyle=dashes, linewidth=1.4, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="loss (nats per token)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure, axes


@style()
def scatter_by_group(
    points: np.ndarray,
    groups: Sequence[str],
    xlabel: str = "first principal component",
    ylabel: str = "second principal component",
) -> tuple[Figure, Axes]:
    """Points in a plane, a color and a marker for each group.

    Parameters
    ----------
    points : np.ndarray
        ``(points, 2)``.
    groups : sequence of str
        The group of each point; at most ten differ.
    """
    points, of = np.asarray(points), np.asarray(groups)
    if points.shape != (len(groups), 2):
        raise ValueError(f"points must have shape ({len(groups)}, 2), not {points.shape}")
    names = np.unique(of)
    if len(names) > len(LOOKS):
        raise ValueError(f"groups must be at most {len(LOOKS)}, not {len(names)}")
    figure, axes = canvas()
    for name, method in zip(names, reversed(LOOKS.values()), strict=False):
        axes.plot(*points[of == name].T, label=str(name), **method.line, linestyle="")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure, axes


@style()
def history_lengths(counts: np.ndarray, bins: int = 16) -> tuple[Figure, Axes]:
    """How many users have how many messages, on a logarithmic axis.

    Parameters
    ----------
    counts : np.ndarray
        Messages of each user; users without any are left out.
    """
    counts = np.asarray(counts)
    counts = counts[counts > 0]
    if not len(counts):
        raise ValueError("counts has no user with a message")
    figure, axes = canvas()
    edges = np.geomspace(counts.min(), counts.max() + 1, bins + 1)
    axes.hist(counts, list(edges), color=LOOKS["base model"].color, edgecolor="white")
    median = float(np.median(counts))
    axes.axvline(median, color="#000000", linestyle=(0, (2, 1.5)), linewidth=1.4)
    place: dict[str, Any] = {"xytext": (5, -2), "textcoords": "offset points", "va": "top"}
    transform = axes.get_xaxis_transform()
    axes.annotate(f"median: {median:,.0f} messages", (median, 1), xycoords=transform, **place)
    log_messages(axes, counts)
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="messages in the user's history", ylabel="users")
    return figure, axes


def _dots(axes: Axes, values: pd.Series, low: pd.Series, high: pd.Series) -> None:
    """One row per model, the first on top: a dot with its interval, in the method's look."""
    for row, (name, value) in enumerate(values.items()):
        method = look(str(name))
        ends = [low.iloc[row], high.iloc[row]]
        axes.plot(ends, [row, row], color=method.color, marker="|", markersize=9, mec=method.color)
        axes.plot(value, row, **method.line)
    axes.set_yticks(range(len(values)), values.index)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _vertical_bound(axes: Axes, name: str, at: float, side: str) -> None:
    """A bound as a dashed line with its name above."""
    color, dashes = BOUNDS[name]
    axes.axvline(at, color=color, linestyle=dashes, linewidth=1.4)
    place: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "ha": side, "va": "bottom"}
    axes.annotate(name.replace(" ", "\n"), (at, 1.02), fontsize=9.5, **place)


def _percent(value: float) -> str:
    """A whole percentage with a proper minus sign."""
    return f"{value:.0f} %".replace("-", "\N{MINUS SIGN}")
