"""A phone keyboard on top of a model: three words to choose from, one step a word."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from companion.corpora.vocabulary import BEGIN, SPECIAL_TOKENS, UNKNOWN, Vocabulary
from companion.measure.stepping import Stepping
from companion.settings import check_integer


class _Read(NamedTuple):
    """One token read: what is expected next, and the state to go on from."""

    token: int
    log_probs: np.ndarray
    state: Any


class Keyboard:
    """Suggests words while a message is typed.

    The state after every word of the message is carried along: a new word costs one step of the
    network, a new letter none, and a deleted word none either. Any other message starts again.

    Parameters
    ----------
    model : Stepping
        Anything with ``begin`` and ``step``.
    vocabulary : Vocabulary
        The model's.
    user : int, optional
        Who is typing, for a model that knows its users.

    Raises
    ------
    TypeError, ValueError
        If the model has another number of words than `vocabulary`, or `user` is no id.
    """

    def __init__(self, model: Stepping, vocabulary: Vocabulary, user: int | None = None) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self._users = None
        if user is not None:
            self._users = np.array([check_integer("user", user, at_least=0)], dtype=np.int32)
        size = getattr(model, "vocabulary_size", len(vocabulary))
        if size != len(vocabulary):
            raise ValueError(
                f"vocabulary must be the model's, of {size} words; this one has {len(vocabulary)}"
            )
        self._read: list[_Read] = []

    def suggest(self, history: Sequence[str | int], prefix: str = "", k: int = 3) -> list[str]:
        """The `k` most probable next words that begin with `prefix`, the best first.

        Parameters
        ----------
        history : sequence of str or int
            The words of the message so far, or their ids. A word typed as ``<pad>``, ``<begin>``
            or ``<end>`` is an unknown word.
        prefix : str
            The letters of the next word typed so far.
        k : int
            How many words to suggest; fewer come back where fewer begin so.

        Raises
        ------
        TypeError, ValueError
            If `history` is one string or no sequence of words and ids, an id is outside the
            vocabulary, `prefix` is no string, or `k` is below 1.
        """
        k = check_integer("k", k, at_least=1)
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a string, not {prefix!r}")
        log_probs = self._after([BEGIN, *self._ids(history)])  # (word,)
        candidates = self._beginning_with(prefix)
        best = candidates[_smallest(-log_probs[candidates], candidates, k)]
        return [self.vocabulary.words[i] for i in best]

    def _after(self, tokens: list[int]) -> np.ndarray:
        """Log-probabilities after these tokens; only those not yet read are stepped."""
        same = 0
        while same < min(len(tokens), len(self._read)) and self._read[same].token == tokens[same]:
            same += 1
        del self._read[same:]
        state = self._read[-1].state if self._read else self.model.begin(1, self._users)
        for token in tokens[same:]:
            ids = np.array([token], dtype=np.int32)
            log_probs, state = self.model.step(ids, state, self._users)
            self._read.append(_Read(token, log_probs[0], state))
        return self._read[-1].log_probs

    def _ids(self, history: Sequence[str | int]) -> list[int]:
        """Ids of the words of the message; unknown words are ``<unknown>``."""
        if isinstance(history, str):
            raise TypeError(f"history must be a list of words or ids, not the string {history!r}")
        if not isinstance(history, Iterable):
            raise TypeError(f"history must be a list of words or ids, not {history!r}")
        ids = [self._id(word) for word in history]
        size = len(self.vocabulary)
        wrong = next((i for i in ids if not 0 <= i < size), None)
        if wrong is not None:
            raise ValueError(f"token id {wrong} is outside the vocabulary: 0 to {size - 1}")
        return ids

    def _id(self, word: str | int) -> int:
        """The id of a word of the message, or the id itself."""
        if isinstance(word, str):
            return UNKNOWN if word in SPECIAL_TOKENS else self.vocabulary.id(word)
        if isinstance(word, bool) or not isinstance(word, int | np.integer):
            raise TypeError(f"history must hold words or ids, not {word!r}")
        return int(word)

    @cached_property
    def _alphabet(self) -> tuple[list[str], np.ndarray]:
        """The real words in alphabetical order, and the id of each."""
        words = self.vocabulary.words
        order = sorted(range(len(SPECIAL_TOKENS), len(words)), key=words.__getitem__)
        return [words[i] for i in order], np.array(order, dtype=np.int64)

    def _beginning_with(self, prefix: str) -> np.ndarray:
        """Ids of the real words that begin with these letters, in alphabetical order."""
        words, ids = self._alphabet
        return ids[bisect_left(words, prefix) : bisect_left(words, prefix + "\U0010ffff")]


def _smallest(values: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """Places of the `k` smallest values, in order; of equal ones, the smaller id comes first."""
    places = np.arange(len(values))
    if k < len(values):  # sorting them all would take as long as half a step of the network
        places = np.flatnonzero(~(values > np.partition(values, k - 1)[k - 1]))
    return places[np.lexsort((ids[places], values[places]))[:k]]


__all__ = ["Keyboard", "Stepping"]
