"""Your own logs: a CSV, JSON Lines or Parquet file, of any length, to a corpus."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from companion.corpora.corpus import Corpus, at_least
from companion.corpora.tokens import Encoder, Tokenizer, check_tokenizer
from companion.progress import progress_bar
from companion.settings import check_integer

from .gathering import Gathering
from .rows import Chunk, chunks
from .source import LogError, Source
from .times import is_number, parse_times


@dataclass(frozen=True)
class Report:
    """What became of every row of a log: ``rows = messages + empty + unnamed + short_messages``.

    Parameters
    ----------
    rows : int
        Rows read, blank lines not counted.
    messages : int
        Those that are in the corpus.
    empty : int
        Skipped: no word in them.
    unnamed : int
        Skipped: no user given.
    short_users, short_messages : int
        Users dropped because they have too few messages, and these messages.
    doubtful : int
        Rows, kept or not, with a line inside a quoted field that could be a row of its own: where
        a quote is not closed in its row, the rows up to the next quote become part of the text.
    """

    rows: int
    messages: int
    empty: int = 0
    unnamed: int = 0
    short_users: int = 0
    short_messages: int = 0
    doubtful: int = 0

    def __str__(self) -> str:
        short = f"messages of {self.short_users:,} users with too few"
        skipped = {
            "empty texts": self.empty,
            "rows without a user": self.unnamed,
            short: self.short_messages,
        }
        left_out = ", ".join(f"{count:,} {what}" for what, count in skipped.items() if count)
        kept = f"{self.messages:,} of {self.rows:,} rows kept"
        told = f"{kept}; left out: {left_out}" if left_out else kept
        if not self.doubtful:
            return told
        return (
            f"{told}; rows with a line inside quotes that looks like a row: {self.doubtful:,} (if "
            "the file quotes nothing, pass quote=None)"
        )


def read(
    path: str | os.PathLike[str],
    *,
    user: str,
    text: str,
    time: str | None = None,
    min_messages: int = 3,
    short_histories: Literal["drop", "error"] = "drop",
    lower: bool = True,
    tokenizer: Tokenizer = "words",
    time_format: str | None = None,
    encoding: str = "utf-8-sig",
    encoding_errors: str = "strict",
    delimiter: str | None = None,
    quote: str | None = '"',
    column_names: Sequence[str] | None = None,
    progress: bool | None = None,
    report: Callable[[Report], object] | None = None,
) -> Corpus:
    """Read a log of messages into a corpus, in little memory however long it is.

    The ending of the file tells its format: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson`` (each
    also with ``.gz``), ``.parquet`` or ``.pq``. Rows without text or user are skipped, and users
    with few messages dropped; a warning then says how many, unless `report` takes the count.

    Parameters
    ----------
    path : path
        The file.
    user, text, time : str
        The columns that hold who wrote, what and when. Names of users are compared in Unicode's
        form NFC, without spaces around them. Where all names are whole numbers, "123.0", which
        merging tables makes of 123, is user "123". Times are ISO 8601 dates (UTC where no zone
        is given) or numbers, such as seconds since 1970; without `time`, the order of the rows is
        the order in time.
    min_messages : int
        How many messages a user must have. Splitting a history in time takes 3.
    short_histories : {"drop", "error"}
        What to do about users who have fewer.
    lower : bool
        Write everything in lower case.
    tokenizer : {"words", "characters"} or callable
        What cuts one message into tokens. "words" is :func:`companion.corpora.tokenize`, for any
        script with spaces between words; "characters", for Chinese, Japanese, Thai and others
        without, takes every character with its marks as a token. A warning tells where "words"
        meets text with hardly any spaces. Or a function that gives a list of words.
    time_format : str, optional
        How dates are written, if not after ISO 8601, such as ``"%d/%m/%Y %H:%M"``.
    encoding, encoding_errors : str
        How characters are written in a text file, and what to do about wrong ones, as in `open`.
    delimiter : str, optional
        What stands between two fields; by default, the ending of the file tells.
    quote : str or None
        What stands around a field that holds a delimiter, a quote or a line break; None if the
        file quotes nothing.
    column_names : sequence of str, optional
        The names of the columns, for a delimited file without a header row.
    progress : bool, optional
        Show a progress bar; by default, in a terminal or a notebook only.
    report : callable, optional
        Is given a `Report`: what became of every row. ``report=print`` shows it.

    Raises
    ------
    ValueError, TypeError
        If an option is not one of those allowed.
    LogError
        (A `ValueError`.) If a column is missing, a time unreadable, a row malformed, a character
        not in the encoding; if there are no rows, or none with text; if no user has enough
        messages. The message names the file, the row and what is allowed.
    """
    min_messages = check_integer("min_messages", min_messages, at_least=1)
    check_tokenizer(tokenizer)
    if short_histories not in ("drop", "error"):
        raise ValueError(f"short_histories must be 'drop' or 'error', not {short_histories!r}")
    source = Source(
        _checked(path), user, text, time, encoding, encoding_errors, delimiter, quote, column_names
    )
    source.check_options()
    gathering = Gathering(Encoder(lower, tokenizer))
    fates, doubtful = _gather(source, gathering, _Clock(source, time_format), progress)
    corpus, summary = _finished(source, gathering.corpus(), fates, min_messages, short_histories)
    summary = replace(summary, doubtful=doubtful)
    if tokenizer == "words" and gathering.hardly_any_spaces:
        warnings.warn(
            f"{source.path.name}: most messages have hardly any spaces, so tokenizer='words' takes "
            "whole sentences for words; pass tokenizer='characters', or a function of your own",
            stacklevel=2,
        )
    if report:
        report(summary)
    elif summary.messages < summary.rows or doubtful:
        warnings.warn(f"{source.path.name}: {summary}", stacklevel=2)
    return corpus


def _checked(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        problem = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"path={str(path)!r} {problem}")
    return path


class _Clock:
    """Reads the times of one chunk after the other, all in the way of the first."""

    def __init__(self, source: Source, time_format: str | None) -> None:
        self.source, self.time_format = source, time_format
        self.numeric: bool | None = False if time_format else None

    def times(self, chunk: Chunk) -> np.ndarray:
        """``(rows,)`` int64, or float64 where a number has a fraction."""
        values = chunk.times
        if values is None:
            return np.asarray(chunk.rows, dtype=np.int64)
        if isinstance(values, np.ndarray):
            return values
        if self.numeric is None and len(values):
            self.numeric = is_number(values[0])
        times, wrong = parse_times(values, self.time_format, bool(self.numeric))
        if wrong >= 0:
            raise self._unreadable(chunk.rows[wrong], values[wrong])
        return times

    def _unreadable(self, row: int, value: str) -> LogError:
        if self.numeric:
            allowed = "a number, as in the first row"
        else:
            form = self.time_format or "2016-12-22T21:09:22Z (ISO 8601)"
            allowed = f"a date such as {form}; for another way of writing, pass time_format"
        return self.source.error(row, f"{value!r} must be {allowed}", column=self.source.time)


def _gather(
    source: Source, gathering: Gathering, clock: _Clock, progress: bool | None
) -> tuple[np.ndarray, int]:
    """Add every row; how many were added, empty and without a user, ``(3,)``; how many doubtful."""
    fates, doubtful = np.zeros(3, dtype=np.int64), 0
    size = source.path.stat().st_size
    with progress_bar(size, f"Reading {source.path.name}", "B", progress) as bar:
        bar.unit_scale = True
        for chunk in chunks(source):
            fate = gathering.add(chunk.users, chunk.texts, clock.times(chunk))
            fates += np.bincount(fate, minlength=3)
            doubtful += chunk.doubtful
            bar.update(chunk.bytes_read - bar.n)
    return fates, doubtful


def _finished(
    source: Source, corpus: Corpus, fates: np.ndarray, min_messages: int, short_histories: str
) -> tuple[Corpus, Report]:
    """The corpus without users of few messages, and what became of every row."""
    added, empty, unnamed = (int(count) for count in fates)
    name, rows = source.path.name, int(fates.sum())
    if not rows:
        raise LogError(f"{name}: there are no rows")
    if not added:
        problem = f"{empty:,} without a word in column {source.text!r}"
        raise LogError(
            f"{name}: none of its {rows:,} rows can be used: {problem}, "
            f"{unnamed:,} without a user in column {source.user!r}"
        )
    counts = corpus.message_counts
    short = counts < min_messages
    if short.all() or (short.any() and short_histories == "error"):
        first = int(np.argmax(short))
        raise LogError(
            f"{name}: {short.sum():,} of {len(short):,} users have fewer than "
            f"min_messages={min_messages} messages, such as {corpus.user_names[first]!r} "
            f"with {counts[first]}; the longest history has {counts.max():,}"
        )
    kept = at_least(corpus, min_messages) if short.any() else corpus
    few = {"short_users": int(short.sum()), "short_messages": int(counts[short].sum())}
    return kept, Report(rows, len(kept), empty, unnamed, **few)


__all__ = ["LogError", "Report", "read"]
