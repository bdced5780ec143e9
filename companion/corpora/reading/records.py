"""Records with keys, nested or not: JSON Lines, JSON documents, and dictionaries in memory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from .forms import FORMS
from .source import Chunk, LogError, Source, _opened, no_text

_LISTS = ("messages", "chats.list.messages")  # where chat programs put what was written


def record_chunks(source: Source, records: Iterable[Any], size: int) -> Iterator[Chunk]:
    """Records that are there or come one by one, `size` at a time.

    Raises
    ------
    LogError
        If one is no record, lacks a key, or holds what is no text; the message names the row.
    """
    numbered = iter(enumerate(records, 1))
    while some := list(islice(numbered, size)):
        yield chunk_of(source, some, some[-1][0])


def document(source: Source, size: int) -> Iterator[Chunk]:
    """The records of a JSON file: a list, or an object that holds one.

    Raises
    ------
    LogError
        If it is no JSON, or where its list is cannot be told; see :func:`record_chunks`, too.
    """
    with _opened(source) as (text, _):
        try:
            whole = json.load(text)
        except UnicodeDecodeError as error:
            problem = f"byte 0x{error.object[error.start]:02x} is not {source.encoding}"
            raise LogError(f"{source.name}: {problem}: pass its encoding") from error
        except (json.JSONDecodeError, RecursionError, EOFError, OSError, zlib.error) as error:
            raise LogError(
                f"{source.name}: not a JSON document ({_told(error)}); if each line is an object "
                "of its own, name the file .jsonl"
            ) from error
    for chunk in record_chunks(source, _found(source, whole), size):
        yield _done(chunk, source.size)


def _told(error: Exception) -> str:
    """Where JSON ends to be JSON, without the text that stands there."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno:,}"
    return type(error).__name__


def _done(chunk: Chunk, size: int) -> Chunk:
    return Chunk(**{**vars(chunk), "done": size})


def _found(source: Source, whole: Any) -> list[Any]:
    """The list of records in a document."""
    wanted = [source.records] if source.records else ["", *_LISTS]
    for place in wanted:
        found = _at(whole, place)
        if found is not None:
            return found
    keys = ", ".join(map(repr, whole)) if isinstance(whole, dict) else type(whole).__name__
    told = f"no list at records={source.records!r}" if source.records else "no list of records"
    raise LogError(
        f"{source.name}: {told} (there are: {keys}). Say where it is, such as records='messages' "
        "or, in lists of lists, records='chats.list.messages'"
    )


def _at(whole: Any, place: str) -> list[Any] | None:
    """The list at a place, those inside a list joined; None where there is none."""
    parts = [whole]
    for key in place.split(".") if place else ():
        inner = [part for each in parts for part in (each if isinstance(each, list) else [each])]
        parts = [part[key] for part in inner if isinstance(part, dict) and key in part]
    lists = [part for part in parts if isinstance(part, list)]
    return [record for part in lists for record in part] if lists else None


def parsed(source: Source, row: int, line: str) -> Any:
    """One line of JSON Lines."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"not a JSON object ({error.msg}, at character {error.pos + 1})"
        raise source.error(row, problem) from error
    except RecursionError as error:
        raise source.error(row, "a JSON object that is nested too deeply") from error


def chunk_of(source: Source, numbered: Sequence[tuple[int, Any]], done: int) -> Chunk:
    """Users, texts and times of some records, each with its row."""
    for row, record in numbered:
        if not isinstance(record, Mapping):
            kind = f"a JSON {type(record).__name__}" if source.data is None else repr(type(record))
            raise source.error(row, f"{kind}, but it must be an object with keys")
    form = FORMS.get(source.form or "")
    kept = [(row, r) for row, r in numbered if form is None or form.is_message(r)]
    users = [_plain(source, row, record, source.user) for row, record in kept]
    texts = [_text(source, row, record) for row, record in kept]
    times = None
    if source.time is not None:
        times = [_plain(source, row, record, source.time) for row, record in kept]
    rows = [row for row, _ in kept]
    return Chunk(rows, users, texts, times, done, system=len(numbered) - len(kept))


def _value(source: Source, row: int, record: Mapping[str, Any], name: str) -> Any:
    """What stands at a key, or at keys inside each other with full stops between."""
    if name in record:
        return record[name]
    value: Any = record
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            if source.missing == "skip" or (source.form and value is not record):
                return None
            keys = value if isinstance(value, Mapping) else {}
            there = ", ".join(map(repr, keys)) or f"none in a {type(value).__name__}"
            raise source.error(
                row,
                f"there is no {name!r} among its keys: {there}. Keys inside others are named as "
                "in 'from.name'; if some records lack it, pass missing='skip'",
            )
        value = value[key]
    return value


def _plain(source: Source, row: int, record: Mapping[str, Any], name: str) -> str:
    """A name or a time; what is missing is an empty text."""
    value = _value(source, row, record, name)
    if isinstance(value, Mapping):
        inner = ", ".join(f"'{name}.{key}'" for key in value)
        raise source.error(row, f"must be text, not an object: name one of {inner}", column=name)
    if isinstance(value, list | tuple | set | bytes | bool):
        raise source.error(row, no_text(value), column=name)
    return "" if value is None or value != value else str(value)


def _text(source: Source, row: int, record: Mapping[str, Any]) -> str:
    """A text; one in parts, as Telegram writes it, is joined."""
    value = _value(source, row, record, source.text)
    if isinstance(value, list):
        value = "".join(_part(source, row, part) for part in value)
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        raise source.error(row, no_text(value), column=source.text)
    form = FORMS.get(source.form or "")
    return form.clean(value) if form else value


def _part(source: Source, row: int, part: Any) -> str:
    inner = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(inner, str):
        problem = f"a part of the text must be text, or have one, not {type(part).__name__}"
        raise source.error(row, problem, column=source.text)
    return inner


__all__ = ["chunk_of", "document", "parsed", "record_chunks"]
