"""Logs of IRC as irssi, WeeChat, ZNC and HexChat write them; joins, quits and topics left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date

from .source import LogError, Source, Spoken

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LINE = re.compile(
    r"\[?(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d(?::\d\d)?)\]?\s+"
    r"(?:<[ @+%&~]?([^>\s]+)>|\*\s([^\s*]\S*))\s(.*)"
)
_WEECHAT = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\t([^\t]*)\t(.*)")
_WEECHAT_SAYS = ("", "--", "-->", "<--", "=!=")
# --- Log opened Sat Jan 04 10:00:00 2020, --- Day changed Sun Jan 05 2020, **** BEGIN LOGGING AT
_DAY = re.compile(r"(?:---|\*\*\*\*) .*?\b([A-Z][a-z]{2})\s+(\d{1,2})(?: [\d:]+)? (\d{4})")
_DAY_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
_COLOURS = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")


def messages(source: Source, lines: Iterable[str]) -> Iterator[Spoken]:
    """What was said, an action being said, too; other lines as nobody's.

    Raises
    ------
    LogError
        If a time is asked for and no day is named: in the line, before it, or in the file's name.
    """
    day, others = _day_in_name(source), []
    told = False  # whether any line was a message: else all of them are of another format
    for number, raw in enumerate(lines, 1):
        line = _COLOURS.sub("", raw)
        day = _day(line) or day
        said = _weechat(line) or _said(line)
        if said is None:
            nobodys = Spoken(number, "", "", "", "system")
            if told:
                yield nobodys
            else:
                others.append(nobodys)
            continue
        if not told:
            told = True
            yield from others
        on, clock, user, text = said
        if not (on or day) and source.time:
            raise LogError(
                f"{source.name}, line {number:,}: on which day? Name the file after it, such as "
                "2020-01-04.log, or begin it with a line such as --- Log opened Sat Jan 04 2020"
            )
        yield Spoken(number, user, text, f"{on or day}T{clock}")


def _said(line: str) -> tuple[str | None, str, str, str] | None:
    """Day, time, user and text of a line; None where nobody says anything."""
    found = _LINE.fullmatch(line)
    if not found:
        return None
    on, clock, user, actor, text = found.groups()
    return on, clock, user or actor, text


def _weechat(line: str) -> tuple[str | None, str, str, str] | None:
    found = _WEECHAT.fullmatch(line)
    if not found or found[3].strip() in _WEECHAT_SAYS:
        return None
    on, clock, user, text = found.groups()
    if user.strip() == "*":
        user, _, text = text.partition(" ")
    return on, clock, user.strip(" @+%&~"), text


def _day(line: str) -> str | None:
    found = _DAY.match(line)
    if not found or found[1] not in _MONTHS:
        return None
    return f"{found[3]}-{_MONTHS.index(found[1]) + 1:02d}-{int(found[2]):02d}"


def _day_in_name(source: Source) -> str | None:
    for year, month, day in _DAY_IN_NAME.findall(source.name):
        try:
            return date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            continue
    return None


__all__ = ["messages"]
