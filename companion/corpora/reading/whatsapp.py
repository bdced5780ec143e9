"""WhatsApp's export of a chat as text, from Android and from iPhones, in any of its languages.

A line that begins with a date, a time and a name begins a message; lines without are its next ones.
For more than reading, such as charts of who writes when, there is `whatstk`, whose frames
:func:`companion.corpora.reading.logs.read` takes, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from .source import LogError, Source, Spoken

_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\ufeff"
# Chinese, Japanese and Korean say before the time which half of the day it is in
_HALVES = {"上午": "a", "午前": "a", "오전": "a", "下午": "p", "午後": "p", "오후": "p"}
_HEAD = re.compile(
    rf"[{_MARKS}]*\[?(\d{{1,4}})([./-])\s?(\d{{1,2}})\2\s?(\d{{1,4}})[,.]?\s"  # the date
    rf"(?:\w+\.?\s)?(?:({'|'.join(_HALVES)})\s?)?"  # as "um" and "kl."
    r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\s?([AaPp])\.?\s?[Mm]\.?)?"  # the time
    r"(?:\]\s|\s[-–]\s)(.*)"
)
# Android writes <Media omitted>, in its language; or the name of a file and "(file attached)"
_OMITTED = re.compile(r"<[^<>]{3,60}>|[\w -]+\.\w{2,5} \([^()]+\)")
# an iPhone puts a mark before what it wrote itself; this is what it says of attachments
_OMITTED_MARKED = re.compile(
    r"<[^<>]+>|.{2,30}\b(?:omitted|weggelassen|ausgelassen|omitid[oa]s?|omise?s?|omess[oaie]"
    r"|ocult[oa]|weggelaten)",
    re.IGNORECASE,
)
_EDITED = re.compile(r"\s*\u200e<[^<>]*>$")
_DELETED = re.compile(
    r"(?:this message was deleted|you deleted this message|diese nachricht wurde gelöscht"
    r"|du hast diese nachricht gelöscht|se eliminó este mensaje|eliminaste este mensaje"
    r"|ce message a été supprimé|vous avez supprimé ce message|mensagem apagada"
    r"|essa mensagem foi apagada|questo messaggio è stato eliminato"
    r"|hai eliminato questo messaggio|dit bericht (?:is|werd) verwijderd"
    r"|je hebt dit bericht verwijderd)\.?",
    re.IGNORECASE,
)


class _Message(NamedTuple):
    line: int
    stamp: tuple[str, ...]
    texts: list[str]


def messages(source: Source, lines: Iterable[str]) -> Iterator[Spoken]:
    """The messages of an export, with those that nobody wrote.

    Raises
    ------
    LogError
        If a date is none, or day and month cannot be told apart.
    """
    found = list(_found(lines))
    order = _order(source, [message.stamp for message in found])
    for message in found:
        yield _spoken(message, _moment(source, message, order).isoformat())


def _found(lines: Iterable[str]) -> Iterator[_Message]:
    message = None
    for number, line in enumerate(lines, 1):
        head = _HEAD.fullmatch(line)
        if head:
            if message:
                yield message
            day, _, month, year, before, *time, after, text = head.groups(default="")
            half = _HALVES.get(before, after)
            message = _Message(number, (day, month, year, *time, half), [text])
        elif message:
            message.texts.append(line)
    if message:
        yield message


def _spoken(message: _Message, time: str) -> Spoken:
    """Who wrote what, as far as somebody did."""
    user, colon, first = message.texts[0].partition(": ")
    if not colon and message.texts[0].endswith(":"):  # the text begins on the next line
        user, colon = message.texts[0][:-1], ":"
    user = user.strip(_MARKS + "~ \u202f\xa0")
    rest = message.texts[1:]
    marked, first = first.startswith("\u200e"), first.strip(_MARKS + " ")
    if _OMITTED.fullmatch(first) or (marked and _OMITTED_MARKED.fullmatch(first)):
        caption = "\n".join(rest).strip()
        return Spoken(message.line, user, caption, time, "message" if caption else "attachment")
    text = _EDITED.sub("", "\n".join([first, *rest])).strip(_MARKS + " \n")
    if not colon or not user or marked or _DELETED.fullmatch(text):
        return Spoken(message.line, "", "", time, "system")
    return Spoken(message.line, user, text, time)


def _order(source: Source, stamps: list[tuple[str, ...]]) -> str:
    """The order of day, month and year in all dates of a chat: "dmy", "mdy" or "ymd"."""
    if source.time_format:
        places = {letter.lower(): source.time_format.find(f"%{letter}") for letter in "dmyY"}
        places["y"] = max(source.time_format.find("%y"), source.time_format.find("%Y"))
        return "".join(sorted("dmy", key=places.__getitem__))
    if not stamps or len(stamps[0][0]) == 4:
        return "ymd"
    if any(int(first) > 12 for first, *_ in stamps):
        return "dmy"
    if any(int(second) > 12 for _, second, *_ in stamps):
        return "mdy"
    return _growing(source, stamps)


def _growing(source: Source, stamps: list[tuple[str, ...]]) -> str:
    """The order in which the dates grow, as those of a chat do."""
    grow = []
    for order, (day, month) in (("dmy", (0, 1)), ("mdy", (1, 0))):
        days = [(int(s[2]), int(s[month]), int(s[day])) for s in stamps]
        if days == sorted(days):
            grow.append(order)
    same = all(first == second for first, second, *_ in stamps)
    if len(grow) == 1 or same:
        return grow[0] if grow else "dmy"
    raise LogError(
        f"{source.name}: its dates can be read with the day first and with the month first: pass "
        "time_format='%d/%m/%y' or time_format='%m/%d/%y'"
    )


def _moment(source: Source, message: _Message, order: str) -> datetime:
    *date, hour, minute, second, half = message.stamp
    parts = dict(zip(order, map(int, date), strict=True))
    year = parts["y"] + (2000 if parts["y"] < 100 else 0)
    hours = int(hour) % 12 + 12 * (half in "pP") if half else int(hour)
    try:
        return datetime(year, parts["m"], parts["d"], hours, int(minute), int(second or 0))
    except ValueError as error:
        problem = f"there is no such date or time ({error}), read as {order}"
        advice = "pass time_format, such as '%d/%m/%y'"
        raise source.error(message.line, f"{problem}: {advice}") from error


__all__ = ["messages"]
