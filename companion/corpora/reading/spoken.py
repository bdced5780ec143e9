"""Chats kept as text, WhatsApp's and IRC's; lines that nobody wrote are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from . import irc, whatsapp
from .source import Chunk, LogError, Source

TEXT_FORMS = {"whatsapp": whatsapp.messages, "irc": irc.messages}
_PART = 16_384  # messages


def spoken(source: Source, lines: Iterable[str]) -> Iterator[Chunk]:
    """The messages of a chat in its lines.

    Raises
    ------
    LogError
        If no line begins as a message does, or a date cannot be told.
    """
    counted = _Counter(line.rstrip("\r\n") for line in lines)
    found = TEXT_FORMS[source.form or ""](source, counted)
    some, any_at_all = list(islice(found, _PART)), False
    while some:
        any_at_all = True
        written = [one for one in some if one.kind != "system"]
        yield Chunk(
            [one.line for one in written],
            [one.user for one in written],
            [one.text for one in written],
            [one.time for one in written] if source.time else None,
            source.size,
            system=len(some) - len(written),
            attachments=sum(one.kind == "attachment" for one in written),
        )
        some = list(islice(found, _PART))
    if not any_at_all and counted.seen:
        raise LogError(
            f"{source.name}: none of its {counted.seen:,} lines begins as a message of "
            f"format={source.form!r} does: name another format, one of "
            f"{', '.join(map(repr, TEXT_FORMS))}, or give the rows as records with a user and text"
        )


class _Counter:
    """Lines, and how many there were."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.seen = 0
        self._lines = iter(lines)

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.seen += 1
            yield line


__all__ = ["TEXT_FORMS", "spoken"]
