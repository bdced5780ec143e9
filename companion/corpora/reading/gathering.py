"""Messages gathered into the columns of a corpus, chunk by chunk, in little memory."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from companion.corpora.corpus import Corpus, in_order
from companion.corpora.tokens import Encoder

_WHOLE_NUMBER = re.compile(r"(-?\d+)(?:\.0+)?")
_LONG = 15  # characters; longer than the words of any script with spaces are on average


class Gathering:
    """Grows a corpus by chunks of messages; text is kept as token ids only.

    Parameters
    ----------
    encoder : Encoder
        Turns messages into token ids.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._users: defaultdict[str, int] = defaultdict()
        self._users.default_factory = self._users.__len__
        self._columns: dict[str, list[np.ndarray]] = {
            name: [] for name in ("tokens", "lengths", "users", "times")
        }
        self._long = self._unspaced = 0

    def add(self, users: Sequence[str], texts: Sequence[str], times: np.ndarray) -> np.ndarray:
        """Add messages; one without a single token, or without a user's name, is left out.

        Returns
        -------
        np.ndarray
            ``(messages,)`` int8: 0 for a message added, 1 for an empty one, 2 for one with text
            but no user.
        """
        tokens, lengths = self.encoder.encode(texts)
        self._count_spaces(texts)
        # "a" and " a" are one person, and so are "é" and "e" with an accent after it
        users = [unicodedata.normalize("NFC", user.strip()) for user in users]
        unnamed = np.fromiter((not user for user in users), dtype=bool, count=len(users))
        fate = np.where(lengths == 0, 1, np.where(unnamed, 2, 0)).astype(np.int8)
        added = fate == 0
        if not added.all():
            tokens = tokens[np.repeat(added, lengths)]
            users = [user for user, keep in zip(users, added, strict=True) if keep]
        ids = np.fromiter(map(self._users.__getitem__, users), dtype=np.int32, count=len(users))
        chunk = {"tokens": tokens, "lengths": lengths[added], "users": ids, "times": times[added]}
        for name, values in chunk.items():
            self._columns[name].append(values)
        return fate

    def _count_spaces(self, texts: Sequence[str]) -> None:
        """Count long messages, and those of them that are no words with spaces between."""
        long = [text for text in texts if len(text) >= _LONG]
        self._long += len(long)
        # a long ASCII text without a space is a link or code
        self._unspaced += sum(
            not text.isascii() and len(text) >= _LONG * len(text.split()) > 0 for text in long
        )

    @property
    def hardly_any_spaces(self) -> bool:
        """Whether most of the long messages, as far as there are some, are without spaces."""
        return self._unspaced >= 3 and 2 * self._unspaced > self._long

    def corpus(self) -> Corpus:
        """Everything added, in a corpus. The gathering is empty afterwards."""
        columns = {name: self._joined(name) for name in tuple(self._columns)}
        columns["times"] = _whole(columns["times"])
        names, ids = _whole_numbers(tuple(self._users))
        columns["users"] = ids[columns["users"]]
        return in_order(**columns, vocabulary=self.encoder.vocabulary(), user_names=names)

    def _joined(self, name: str) -> np.ndarray:
        """One column; its chunks are let go of at once, so that no two columns stand twice."""
        chunks = self._columns.pop(name)
        return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int32)


def _whole_numbers(names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names without the ".0" of whole numbers, if all are such; and the new id of each old one."""
    numbers = [_WHOLE_NUMBER.fullmatch(name) for name in names]
    plain = [number[1] for number in numbers if number]
    if len(plain) < len(names):
        plain = list(names)
    ids = {name: place for place, name in enumerate(dict.fromkeys(plain))}
    return tuple(ids), np.fromiter((ids[name] for name in plain), np.int32, len(plain))


def _whole(times: np.ndarray) -> np.ndarray:
    """Times as int64; fractions, of seconds as a rule, are kept to the millionth."""
    if times.dtype.kind != "f":
        return times.astype(np.int64, copy=False)
    largest = np.abs(times).max(initial=0)
    return np.round(times * (1e6 if largest < 9e12 else 1)).astype(np.int64)


__all__ = ["Gathering"]
