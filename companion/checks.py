"""Checks of what a model is given, shared by both frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_ids(name: str, ids: Any, size: int, ndim: int) -> np.ndarray:
    """Ids as a NumPy array, every one of them inside its range.

    Parameters
    ----------
    name : {"token", "user"}
        What the ids stand for; the error says it.
    ids : array_like
        Integers.
    size : int
        Ids go from 0 to ``size - 1``.
    ndim : int
        How many axes the array must have.

    Raises
    ------
    TypeError
        If the ids are no integers.
    ValueError
        If the array has another number of axes, or an id is outside; the message names the id.
    """
    ids = np.asarray(ids)
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"{name} ids must be integers (int32 or int64), not {ids.dtype}")
    if ids.ndim != ndim:
        raise ValueError(f"{name} ids must have {ndim} axes, not {ids.ndim}: shape {ids.shape}")
    outside = ids[(ids < 0) | (ids >= size)]
    if outside.size:
        place = "the vocabulary" if name == "token" else f"the {name}s known"
        raise ValueError(f"{name} id {outside[0]} is outside {place}: ids go from 0 to {size - 1}")
    return ids


__all__ = ["check_ids"]
