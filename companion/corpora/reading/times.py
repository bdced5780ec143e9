"""Moments in time, written as dates or as numbers, to integers that grow with time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def parse_times(
    values: Sequence[str], time_format: str | None = None, numeric: bool = False
) -> tuple[np.ndarray, int]:
    """Dates to microseconds since 1970, in UTC; numbers stay as they are.

    Parameters
    ----------
    values : sequence of str
        Dates after ISO 8601 (``2016-12-22T21:09:22Z``; UTC where no zone is given), or numbers.
    time_format : str, optional
        How dates are written, if not after ISO 8601: ``strptime``'s letters, such as
        ``"%d/%m/%Y %H:%M"``.
    numeric : bool
        Whether the values are numbers, such as seconds since 1970.

    Returns
    -------
    times : np.ndarray
        ``(values,)``, int64; float64 where a number has a fraction.
    unreadable : int
        The first place whose value could not be read; -1 where there is none.
    """
    import pandas as pd

    column = np.empty(len(values), dtype=object)
    column[:] = [value.strip() for value in values]
    if numeric:
        times = np.asarray(pd.to_numeric(column, errors="coerce"))
        # beyond 2**63 lies no int64, and NaN is not smaller either
        wrong = ~(np.abs(times.astype(float)) < 2.0**63)
    else:
        form = time_format or "ISO8601"
        dates = pd.DatetimeIndex(pd.to_datetime(column, format=form, utc=True, errors="coerce"))
        times, wrong = np.asarray(dates.as_unit("us").asi8), np.asarray(dates.isna())
    return times, int(np.argmax(wrong)) if wrong.any() else -1


def is_number(value: str) -> bool:
    """Whether a text can be read as a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


__all__ = ["is_number", "parse_times"]
