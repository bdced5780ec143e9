"""How well beliefs name the one who is typing, and whether they are as sure as they are right."""

from __future__ import annotations

import numpy as np
import pandas as pd


def named(beliefs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether the user believed in most is the one who typed.

    Parameters
    ----------
    beliefs : np.ndarray
        Probabilities, or their logarithms, ``(..., user)``.
    rows : np.ndarray
        Who typed: places in the last axis of `beliefs`, ``(...)`` or broadcast to it.

    Returns
    -------
    np.ndarray
        Booleans, ``(...)``.
    """
    return beliefs.argmax(axis=-1) == rows


def reliability(log_beliefs: np.ndarray, rows: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """How often the user believed in most is the right one, by how sure the belief is.

    Parameters
    ----------
    log_beliefs : np.ndarray
        ``(..., user)``.
    rows : np.ndarray
        Who typed, ``(...)`` or broadcast to it.
    bins : int
        Equally wide ones, of the probability of the user believed in most.

    Returns
    -------
    pandas.DataFrame
        A row for each bin that has beliefs: ``sure`` (their mean probability), ``right`` (share of
        them that name the right user) and ``share`` (of all beliefs).
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    table = pd.DataFrame(
        {
            "sure": np.exp(log_beliefs.max(axis=-1)).ravel(),
            "right": named(log_beliefs, rows).astype(float).ravel(),
        }
    )
    if not len(table):
        raise ValueError("log_beliefs is empty: there is nothing to judge")
    places = np.minimum((table["sure"] * bins).astype(int), bins - 1).rename("bin")
    groups = table.groupby(places)
    return groups.mean().assign(share=groups.size() / len(table))


def calibration_error(log_beliefs: np.ndarray, rows: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error [1]_: how far *sure* and *right* are apart, from 0 to 1.

    Parameters are those of :func:`reliability`.

    References
    ----------
    .. [1] Naeini, M. et al. Obtaining well calibrated probabilities using Bayesian binning. AAAI,
       2015.
    """
    table = reliability(log_beliefs, rows, bins)
    return float((table["share"] * (table["sure"] - table["right"]).abs()).sum())


def first_named(log_beliefs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """After how many messages the right user is believed in most for the first time.

    Parameters
    ----------
    log_beliefs : np.ndarray
        After each message, ``(..., message, user)``.
    rows : np.ndarray
        Who typed, ``(...)``.

    Returns
    -------
    np.ndarray
        From 1 on, ``(...)``; one more than there are messages where it never happens.
    """
    right = named(log_beliefs, np.asarray(rows)[..., None])  # (..., message)
    return np.where(right.any(axis=-1), right.argmax(axis=-1), right.shape[-1]) + 1
