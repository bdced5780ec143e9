"""Your own logs, of any length and from anywhere, to a corpus."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from companion.corpora.corpus import Corpus, at_least
from companion.corpora.tokens import Encoder, Tokenizer, check_tokenizer
from companion.progress import progress_bar
from companion.settings import check_integer

from .gathering import Gathering
from .opening import check_form, opened
from .report import Report
from .rows import Chunk, chunks
from .source import LogError, Source, shortened
from .spoken import TEXT_FORMS
from .times import is_number, parse_times


def read(
    messages: str | os.PathLike[str] | Any,
    *,
    user: str | None = None,
    text: str | None = None,
    time: str | None = None,
    format: str | None = None,
    min_messages: int = 3,
    short_histories: Literal["drop", "error"] = "drop",
    lower: bool = True,
    tokenizer: Tokenizer = "words",
    time_format: str | None = None,
    encoding: str = "utf-8-sig",
    encoding_errors: str = "strict",
    delimiter: str | None = None,
    quote: str | None = '"',
    escape: str | None = None,
    column_names: Sequence[str] | None = None,
    records: str | None = None,
    missing: Literal["error", "skip"] = "error",
    progress: bool | None = None,
    report: Callable[[Report], object] | None = None,
) -> Corpus:
    """Read messages into a corpus, in little memory however many they are.

    The ending of a file tells its format: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, ``.json``
    (each also with ``.gz``), ``.parquet`` or ``.pq``; what chat programs export is named by
    `format`. Rows without text or user are skipped, and users with few messages dropped; a warning
    then says how many, unless `report` takes the count.

    Parameters
    ----------
    messages : path, frame, table or iterable
        A file; a folder, of which all files that can be read are; a frame of pandas; a table of
        Arrow, or a frame of another library that gives one (Polars); or records, mappings from
        names of columns to values, in any iterable. Only ``.json`` is read into memory whole.
    user, text, time : str
        The columns that hold who wrote, what and when; in JSON and records, ``"from.name"`` is the
        key ``name`` inside the key ``from``. Names of users are compared in Unicode's form NFC,
        without spaces around them. Where all names are whole numbers, "123.0", which merging tables
        makes of 123, is user "123". Times are ISO 8601 dates (UTC where no zone is given) or
        numbers, such as seconds since 1970; without `time`, the order of the rows is the order in
        time. A text that is a list, as Telegram writes it, is joined.
    format : {"telegram", "slack", "discord", "whatsapp", "irc"}, optional
        Where the messages come from: Telegram's ``result.json``, the unpacked folder of Slack's
        export, JSON of DiscordChatExporter, a chat that WhatsApp exported as text, a log of irssi,
        WeeChat, ZNC or HexChat. The columns are known then, and lines that nobody wrote left out.
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
        How dates are written, if not after ISO 8601, such as ``"%d/%m/%Y %H:%M"``. Of WhatsApp's,
        it tells the order of day and month only.
    encoding, encoding_errors : str
        How characters are written in a text file, and what to do about wrong ones, as in `open`.
    delimiter : str, optional
        What stands between two fields; by default, the ending of the file tells.
    quote : str or None
        What stands around a field that holds a delimiter, a quote or a line break; None if the
        file quotes nothing.
    escape : str, optional
        What stands before a quote inside a field, such as a backslash, where the file does not
        write the quote twice.
    column_names : sequence of str, optional
        The names of the columns, for a delimited file without a header row.
    records : str, optional
        Where the list is in a JSON file that is an object, such as ``"messages"`` or, in lists of
        lists, ``"chats.list.messages"``; these two are found without.
    missing : {"error", "skip"}
        What to do about a record that lacks a key; "skip" takes it for empty.
    progress : bool, optional
        Show a progress bar; by default, in a terminal or a notebook only.
    report : callable, optional
        Is given a `Report`: what became of every row. ``report=print`` shows it.

    Raises
    ------
    ValueError, TypeError
        If an option is not one of those allowed.
    FileNotFoundError
        If there is no such file, or none in the folder that can be read.
    LogError
        (A `ValueError`.) If a column is missing, a time unreadable, a row malformed, a character
        not in the encoding; if there are no rows, or none with text; if no user has enough
        messages. The message names the file, the row, the column and what is allowed.
    """
    min_messages = check_integer("min_messages", min_messages, at_least=1)
    check_tokenizer(tokenizer)
    if short_histories not in ("drop", "error"):
        raise ValueError(f"short_histories must be 'drop' or 'error', not {short_histories!r}")
    form = check_form(format)
    source = Source(
        Path(),
        user or (form and form.user),  # type: ignore[arg-type]  # which check_options checks
        text or (form and form.text),  # type: ignore[arg-type]
        time if form is None else time or form.time,
        encoding,
        encoding_errors,
        delimiter,
        quote,
        column_names,
        escape,
        records,
        missing,
        format,
        time_format,
    )
    source.check_options()
    whole, parts = opened(source, messages, form)
    gathering = Gathering(Encoder(lower, tokenizer))
    fates, noticed = _gather(whole, parts, gathering, progress)
    corpus, summary = _finished(whole, gathering.corpus(), fates, min_messages, short_histories)
    summary = replace(summary, **noticed)
    if tokenizer == "words" and gathering.hardly_any_spaces:
        warnings.warn(
            f"{whole.name}: most messages have hardly any spaces, so tokenizer='words' takes "
            "whole sentences for words; pass tokenizer='characters', or a function of your own",
            stacklevel=2,
        )
    if report:
        report(summary)
    elif summary.messages < summary.rows or summary.doubtful:
        warnings.warn(f"{whole.name}: {summary}", stacklevel=2)
    return corpus


class _Clock:
    """Reads the times of one chunk after the other, all in the way of the first."""

    def __init__(self, time_format: str | None) -> None:
        self.time_format = time_format
        self.numeric: bool | None = False if time_format else None
        self.rows = 0  # of the files before

    def times(self, source: Source, chunk: Chunk) -> np.ndarray:
        """``(rows,)`` int64, or float64 where a number has a fraction."""
        values = chunk.times
        if values is None:
            return np.asarray(chunk.rows, dtype=np.int64) + self.rows
        if isinstance(values, np.ndarray):
            return values
        if self.numeric is None and len(values):
            self.numeric = is_number(values[0])
        times, wrong = parse_times(values, self.time_format, bool(self.numeric))
        if wrong >= 0:
            raise self._unreadable(source, chunk.rows[wrong], values[wrong])
        return times

    def _unreadable(self, source: Source, row: int, value: str) -> LogError:
        if self.numeric:
            allowed = "a number, as in the first row"
        else:
            form = self.time_format or "2016-12-22T21:09:22Z (ISO 8601)"
            allowed = f"a date such as {form}; for another way of writing, pass time_format"
        return source.error(row, f"{shortened(value)!r} must be {allowed}", column=source.time)


def _gather(
    whole: Source, parts: Sequence[Source], gathering: Gathering, progress: bool | None
) -> tuple[np.ndarray, dict[str, int]]:
    """Add every row; how many were added, empty and without a user, ``(3,)``; what was noticed."""
    fates = np.zeros(3, dtype=np.int64)
    noticed = {"doubtful": 0, "system": 0, "attachments": 0}
    clock = _Clock(None if whole.form in TEXT_FORMS else whole.time_format)
    size, unit = sum(part.size for part in parts), "B" if whole.data is None else "row"
    with progress_bar(size, f"Reading {whole.name}", unit, progress) as bar:
        bar.unit_scale, before, last = True, 0, 0
        for part in parts:
            for chunk in chunks(part):
                fate = gathering.add(chunk.users, chunk.texts, clock.times(part, chunk))
                fates += np.bincount(fate, minlength=3)
                for name in noticed:
                    noticed[name] += getattr(chunk, name)
                bar.update(before + chunk.done - bar.n)
                last = chunk.rows[-1] if len(chunk.rows) else last
            before += part.size
            clock.rows, last = clock.rows + last, 0
    return fates, noticed


def _finished(
    source: Source, corpus: Corpus, fates: np.ndarray, min_messages: int, short_histories: str
) -> tuple[Corpus, Report]:
    """The corpus without users of few messages, and what became of every row."""
    added, empty, unnamed = (int(count) for count in fates)
    name, rows = source.name, int(fates.sum())
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
        name_of_first = shortened(corpus.user_names[first])
        raise LogError(
            f"{name}: {short.sum():,} of {len(short):,} users have fewer than "
            f"min_messages={min_messages} messages, such as {name_of_first!r} "
            f"with {counts[first]}; the longest history has {counts.max():,}"
        )
    kept = at_least(corpus, min_messages) if short.any() else corpus
    few = {"short_users": int(short.sum()), "short_messages": int(counts[short].sum())}
    return kept, Report(rows, len(kept), empty, unnamed, **few)


__all__ = ["LogError", "Report", "read"]
