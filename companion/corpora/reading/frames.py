"""The rows of a pandas frame, for ``rows``."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .parquet import Times, whole_numbers
from .source import Chunk, LogError, Source, no_text


def is_frame(data: object) -> bool:
    """Whether this is a pandas frame; who never imported pandas has none."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def frame_chunks(source: Source, size: int) -> Iterator[Chunk]:
    """The rows of a frame, `size` at a time; its index does not count.

    Raises
    ------
    LogError
        If a column is missing or holds what it cannot; the message names column and row.
    """
    frame = source.data
    source.check(list(frame.columns))
    for start in range(0, len(frame), size):
        part, first = frame.iloc[start : start + size], start + 1
        yield Chunk(
            range(first, first + len(part)),
            _users(source, part[source.user], first),
            _texts(source, part[source.text], source.text, first, str),
            _times(source, part[source.time], first) if source.time else None,
            start + len(part),
        )


def _texts(source: Source, column: Any, name: str, first: int, kinds: Any) -> list[str]:
    """Values as text; a missing one is an empty text."""
    values, missing = column.astype(object).to_numpy(), column.isna().to_numpy()
    if missing.any():
        values = np.where(missing, "", values)
    texts = values.tolist()
    for place, value in enumerate(texts):
        if not isinstance(value, str):
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise source.error(first + place, no_text(value), column=name)
            texts[place] = str(value)
    return texts


def _users(source: Source, column: Any, first: int) -> list[str]:
    if column.dtype.kind == "f":
        return whole_numbers(source, column.to_numpy(dtype=float, na_value=np.nan), first)
    return _texts(source, column, source.user, first, str | int | float | np.integer)


def _times(source: Source, column: Any, first: int) -> Times:
    """Dates as microseconds, numbers as they are, text as text."""
    import pandas as pd

    if column.dtype.kind == "M":
        _check_none_missing(source, column.isna().to_numpy(), first)
        return np.asarray(pd.DatetimeIndex(column).as_unit("us").asi8)
    if column.dtype.kind in "iuf":
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        _check_none_missing(source, ~np.isfinite(numbers), first)
        return column.to_numpy(dtype=None if column.dtype.kind == "f" else np.int64)
    if column.dtype.kind in "bmc":
        raise LogError(
            f"{source.name}, column {source.time!r}: must hold dates, numbers or text, "
            f"not {column.dtype}"
        )
    moments = str | int | float | datetime.date | np.integer
    return _texts(source, column, source.time or "", first, moments)


def _check_none_missing(source: Source, missing: np.ndarray, first: int) -> None:
    if missing.any():
        row = first + int(np.argmax(missing))
        raise source.error(row, "there is no time: drop the row, or fill it", source.time)


__all__ = ["frame_chunks", "is_frame"]
