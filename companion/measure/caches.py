"""What each user has written so far, counted: the simplest personal models."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy import sparse

from companion.checks import check_ids
from companion.corpora import BEGIN, END, PADDING, Corpus

from .counts import add_rows, log, lookup, stream


class UnigramCache:
    """Words as often as this user has written them, whatever stands before [1]_.

    It goes on counting: :meth:`add` a message as soon as it is written, :meth:`remove` a user.

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

    context = 1  # tokens that it looks at

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
        self._added = _Added()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(users={len(self._totals)}, strength={self.strength:g})"

    @property
    def totals(self) -> np.ndarray:
        """Tokens counted of each user id, ends of messages included, ``(n_users,)``."""
        return self._totals

    def add(self, user: int, message: np.ndarray) -> None:
        """Count one more message of a user, known or new: token ids ``(tokens,)``, no special ones.

        The user's ids go up to any number; what everybody writes stays as it is.
        """
        check_ids("token", message, self._size, ndim=1)
        if user >= len(self._totals):
            self._grow(user + 1)
        words = _with_end(message)
        self._added.count(user, words)
        self._totals[user] += len(words)

    def remove(self, user: int) -> None:
        """Forget what one user has written; they are read as somebody without a history."""
        check_ids("user", np.array([user]), len(self._totals), ndim=1)
        _empty(self._counts, user)
        self._added.pop(user, None)
        self._totals[user] = 0

    def _grow(self, users: int) -> None:
        """Room for more users, who have written nothing yet."""
        old = self._counts
        indptr = np.pad(old.indptr, (0, users - old.shape[0]), mode="edge")
        self._counts = sparse.csr_array((old.data, old.indices, indptr), (users, self._size))
        self._totals = np.pad(self._totals, (0, users - len(self._totals)))

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
        counts = np.zeros((len(users), self._size), dtype=np.float32)
        places, once = np.arange(len(users)), np.ones(len(users), dtype=np.float32)
        add_rows(counts, places, self._counts, users, once)
        self._added.add_to(counts, places, users, once)
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
        stored = _stored(self._counts)
        for user, counts in self._added.items():
            stored[user] += _new_words(counts, self._counts, user)
        return stored * 8


class BigramCache:
    """Words as often as this user has written them after the word before.

    It goes on counting, as the :class:`UnigramCache` does.

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

    context = 1  # tokens that it looks at

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
        self._added = _Added()

    def add(self, user: int, message: np.ndarray) -> None:
        """Count one more message of a user, known or new: token ids ``(tokens,)``, no special ones.

        The user's ids go up to any number; what everybody writes stays as it is.
        """
        self._unigrams.add(user, message)
        words = _with_end(message)
        for before, word in zip(np.r_[BEGIN, words], words, strict=False):
            self._added.count(user * self._size + int(before), [word])

    def remove(self, user: int) -> None:
        """Forget what one user has written; they are read as somebody without a history."""
        self._unigrams.remove(user)
        first, last = np.searchsorted(self._keys, [user * self._size, (user + 1) * self._size])
        for row in range(first, last):
            _empty(self._counts, row)
        self._totals[first:last] = 0
        for key in [key for key in self._added if key // self._size == user]:
            del self._added[key]

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
        more, counted = self._added.totals(keys)
        totals[more] += counted
        smoother = self._unigrams.frequencies(users)  # (message, word)
        share = (self.strength / (totals + self.strength)).reshape(*tokens.shape, 1)
        probability = (share * smoother[:, None, :]).reshape(-1, self._size)  # (position, word)
        add_rows(probability, at, self._counts, rows[at], 1 / (totals[at] + self.strength))
        self._added.add_to(probability, more, keys[more], 1 / (totals[more] + self.strength))
        return log(probability).reshape(*tokens.shape, self._size)

    def bytes_per_user(self) -> np.ndarray:
        """What is kept of each user: two ids and a count for each pair, and the unigrams."""
        unigrams = self._unigrams.bytes_per_user()
        added = np.fromiter(self._added, dtype=np.int64, count=len(self._added))
        known, rows = lookup(self._keys, added)
        more = [
            _new_words(self._added[key], self._counts, row) if there else len(self._added[key])
            for key, row, there in zip(added.tolist(), rows.tolist(), known, strict=True)
        ]
        pairs = np.r_[_stored(self._counts), more]
        users = np.r_[self._keys, added] // self._size
        return unigrams + 12 * np.bincount(users, weights=pairs, minlength=len(unigrams)).astype(
            int
        )


class _Added(defaultdict[int, dict[int, float]]):
    """Counts added since a table was made, by the key of their row: how often each word."""

    def __init__(self) -> None:
        super().__init__(lambda: defaultdict(float))

    def count(self, key: int, words: np.ndarray | list[int]) -> None:
        """One more of each of these words."""
        row = self[key]
        for word in words:
            row[int(word)] += 1

    def totals(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the keys that are here, and how many words each has, ``(found,)`` both."""
        if not self:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        at = [i for i, key in enumerate(keys.tolist()) if key in self]
        totals = [sum(self[int(keys[i])].values()) for i in at]
        return np.array(at, dtype=np.int64), np.array(totals, dtype=np.float32)

    def add_to(
        self, dense: np.ndarray, at: np.ndarray, keys: np.ndarray, scale: np.ndarray
    ) -> None:
        """Add the counts of these keys, each times its scale, to rows of a table, in place."""
        for place, key, factor in zip(at.tolist(), keys.tolist(), scale.tolist(), strict=True):
            if key in self:
                words = list(self[key])
                dense[place, words] += factor * np.array([*self[key].values()], dtype=dense.dtype)


def _with_end(message: np.ndarray) -> np.ndarray:
    """The words of a message and its end, ``(tokens + 1,)``."""
    return np.append(np.asarray(message, dtype=np.int64), END)


def _empty(table: sparse.csr_array, row: int) -> None:
    """Take everything out of one row, in place; nothing of it stays in memory."""
    stored = slice(table.indptr[row], table.indptr[row + 1])
    table.data[stored] = 0.0
    table.indices[stored] = 0


def _new_words(counts: dict[int, float], table: sparse.csr_array, row: int) -> int:
    """How many of these words are not in a row of the table."""
    stored = slice(table.indptr[row], table.indptr[row + 1])
    return len(counts.keys() - set(table.indices[stored][table.data[stored] > 0].tolist()))


def _stored(table: sparse.csr_array) -> np.ndarray:
    """Counts above zero in each row, ``(rows,)``."""
    return np.diff(np.r_[0, np.cumsum(table.data > 0)][table.indptr])


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
