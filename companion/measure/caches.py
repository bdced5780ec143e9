"""What each user has written so far, counted: the simplest personal models."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from companion.checks import check_ids
from companion.corpora import BEGIN, PADDING, Corpus

from .counts import add_rows, log, lookup, stream


class UnigramCache:
    """Words as often as this user has written them, whatever stands before [1]_.

    ``p(word | user) = (count + strength * p(word)) / (total + strength)``, where `p` is how often
    everybody writes the word. A user without a history writes like everybody.

    Parameters
    ----------
    train : Corpus
        The training text of all users: what everybody writes.
    history : Corpus, optional
        What to remember of each user; the training text, if not given. For new users give their
        support set.
    strength : float
        How many tokens of everybody's text weigh as much as the user's own.

    References
    ----------
    .. [1] Kuhn, R. and De Mori, R. A cache-based natural language model for speech recognition.
       IEEE Transactions on Pattern Analysis and Machine Intelligence 12(6), 1990.
    """

    def __init__(
        self, train: Corpus, history: Corpus | None = None, strength: float = 100.0
    ) -> None:
        history = train if history is None else history
        _check_fit(train, history, strength)
        self.strength, self._size = strength, len(train.vocabulary)
        self._everybody = _frequencies(train)
        _, words, message = stream(history)
        self._counts = _count(history.users[message], words, history.n_users, self._size)
        self._totals = self._counts.sum(axis=1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(users={len(self._totals)}, strength={self.strength:g})"

    def __call__(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``, the same at each step."""
        check_ids("token", tokens, self._size, ndim=2)
        log_probs = log(self.frequencies(users))[:, None, :]  # (message, 1, word)
        return np.broadcast_to(log_probs, (*tokens.shape, self._size))

    def frequencies(self, users: np.ndarray) -> np.ndarray:
        """How often each user writes each word, smoothed, ``(users, words)``, rows sum to one.

        Raises
        ------
        ValueError
            If a user id is outside the history's.
        """
        users = check_ids("user", users, len(self._totals), ndim=1)
        counts = self._counts[users].toarray()  # (users, words)
        counts += np.float32(self.strength) * self._everybody
        return counts / (self._totals[users] + np.float32(self.strength))[:, None]

    def log_ratio(self, users: np.ndarray) -> np.ndarray:
        """How much more often each user writes a word than everybody, ``(users, words)``, nats.

        0 for tokens that never come next, and for every word of a user without a history.
        """
        ratio = np.ones((len(users), self._size), dtype=np.float32)
        can_come = self._everybody > 0
        np.divide(self.frequencies(users), self._everybody, out=ratio, where=can_come)
        return np.log(ratio, out=ratio)

    def bytes_per_user(self) -> np.ndarray:
        """What is kept of each user: an id and a count for each word they used, ``(n_users,)``."""
        return np.diff(self._counts.indptr) * 8


class BigramCache:
    """Words as often as this user has written them after the word before.

    ``p(word | before, user) = (count + strength * p(word | user)) / (total + strength)``, where
    ``p(word | user)`` is the :class:`UnigramCache`: it backs off to what the user writes at all,
    and that to what everybody writes.

    Parameters
    ----------
    train, history : Corpus
        As for :class:`UnigramCache`.
    strength, unigram_strength : float
        How many tokens the smoother distribution weighs, at each of the two levels.
    """

    def __init__(
        self,
        train: Corpus,
        history: Corpus | None = None,
        strength: float = 1.0,
        unigram_strength: float = 100.0,
    ) -> None:
        history = train if history is None else history
        _check_fit(train, history, strength)
        self.strength, self._size = strength, len(train.vocabulary)
        self._unigrams = UnigramCache(train, history, unigram_strength)
        before, words, message = stream(history)
        keys = history.users[message].astype(np.int64) * self._size + before
        self._keys, rows = np.unique(keys, return_inverse=True)
        self._counts = _count(rows, words, len(self._keys), self._size)
        self._totals = self._counts.sum(axis=1)

    def __repr__(self) -> str:
        return f"BigramCache(pairs={self._counts.nnz:,}, strength={self.strength:g})"

    def __call__(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``."""
        check_ids("token", tokens, self._size, ndim=2)
        keys = (np.asarray(users)[:, None].astype(np.int64) * self._size + tokens).ravel()
        known, rows = lookup(self._keys, keys)
        at = np.flatnonzero(known)
        totals = np.zeros(len(keys), dtype=np.float32)
        totals[at] = self._totals[rows[at]]
        smoother = self._unigrams.frequencies(users)  # (message, word)
        share = (self.strength / (totals + self.strength)).reshape(*tokens.shape, 1)
        probability = (share * smoother[:, None, :]).reshape(-1, self._size)  # (position, word)
        add_rows(probability, at, self._counts, rows[at], 1 / (totals[at] + self.strength))
        return log(probability).reshape(*tokens.shape, self._size)

    def bytes_per_user(self) -> np.ndarray:
        """What is kept of each user: two ids and a count for each pair, and the unigrams."""
        unigrams = self._unigrams.bytes_per_user()
        pairs = np.diff(self._counts.indptr)
        users = self._keys // self._size
        return unigrams + 12 * np.bincount(users, weights=pairs, minlength=len(unigrams)).astype(
            int
        )


def _frequencies(train: Corpus) -> np.ndarray:
    """How often everybody writes each token, one added to each count, ``(words,)``."""
    _, words, _ = stream(train)
    counts = np.bincount(words, minlength=len(train.vocabulary)) + 1.0
    counts[[PADDING, BEGIN]] = 0.0  # never come next
    return (counts / counts.sum()).astype(np.float32)


def _count(rows: np.ndarray, words: np.ndarray, n_rows: int, size: int) -> sparse.csr_array:
    """How often each word stands with each row, ``(rows, words)``."""
    ones = np.ones(len(words), dtype=np.float32)
    counts = sparse.csr_array((ones, (rows, words)), shape=(n_rows, size))
    counts.sum_duplicates()
    return counts


def _check_fit(train: Corpus, history: Corpus, strength: float) -> None:
    if not len(train):
        raise ValueError("train has no message: nothing is known of everybody")
    if history.vocabulary.fingerprint != train.vocabulary.fingerprint:
        raise ValueError("history must have the vocabulary of train; use with_vocabulary first")
    if not strength > 0:
        raise ValueError(f"strength must be above 0, not {strength}")
