"""Plays of Shakespeare: every role is a user, every speech a message."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from companion.corpora.corpus import Corpus, at_least
from companion.corpora.tokens import Encoder

from .downloads import local_files, remote
from .gathering import Gathering

_FOLDER = "shakespeare_plays"
# a line may open a stage direction that a line of its own closes, or the other way round
_DIRECTION = re.compile(r"\[[^\]]*(?:\]|$)|^[^\[\]]*\]")
# labels of several people at once; HOSTESS and the like are one
_GROUP = re.compile(
    r"(ALL|BOTH)\b|.*(,| and |\bGHOSTS\b)|(AEDILES|CITIZENS|DANES|LORDS|MARINERS|OUTLAWS|PAGES"
    r"|PRINCES|SENATORS|SERVANTS|SOLDIERS|THIEVES|TRIBUNES)$"
)


def shakespeare(
    plays: Sequence[str] | None = None,
    min_messages: int = 1,
    lower: bool = True,
    progress: bool | None = None,
) -> Corpus:
    """Speeches of Shakespeare's plays; each role of each play is a user.

    A speech is what one role says in one scene until another one speaks. Stage directions are left
    out, and so is what several say together (labels such as ALL or BOTH). The order in time is that
    of the plays as given and of the speeches in them; no two plays share a user.

    The 27 plays are read from the folder ``COMPANION_DATA``, or downloaded once (14 MB) and kept.
    The text is in the public domain (Project Gutenberg; prepared by H. McManus).

    Parameters
    ----------
    plays : sequence of str, optional
        Which plays, such as ``["hamlet", "king_lear"]``; all, if not given.
    min_messages : int
        Leave out roles with fewer speeches.
    lower : bool
        Write everything in lower case.
    progress : bool, optional
        Show a progress bar while downloading; by default, in a terminal or a notebook only.

    Raises
    ------
    ValueError
        If there is no such play, or no role has enough speeches.
    DataError
        If the text cannot be had; see :func:`companion.corpora.reading.downloads.local_files`.
    """
    source = remote(_FOLDER)
    paths = local_files(source, source.choose(plays, "plays"), progress)
    speeches = [speech for path in paths for speech in _speeches(path)]
    gathering = Gathering(Encoder(lower))
    roles, texts = zip(*speeches, strict=True)
    gathering.add(roles, texts, np.arange(len(speeches)))
    return at_least(gathering.corpus(), min_messages)


def _speeches(path: Path) -> Iterator[tuple[str, str]]:
    """Role and text of each speech of a play, in order."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [
            row
            for row in csv.DictReader(file)
            if row["section"] == "contents" and row["class"] == "dialogue"
        ]
    for (_, _, role), spoken in groupby(lines, key=itemgetter("act", "scene", "character")):
        if not _GROUP.match(role):
            words = "\n".join(_DIRECTION.sub(" ", row["text"]) for row in spoken)
            yield f"{role} ({path.stem})", words


__all__ = ["shakespeare"]
