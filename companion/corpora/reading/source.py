"""A log, how to read it, and what to say when it cannot be read."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import numpy as np

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
JSON = (".json",)
PARQUET = (".parquet", ".pq")
KNOWN = (*DELIMITERS, *JSON_LINES, *JSON, *PARQUET)
LONGEST_FIELD = 1_000_000  # characters; a quote that is not closed is noticed after so many


class LogError(ValueError):
    """A log that cannot be read as it is; the message says where and why."""


@dataclass(frozen=True)
class Chunk:
    """Some rows, one after the other.

    Parameters
    ----------
    rows : sequence of int
        Their numbers, from 1.
    users, texts : sequence of str
        A missing one is empty.
    times : sequence of str, np.ndarray or None
        Dates or numbers as text, microseconds or other numbers, or nothing.
    done : int
        How far the source has been read: bytes of a file, rows of what is in memory.
    doubtful : int
        Rows with a line inside that could be a row.
    system, attachments : int
        Lines that nobody wrote, and texts that only stood for an attachment.
    """

    rows: Sequence[int]
    users: Sequence[str]
    texts: Sequence[str]
    times: Sequence[str] | np.ndarray | None
    done: int
    doubtful: int = 0
    system: int = 0
    attachments: int = 0


class Spoken(NamedTuple):
    """A message in a chat that is kept as text."""

    line: int
    user: str
    text: str
    time: str
    kind: str = "message"  # or "attachment", without a text; or "system", by nobody


@dataclass(frozen=True)
class Source:
    """A log and how to read it; see :func:`companion.corpora.reading.logs.read`.

    Parameters
    ----------
    path : Path
        The file, or, of what is in memory, what to call it.
    data : object, optional
        A frame, a table or records, in place of a file.
    """

    path: Path
    user: str
    text: str
    time: str | None = None
    encoding: str = "utf-8-sig"
    encoding_errors: str = "strict"
    delimiter: str | None = None
    quote: str | None = '"'
    column_names: Sequence[str] | None = None
    escape: str | None = None
    records: str | None = None
    missing: str = "error"
    form: str | None = None
    time_format: str | None = None
    data: Any = None

    def check_options(self) -> None:
        """Complain about what is wrong whatever the file holds."""
        columns = {"user": self.user, "text": self.text, "time": self.time}
        for name, column in columns.items():
            if not isinstance(column, str) and not (name == "time" and column is None):
                raise TypeError(f"{name} must be the name of a column, not {column!r}")
        if self.user == self.text:
            raise ValueError(f"user and text must be two columns, not {self.user!r} twice")
        if isinstance(self.column_names, str):
            raise TypeError(f"column_names must be a list of names, not {self.column_names!r}")
        if self.missing not in ("error", "skip"):
            raise ValueError(f"missing must be 'error' or 'skip', not {self.missing!r}")
        if not isinstance(self.records, str | None):
            raise TypeError(f"records must be a name such as 'messages', not {self.records!r}")
        signs = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        for name, sign in signs.items():
            if sign is not None and not (isinstance(sign, str) and len(sign) == 1):
                raise ValueError(f"{name} must be one character or None, not {sign!r}")
        _check_known("encoding", self.encoding, codecs.lookup)
        _check_known("encoding_errors", self.encoding_errors, codecs.lookup_error)

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes of the file; rows of what is in memory, 0 where nobody knows."""
        if self.data is None:
            return self.path.stat().st_size
        return len(self.data) if hasattr(self.data, "__len__") else 0

    @property
    def suffix(self) -> str:
        """The ending that tells the format, ``.gz`` left aside."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        return next((s for s in reversed(suffixes) if s != ".gz"), "")

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return [name for name in (self.user, self.text, self.time) if name is not None]

    def check(self, names: Sequence[str], hint: str = "") -> None:
        """Complain if a column is missing, or there twice."""
        for role, name in (("user", self.user), ("text", self.text), ("time", self.time)):
            if name is not None and list(names).count(name) != 1:
                found = "twice" if name in names else "not"
                # a file without a header has its first message there
                there = ", ".join(repr(shortened(str(name))) for name in names)
                raise LogError(
                    f"{self.name}: {role}={name!r} is {found} among its columns: {there}{hint}"
                )

    @property
    def _delimited(self) -> bool:
        return self.data is None and self.form is None and self.suffix not in KNOWN[2:]

    def error(self, row: int, problem: str, column: str | None = None) -> LogError:
        """What to raise for a row; rows count from 1, the header not counted."""
        place = f"{self.name}, {f'row {row:,}' if row else 'the header'}"
        if self._delimited and (line := _line_of(self, row)):
            place += f" (line {line:,})"
        return LogError(f"{place}{f', column {column!r}' if column else ''}: {problem}")


@contextmanager
def _opened(source: Source, errors: str | None = None) -> Iterator[tuple[TextIO, BinaryIO]]:
    """The text of the file, and the file itself (to see how far it has been read)."""
    with source.path.open("rb") as raw:
        zipped = source.path.suffix.lower() == ".gz"
        inner: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
        errors = errors or source.encoding_errors
        with io.TextIOWrapper(inner, source.encoding, errors, newline="") as text:
            yield text, raw


def _csv_reader(source: Source, text: TextIO, strict: bool = True) -> Any:
    # the standard library's reader: it streams, says at once that a quote is out of place (a
    # parser that works by blocks swallows the rest of the file first), and never guesses
    delimiter = source.delimiter or DELIMITERS[source.suffix]
    signs = {"delimiter": delimiter, "escapechar": source.escape, "strict": strict}
    if source.quote is None:
        return csv.reader(text, quoting=csv.QUOTE_NONE, **signs)  # type: ignore[arg-type]
    return csv.reader(text, quotechar=source.quote, **signs)  # type: ignore[arg-type]


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let fields be longer than the standard library does, which has one limit for everybody."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _line_of(source: Source, row: int) -> int | None:
    """The line on which a row begins, found by a second reading."""
    with _opened(source, errors="replace") as (text, _), _long_fields():
        reader = _csv_reader(source, text, strict=False)
        before = row - 1 + (source.column_names is None)
        try:
            for _ in islice(reader, before):
                pass
        except csv.Error:  # the row before is not to blame, and no line is better than a wrong one
            return None
        return reader.line_num + 1


def no_text(value: object) -> str:
    """What to say of a value that is none."""
    return f"must be text, not {type(value).__name__}: name another column, or make its values text"


def shortened(value: str, most: int = 32) -> str:
    """The beginning of a text: an error message must not give a whole one away."""
    return value if len(value) <= most else value[:most] + "…"


def _check_known(name: str, value: object, look_up: Callable[[str], object]) -> None:
    """Complain about a name that Python's table of encodings or error handlers lacks."""
    try:
        look_up(value)  # type: ignore[arg-type]
    except (LookupError, TypeError) as error:
        raise ValueError(f"{name} must be one that Python knows, not {value!r}") from error


__all__ = ["Chunk", "LogError", "Source", "Spoken", "no_text", "shortened"]
