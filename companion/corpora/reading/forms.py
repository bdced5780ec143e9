"""What chat programs call things in their exports, and what in these nobody wrote."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Form:
    """How a program exports its messages.

    Parameters
    ----------
    user, text, time : str
        Keys, full stops between those inside each other.
    files : str
        Which files of a folder hold messages.
    is_message : callable
        Whether a record is one that a person wrote.
    clean : callable
        A text as the person saw it.
    """

    user: str = "user"
    text: str = "text"
    time: str = "time"
    files: str = "**/*"
    is_message: Callable[[Mapping[str, Any]], bool] = lambda record: True
    clean: Callable[[str], str] = str


_LINK_WITH_NAME = re.compile(r"<((?:https?|mailto):[^>|]*)(?:\|[^>]*)?>")
_SOMEBODY = re.compile(r"<(?:@[UW]\w+|!\w+)(?:[\^|][^>]*)?>")
_CHANNEL = re.compile(r"<#C\w+(?:\|([^>]*))?>")
_SLACK_MESSAGES = (None, "thread_broadcast", "me_message", "file_share", "file_comment")


def _slack_text(text: str) -> str:
    """Links, people and channels without Slack's brackets, and its three entities."""
    text = _SOMEBODY.sub("@somebody", text)
    text = _CHANNEL.sub(lambda found: f"#{found[1] or 'channel'}", text)
    return html.unescape(_LINK_WITH_NAME.sub(r"\1", text))


FORMS = {
    "telegram": Form(
        "from", "text", "date", "**/*.json", lambda r: r.get("type", "message") == "message"
    ),
    "slack": Form(
        "user",
        "text",
        "ts",
        "*/*.json",  # those beside the folders of channels list users and channels
        lambda r: r.get("subtype") in _SLACK_MESSAGES and "bot_id" not in r and "user" in r,
        _slack_text,
    ),
    "discord": Form(
        "author.name",
        "content",
        "timestamp",
        "**/*.json",
        lambda r: (
            r.get("type", "Default") in ("Default", "Reply")
            and not r.get("author", {}).get("isBot", False)
        ),
    ),
    "whatsapp": Form(files="**/*.txt"),
    "irc": Form(files="**/*"),
}

__all__ = ["FORMS", "Form"]
