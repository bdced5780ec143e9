"""Tables a reader looks at: models side by side, and gain by length of history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from . import statistics as st

BLIND, AWARE = "user-blind bound", "user-aware bound"


def compare(
    models: Mapping[str, pd.DataFrame],
    base: str,
    blind: pd.DataFrame | None = None,
    aware: pd.DataFrame | None = None,
    by: st.By = "token",
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Models side by side, one row each, in the order given.

    Parameters
    ----------
    models : mapping of str to pandas.DataFrame
        The scores of each model, all of the same text.
    base : str
        The model that gains are measured against, one of `models`.
    blind, aware : pandas.DataFrame, optional
        Scores of the two bounds, both or neither: they become the first and the last row.
    by : {"token", "user"}
        Pool all tokens, or count each user once.
    level, seed
        Coverage and seed of the bootstrap intervals.

    Returns
    -------
    pandas.DataFrame
        Columns ``loss`` (nats per token), ``perplexity``, ``top1``, ``top3``, ``saved``
        (percent); ``gain`` over the base model (nats per token) with its interval ``gain_low``,
        ``gain_high``; with bounds, ``captured`` (percent of the attainable gain),
        ``captured_low`` and ``captured_high``; ``helped`` and ``hurt`` (percent of the users) and
        ``worst_decile`` (mean gain of the tenth of the users who gain least, nats per token).
    """
    if base not in models:
        raise ValueError(f"base must be one of {list(models)}, not {base!r}")
    if (blind is None) != (aware is None):
        raise ValueError("blind and aware must be given both or not at all")
    bounds = None if blind is None else (blind, aware)
    rows = dict(models) if bounds is None else {BLIND: blind, **models, AWARE: aware}
    options: dict[str, Any] = {"by": by, "level": level, "seed": seed}
    measured = {
        name: _row(scores, models[base], bounds, **options) for name, scores in rows.items()
    }
    table = pd.DataFrame.from_dict(measured, orient="index")
    table.loc[base, ["gain", "gain_low", "gain_high", "helped", "hurt", "worst_decile"]] = np.nan
    return table.rename_axis("model")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`compare` as text, rounded to what is worth reading, with its units."""
    columns = {
        "loss (nats)": table["loss"].map("{:.3f}".format),
        "perplexity": table["perplexity"].map("{:.1f}".format),
        "top 1 (%)": table["top1"].map("{:.1f}".format),
        "top 3 (%)": table["top3"].map("{:.1f}".format),
        "keys saved (%)": table["saved"].map("{:.1f}".format),
    }
    if "captured" in table:
        columns["gain captured (%)"] = _with_interval(table, "captured", "{:.1f}")
    else:
        columns["gain (nats)"] = _with_interval(table, "gain", "{:.3f}")
    columns["helped (%)"] = table["helped"].map("{:.1f}".format)
    columns["hurt (%)"] = table["hurt"].map("{:.1f}".format)
    columns["worst tenth (nats)"] = table["worst_decile"].map("{:+.3f}".format)
    text = pd.DataFrame(columns)
    return text.mask(text.map(lambda cell: "nan" in cell), "–")


def by_history(
    scores: pd.DataFrame,
    blind: pd.DataFrame,
    aware: pd.DataFrame,
    messages: np.ndarray,
    groups: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Gain captured by users with short and with long histories, groups of equal size.

    Parameters
    ----------
    messages : np.ndarray
        Messages in the history of each user id, ``(n_users,)``: ``history.message_counts``.
    groups : int
        How many groups of users; each needs at least two.

    Returns
    -------
    pandas.DataFrame
        Index ``messages`` (the group's geometric mean, which groups may share); columns
        ``captured``, ``low``, ``high`` (percent) and ``users``.
    """
    st.check_paired(scores, blind, aware)
    length = np.asarray(messages)[scores.index]
    order = np.argsort(length, kind="stable")
    if groups < 1 or len(order) < 2 * groups:
        raise ValueError(f"groups must lie in 1 to {len(order) // 2}, not {groups}")
    middles, rows = [], []
    for places in np.array_split(order, groups):
        tables = [table.iloc[places] for table in (scores, blind, aware)]
        low, high = st.interval(st.gain_captured, *tables, seed=seed)
        middles.append(float(np.expm1(np.log1p(length[places]).mean())))
        captured = st.gain_captured(*tables)
        rows.append({"captured": captured, "low": low, "high": high, "users": len(places)})
    return pd.DataFrame(rows, index=middles).rename_axis("messages")


def _row(
    scores: pd.DataFrame,
    base: pd.DataFrame,
    bounds: tuple[pd.DataFrame, pd.DataFrame] | None,
    by: st.By,
    level: float,
    seed: int,
) -> dict[str, float]:
    """One row of :func:`compare`."""
    options: dict[str, Any] = {"by": by, "level": level, "seed": seed}
    row = {
        "loss": st.loss(scores, by),
        "perplexity": st.perplexity(scores, by),
        "top1": st.top1(scores, by),
        "top3": st.top3(scores, by),
        "saved": st.keystrokes_saved(scores, by),
        "gain": st.gain(scores, base, by),
    }
    row["gain_low"], row["gain_high"] = st.interval(st.gain, scores, base, **options)
    if bounds is not None:
        row["captured"] = st.gain_captured(scores, *bounds, by)
        low, high = st.interval(st.gain_captured, scores, *bounds, **options)
        row["captured_low"], row["captured_high"] = low, high
    row["helped"], row["hurt"] = st.helped(scores, base), st.hurt(scores, base)
    return row | {"worst_decile": st.worst_decile(scores, base)}


def _with_interval(table: pd.DataFrame, name: str, form: str) -> pd.Series:
    """A value and its interval in one cell."""
    cells = f"{form} ({form} to {form})"
    columns = table[name], table[f"{name}_low"], table[f"{name}_high"]
    return pd.Series([cells.format(*row) for row in zip(*columns, strict=True)], index=table.index)
