"""The rows of a Parquet file, for ``companion.corpora.reading.rows``; needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .source import LogError, Source

Times = Sequence[str] | np.ndarray | None


def parquet_batches(
    source: Source, size: int
) -> Iterator[tuple[list[str], list[str], Times, float]]:
    """Users, texts and times of some rows after the other, and the share of the file read.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    LogError
        If the file is no Parquet file, is damaged, or a column is missing or of a wrong type.
    """
    file = _open(source)
    with file:
        source.check(file.schema_arrow.names)
        _check_types(source, file.schema_arrow)
        done = 0
        for batch in _batches(source, file, size):
            users = _texts(batch.column(source.user))
            texts = _texts(batch.column(source.text))
            times = _times(source, batch.column(source.time), done + 1) if source.time else None
            done += len(users)
            yield users, texts, times, done / max(file.metadata.num_rows, 1)


def _open(source: Source) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f"{source.path.name}: reading Parquet needs pyarrow: pip install pyarrow"
        ) from error
    try:
        return ParquetFile(source.path, page_checksum_verification=True)
    except (ArrowException, OSError) as error:
        raise _damaged(source, 0, error) from error


def _batches(source: Source, file: Any, size: int) -> Iterator[Any]:
    from pyarrow import ArrowException

    batches = file.iter_batches(batch_size=size, columns=list(dict.fromkeys(source.columns)))
    done = 0
    while True:
        try:
            batch = next(batches, None)
        except (ArrowException, OSError) as error:
            raise _damaged(source, done, error) from error
        if batch is None:
            return
        done += batch.num_rows
        yield batch


def _damaged(source: Source, done: int, error: Exception) -> ValueError:
    problem = f"not a Parquet file, or damaged: {error}"
    return LogError(f"{source.path.name}{f', after row {done:,}' if done else ''}: {problem}")


def _check_types(source: Source, schema: Any) -> None:
    """Complain about a column whose values cannot be what they are asked to be."""
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)

    def is_moment(kind: Any) -> bool:
        numbers = types.is_integer(kind) or types.is_floating(kind)
        return numbers or types.is_timestamp(kind) or types.is_date(kind) or is_text(kind)

    allowed = {
        source.user: ("text or whole numbers", lambda k: is_text(k) or types.is_integer(k)),
        source.text: ("text", is_text),
        source.time: ("dates, numbers or text", is_moment),
    }
    for name in source.columns:
        what, fits = allowed[name]
        kind = schema.field(name).type
        if not fits(kind):
            raise LogError(f"{source.path.name}, column {name!r}: must hold {what}, not {kind}")


def _texts(column: Any) -> list[str]:
    """Values as text; a missing value is an empty text."""
    return column.cast("string").fill_null("").to_pylist()


def _times(source: Source, column: Any, first: int) -> Times:
    """Dates as microseconds, numbers as they are, text as text."""
    from pyarrow import timestamp, types

    if types.is_date(column.type) or types.is_timestamp(column.type):
        zone = getattr(column.type, "tz", None)
        column = column.cast(timestamp("us", tz=zone), safe=False).cast("int64")
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        return _texts(column)
    missing = ~np.isfinite(column.to_numpy(zero_copy_only=False).astype(float))
    if missing.any():
        place = int(np.argmax(missing))
        raise source.error(first + place, f"{column[place].as_py()} is no time", source.time)
    return column.to_numpy(zero_copy_only=False)


__all__ = ["parquet_batches"]
