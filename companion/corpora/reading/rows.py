"""The rows of a log, whatever it is, in chunks; delimited text itself; errors name the row."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from .frames import frame_chunks, is_frame
from .parquet import Times, is_table, parquet_batches, table_batches
from .records import chunk_of, document, parsed, record_chunks
from .source import (
    DELIMITERS,
    JSON,
    JSON_LINES,
    KNOWN,
    LONGEST_FIELD,
    PARQUET,
    Chunk,
    LogError,
    Source,
    _csv_reader,
    _long_fields,
    _opened,
)
from .spoken import TEXT_FORMS, spoken

CHUNK = 16_384  # rows; more is no faster and takes memory
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def chunks(source: Source) -> Iterator[Chunk]:
    """The rows of a log, in its order."""
    if source.data is not None:
        return _in_memory(source)
    if source.form in TEXT_FORMS:
        return spoken(source, _lines(source))
    if source.suffix in PARQUET:
        return _parquet(source)
    if source.suffix in JSON:
        return document(source, CHUNK)
    if source.suffix in JSON_LINES:
        return _json_lines(source)
    if source.delimiter is None and source.suffix not in DELIMITERS:
        known = ", ".join(KNOWN)
        raise LogError(
            f"{source.name}: the format must show in the ending, one of {known} (the text "
            "formats also with .gz); for other delimited text, pass delimiter; for a chat as "
            f"text, pass format, one of {', '.join(map(repr, TEXT_FORMS))}"
        )
    return _delimited(source)


def _in_memory(source: Source) -> Iterator[Chunk]:
    if is_frame(source.data):
        return frame_chunks(source, CHUNK)
    if is_table(source.data):
        return _numbered(table_batches(source, source.data, CHUNK))
    return record_chunks(source, source.data, CHUNK)


def _lines(source: Source) -> Iterator[str]:
    """The lines of a chat as text; wrong bytes are explained."""
    with _opened(source) as (text, _):
        first = 1
        while lines := _take(source, text, first, CHUNK):
            yield from lines
            first += len(lines)


def _delimited(source: Source) -> Iterator[Chunk]:
    with _opened(source) as (text, raw):
        reader = _csv_reader(source, text)
        names = source.column_names or next(iter(_take(source, reader, 0, 1)), None)
        if not names:
            raise LogError(f"{source.name}: the first line, which names the columns, is empty")
        source.check(names, _delimiter_hint(names))
        picks = [itemgetter(list(names).index(name)) for name in source.columns]
        first, lines = 1, reader.line_num
        while records := _take(source, reader, first, CHUNK):
            rows: Sequence[int] = range(first, first + len(records))
            doubtful = 0
            if reader.line_num - lines > len(records):
                doubtful = _doubtful(source, records, len(names))
            lines = reader.line_num
            first += len(records)
            if set(map(len, records)) != {len(names)}:
                rows, records = _without_blank_lines(source, rows, records, len(names))
            users, texts, *times = ([pick(record) for record in records] for pick in picks)
            yield Chunk(rows, users, texts, times[0] if times else None, raw.tell(), doubtful)


def _doubtful(source: Source, records: list[list[str]], width: int) -> int:
    """Rows in whose fields a line looks like a row: a stray quote may have swallowed it."""
    between = (source.delimiter or DELIMITERS[source.suffix]) * (width - 1)

    def holds_a_row(field: str) -> bool:
        inner = field.splitlines()[1:]
        return bool(between) and any(line.count(between[0]) == len(between) for line in inner)

    return sum(any("\n" in f and holds_a_row(f) for f in record) for record in records)


def _take(source: Source, items: Iterator[Any], first: int, count: int) -> list[Any]:
    """The next `count` items of a text file; what goes wrong is explained."""
    taken: list[Any] = []
    try:
        with _long_fields():
            taken.extend(islice(items, count))  # keeps what was read before an error
    except csv.Error as error:
        raise source.error(first + len(taken), _about_quotes(error)) from error
    except UnicodeDecodeError as error:
        raise _undecodable(source, error) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        read = max(first + len(taken) - 1, 0)
        raise LogError(
            f"{source.name}: the compressed file is broken after {read:,} rows ({error})"
        ) from error
    return taken


def _about_quotes(error: csv.Error) -> str:
    if "field larger than" in str(error):
        return (
            f"a field of more than {LONGEST_FIELD:,} characters. If a quote opens it that is not "
            "closed, correct the quote, or pass quote=None if the file quotes nothing"
        )
    return (
        "a field opens with a quote that is not closed as it should be "
        f"({error}). Inside a quoted field, a quote is written twice; if the file writes it after "
        "a backslash, pass escape='\\\\'; if the file quotes nothing, pass quote=None"
    )


def _undecodable(source: Source, error: UnicodeDecodeError) -> LogError:
    """Name the row with the wrong bytes, which a second reading finds."""
    encoding = source.encoding.removesuffix("-sig")
    advice = (
        f"is not {encoding}. Name the encoding of the file, such as encoding='cp1252'; where "
        "encodings are mixed, encoding_errors='replace' reads on"
    )
    with source.path.open("rb") as raw:
        utf_16 = raw.read(2) in UTF_16
    if utf_16:
        return LogError(f"{source.name} is not {encoding}: try encoding='utf-16'")
    with _opened(source, errors="surrogateescape") as (text, _), _long_fields():
        json_lines = source.suffix in JSON_LINES
        rows = ([line] for line in text) if json_lines else _csv_reader(source, text, strict=False)
        for row, record in enumerate(rows, int(json_lines or bool(source.column_names))):
            for field in record:
                wrong = [ord(c) - 0xDC00 for c in field if "\udc80" <= c <= "\udcff"]
                if wrong:
                    return source.error(row, f"byte 0x{wrong[0]:02x} {advice}")
    return LogError(f"{source.name}: {error}; the text {advice}")


def _without_blank_lines(
    source: Source, rows: Sequence[int], records: list[list[str]], width: int
) -> tuple[list[int], list[list[str]]]:
    """Rows that are not blank lines; each must have a field for each column."""
    for row, record in zip(rows, records, strict=True):
        if len(record) not in (0, width):
            raise source.error(
                row,
                f"{len(record)} fields, but the file has {width} columns: a field that holds "
                "the delimiter or a line break must stand in quotes",
            )
    kept = [(row, record) for row, record in zip(rows, records, strict=True) if record]
    return [row for row, _ in kept], [record for _, record in kept]


def _delimiter_hint(names: Sequence[str]) -> str:
    if any("\x00" in name for name in names):
        return " (is the encoding 'utf-16'? then pass it)"
    found = [d for d in (";", "\t", "|", ",") if len(names) == 1 and d in names[0]]
    if found:
        return f" (is the delimiter {found[0]!r}? then pass it)"
    return "; if the first line is no header, pass column_names"


def _json_lines(source: Source) -> Iterator[Chunk]:
    with _opened(source) as (text, raw):
        first = 1
        while lines := _take(source, text, first, CHUNK):
            numbered = [(row, line) for row, line in enumerate(lines, first) if line.strip()]
            first += len(lines)
            records = [(row, parsed(source, row, line)) for row, line in numbered]
            yield chunk_of(source, records, raw.tell())


def _parquet(source: Source) -> Iterator[Chunk]:
    return _numbered(parquet_batches(source, CHUNK), source.size)


def _numbered(
    batches: Iterator[tuple[list[str], list[str], Times, float]], size: int | None = None
) -> Iterator[Chunk]:
    """Batches of a table as chunks; a share of `size` is done, or their rows."""
    first = 1
    for users, texts, times, share in batches:
        rows = range(first, first + len(users))
        first += len(users)
        yield Chunk(rows, users, texts, times, first - 1 if size is None else int(share * size))


__all__ = ["Chunk", "chunks"]
