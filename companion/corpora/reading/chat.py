"""Chat rooms of freeCodeCamp: every author is a user, known by a number only."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from companion.corpora.corpus import Corpus, at_least
from companion.corpora.tokens import CODE, Encoder

from .downloads import local_files, remote
from .gathering import Gathering
from .times import parse_times

_FOLDER = "gitter_freecodecamp"
_BOT = "camperbot"


class _Message(NamedTuple):
    sent: str
    author: str
    id: str
    text: str


def chat(
    rooms: Sequence[str] | None = None,
    min_messages: int = 1,
    lower: bool = True,
    progress: bool | None = None,
) -> Corpus:
    """Messages of freeCodeCamp's public chat rooms on Gitter, 2015 and 2016.

    Authors are real people: each is called "author 1", "author 2" and so on, in the order in which
    they first wrote, and those whom a message mentions are called ``<mention>``. Print no message
    and no profile of an author. Left out are the bot, messages stored twice, and messages that hold
    nothing or nothing but code. Times are microseconds since 1970 (UTC).

    The 11 rooms are read from the folder ``COMPANION_DATA``, or downloaded once (20 MB) and kept
    (freeCodeCamp/gitter-history, BSD 3-Clause).

    Parameters
    ----------
    rooms : sequence of str, optional
        Which rooms, such as ``["Casual", "python"]``; all, if not given.
    min_messages : int
        Leave out authors with fewer messages.
    lower : bool
        Write everything in lower case.
    progress : bool, optional
        Show a progress bar while downloading; by default, in a terminal or a notebook only.

    Raises
    ------
    ValueError
        If there is no such room, or no author has enough messages.
    DataError
        If the text cannot be had; see :func:`companion.corpora.reading.downloads.local_files`.
    """
    source = remote(_FOLDER)
    paths = local_files(source, source.choose(rooms, "rooms"), progress)
    # dates of one form and one zone, so their order as text is their order in time
    messages = sorted({m.id: m for path in paths for m in _messages(path)}.values())
    # in these rooms a # begins a heading, a color or a comment in code, hardly ever a hashtag
    gathering = Gathering(Encoder(lower, hashtags=False))
    times, _ = parse_times([m.sent for m in messages])
    gathering.add([m.author for m in messages], [m.text for m in messages], times)
    return at_least(_nameless(_without_bare_code(gathering.corpus())), min_messages)


def _messages(path: Path) -> Iterator[_Message]:
    """Messages of people in one room."""
    with path.open(encoding="utf-8", newline="") as file:
        for _, _, sent, _, author, message_id, text in csv.reader(file, "excel-tab"):
            if author != _BOT:
                yield _Message(sent, author, message_id, text)


def _without_bare_code(corpus: Corpus) -> Corpus:
    """Only the messages that hold something besides code."""
    other = np.concatenate([[0], np.cumsum(corpus.tokens != corpus.vocabulary.id(CODE))])
    return corpus.select(other[corpus.starts + corpus.lengths] > other[corpus.starts])


def _nameless(corpus: Corpus) -> Corpus:
    """Numbers for names: users were met, and so numbered, in the order of their first message."""
    names = tuple(f"author {number}" for number in range(1, corpus.n_users + 1))
    return replace(corpus, user_names=names)


__all__ = ["chat"]
