"""The rows of a Parquet file or an Arrow table, for ``rows``; needs pyarrow."""

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
        schema, rows = file.schema_arrow, file.metadata.num_rows
        source.check(schema.names)
        yield from _columns(source, schema, _batches(source, file, size), rows)


def is_table(data: object) -> bool:
    """Whether this is a table of Arrow, or what can be made one, as a frame of Polars can."""
    return hasattr(data, "__arrow_c_stream__")


def table_batches(
    source: Source, data: Any, size: int
) -> Iterator[tuple[list[str], list[str], Times, float]]:
    """The same of a table in memory.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    LogError
        If a column is missing or of a wrong type.
    """
    table = _pyarrow(source, "an Arrow table").table(data)
    source.check(table.column_names)
    chosen = table.select(list(dict.fromkeys(source.columns)))
    batches = iter(chosen.to_batches(max_chunksize=size))
    yield from _columns(source, chosen.schema, batches, table.num_rows)


def _columns(
    source: Source, schema: Any, batches: Iterator[Any], rows: int
) -> Iterator[tuple[list[str], list[str], Times, float]]:
    _check_types(source, schema)
    done = 0
    for batch in batches:
        users = _users(source, batch.column(source.user), done + 1)
        texts = _texts(batch.column(source.text))
        times = _times(source, batch.column(source.time), done + 1) if source.time else None
        done += len(users)
        yield users, texts, times, done / max(rows, 1)


def _pyarrow(source: Source, what: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            f"{source.name}: reading {what} needs pyarrow: pip install pyarrow"
        ) from error
    return pyarrow


def _open(source: Source) -> Any:
    _pyarrow(source, "Parquet")
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

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
    return LogError(f"{source.name}{f', after row {done:,}' if done else ''}: {problem}")


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
        source.user: (
            "text or whole numbers",
            lambda k: is_text(k) or types.is_integer(k) or types.is_floating(k),
        ),
        source.text: ("text", is_text),
        source.time: ("dates, numbers or text", is_moment),
    }
    for name in source.columns:
        what, fits = allowed[name]
        kind = schema.field(name).type
        if not fits(kind):
            raise LogError(f"{source.name}, column {name!r}: must hold {what}, not {kind}")


def _users(source: Source, column: Any, first: int) -> list[str]:
    """Names as text; pandas makes floating numbers of whole ones where some are missing."""
    from pyarrow import types

    if not types.is_floating(column.type):
        return _texts(column)
    return whole_numbers(source, column.to_numpy(zero_copy_only=False), first)


def whole_numbers(source: Source, numbers: np.ndarray, first: int) -> list[str]:
    """Floating ids as text, without their fraction of zero; a missing one is an empty text.

    Raises
    ------
    LogError
        If one has a fraction, or is too large to be told from its neighbours.
    """
    numbers = numbers.astype(float)
    missing = np.isnan(numbers)
    wrong = ~missing & ((numbers != np.round(numbers)) | (np.abs(numbers) > 2.0**53))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise source.error(
            first + place,
            f"{numbers[place]} is no whole number, as the id of a user must be: name the column "
            "that holds the users, or make it text",
            source.user,
        )
    return ["" if lacks else str(int(n)) for lacks, n in zip(missing, numbers, strict=True)]


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
        problem = f"{column[place].as_py()} is no time: drop the row, or fill it"
        raise source.error(first + place, problem, source.time)
    return column.to_numpy(zero_copy_only=False)


__all__ = ["Times", "is_table", "parquet_batches", "table_batches", "whole_numbers"]
