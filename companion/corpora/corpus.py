"""A corpus of messages, stored in columns, and its split by user and time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .vocabulary import BEGIN, END, PADDING, SPECIAL_TOKENS, Vocabulary


@dataclass(frozen=True, eq=False)
class Corpus:
    """Messages of many users, in columns; a selection shares the tokens and copies no text.

    Messages of one user stand in the order in which they were written.

    Parameters
    ----------
    tokens : np.ndarray
        Token ids of all messages, one after the other, ``(tokens,)`` int32; no special token but
        ``<unknown>`` is among them.
    starts, lengths : np.ndarray
        Where each message begins in `tokens` and how many tokens it has, ``(messages,)`` int64.
    users : np.ndarray
        Who wrote each message, an index into `user_names`, ``(messages,)`` int32.
    times : np.ndarray
        When: any int64 that grows with time, ``(messages,)``.
    vocabulary : Vocabulary
    user_names : tuple of str
        The name of each user; ids are places in it, and stay the same in every selection.
    """

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    users: np.ndarray
    times: np.ndarray
    vocabulary: Vocabulary
    user_names: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = {len(c) for c in (self.starts, self.lengths, self.users, self.times)}
        if len(columns) != 1:
            raise ValueError(f"starts, lengths, users and times differ in length: {columns}")
        if self.tokens.dtype != np.int32:
            raise TypeError(f"tokens must be int32, not {self.tokens.dtype}")
        ends = self.starts + self.lengths
        if len(self) and not (self.starts.min() >= 0 and ends.max() <= len(self.tokens)):
            raise ValueError(f"messages must lie within the {len(self.tokens)} tokens")
        if len(self.users) and not 0 <= self.users.min() <= self.users.max() < self.n_users:
            raise ValueError(f"users must lie in 0 to {self.n_users - 1}")

    @classmethod
    def from_messages(
        cls,
        messages: Sequence[Sequence[str]],
        users: Sequence[str],
        times: Sequence[int] | None = None,
    ) -> Corpus:
        """A small corpus from lists of words; its vocabulary is every word there is.

        `times` defaults to the order given.
        """
        vocabulary = Vocabulary.from_words(word for message in messages for word in message)
        names = tuple(dict.fromkeys(users))
        index = {name: i for i, name in enumerate(names)}
        lengths = np.array([len(message) for message in messages], dtype=np.int64)
        return in_order(
            tokens=vocabulary.encode(word for message in messages for word in message),
            lengths=lengths,
            users=np.array([index[name] for name in users], dtype=np.int32),
            times=np.arange(len(messages)) if times is None else np.asarray(times),
            vocabulary=vocabulary,
            user_names=names,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        return (
            f"Corpus({len(self):,} messages, {self.n_tokens:,} tokens, "
            f"{len(self.active_users):,} users, {len(self.vocabulary):,} words)"
        )

    @property
    def n_users(self) -> int:
        """How many user ids there are, with or without messages in this selection."""
        return len(self.user_names)

    @property
    def n_tokens(self) -> int:
        """Tokens in this selection, begin and end not counted."""
        return int(self.lengths.sum())

    @cached_property
    def active_users(self) -> np.ndarray:
        """Ids of the users who have a message here, ascending."""
        return np.unique(self.users)

    @property
    def message_counts(self) -> np.ndarray:
        """Messages of each user id, ``(n_users,)``."""
        return np.bincount(self.users, minlength=self.n_users)

    def words(self, message: int) -> np.ndarray:
        """Token ids of one message, a view, ``(length,)``."""
        start = self.starts[message]
        return self.tokens[start : start + self.lengths[message]]

    def text(self, message: int) -> str:
        """One message as a line of text."""
        return " ".join(self.vocabulary.decode(self.words(message)))

    def select(self, messages: np.ndarray) -> Corpus:
        """The messages at these places (or where a boolean mask is true)."""
        return replace(
            self,
            starts=self.starts[messages],
            lengths=self.lengths[messages],
            users=self.users[messages],
            times=self.times[messages],
        )

    def of_users(self, users: int | Sequence[int] | np.ndarray) -> Corpus:
        """The messages of these users.

        Raises
        ------
        ValueError
            If a user id is not in the corpus.
        """
        users = np.atleast_1d(np.asarray(users))
        unknown = users[(users < 0) | (users >= self.n_users)]
        if len(unknown):
            raise ValueError(f"user {unknown[0]} is unknown: ids go from 0 to {self.n_users - 1}")
        return self.select(np.isin(self.users, users))

    def first(self, n: int) -> Corpus:
        """The first `n` messages of each user (all, where a user has fewer)."""
        return self.select(_place_in_history(self.users) < n)

    def padded(self, messages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a model reads and what it must predict, for these messages.

        Returns
        -------
        inputs, targets : np.ndarray
            ``(message, step)`` int32, as wide as the longest message plus one. A row of `inputs`
            is ``<begin>`` and the words; of `targets`, the words and ``<end>``; the rest is
            ``<pad>``.
        """
        starts, lengths = self.starts[messages], self.lengths[messages]
        steps = np.arange(lengths.max(initial=0))
        inside = steps < lengths[:, None]  # (message, step)
        body = np.full((len(lengths), len(steps) + 1), PADDING, dtype=np.int32)
        body[:, :-1][inside] = self.tokens[(starts[:, None] + steps)[inside]]
        inputs = np.empty_like(body)
        inputs[:, 0], inputs[:, 1:] = BEGIN, body[:, :-1]
        body[np.arange(len(lengths)), lengths] = END
        return inputs, body

    def with_vocabulary(self, vocabulary: Vocabulary) -> Corpus:
        """The same messages in another vocabulary; words it lacks become ``<unknown>``."""
        table = vocabulary.encode(self.vocabulary.words)
        return replace(self, tokens=table[self.tokens], vocabulary=vocabulary)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any token, user, order or word."""
        digest = hashlib.sha256(self.vocabulary.fingerprint.encode())
        for column in (self.tokens, self.starts, self.lengths, self.users):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()[:16]


def in_order(
    tokens: np.ndarray,
    lengths: np.ndarray,
    users: np.ndarray,
    times: np.ndarray,
    vocabulary: Vocabulary,
    user_names: tuple[str, ...],
) -> Corpus:
    """A corpus whose messages are sorted by user, then by time; the tokens stay where they are."""
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[:-1]
    corpus = Corpus(
        tokens=tokens.astype(np.int32, copy=False),
        starts=starts.astype(np.int64, copy=False),
        lengths=lengths.astype(np.int64, copy=False),
        users=users.astype(np.int32, copy=False),
        times=times.astype(np.int64, copy=False),
        vocabulary=vocabulary,
        user_names=user_names,
    )
    return corpus.select(np.lexsort((corpus.times, corpus.users)))


@dataclass(frozen=True, eq=False)
class Split:
    """A corpus cut by user and by time. Nothing is ever split at random over messages.

    Parameters
    ----------
    train, validation, test : Corpus
        Known users: the first 80 %, the next 10 % and the last 10 % of each history.
    new_history, new_test : Corpus
        New users, never seen in training: the first two thirds of each history, to draw support
        sets from, and the last third.
    """

    train: Corpus
    validation: Corpus
    test: Corpus
    new_history: Corpus
    new_test: Corpus

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary, built from the training text only."""
        return self.train.vocabulary

    @property
    def known_users(self) -> np.ndarray:
        """Ids of the users who are in the training text."""
        return self.train.active_users

    @property
    def new_users(self) -> np.ndarray:
        """Ids of the users held out whole."""
        return self.new_test.active_users

    def support(self, n: int) -> Corpus:
        """The first `n` messages of each new user (all of the history, where it is shorter)."""
        if n < 0:
            raise ValueError(f"n must be at least 0, not {n}")
        return self.new_history.first(n)


def split(
    corpus: Corpus,
    new_users: int | Sequence[int] = 0,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    seed: int = 0,
) -> Split:
    """Cut a corpus by user and time, and give it the vocabulary of its training text.

    Parameters
    ----------
    corpus : Corpus
        Every user needs at least 3 messages: one to train, one to validate, one to test.
    new_users : int or sequence of int
        How many users to hold out whole (drawn with `seed`), or which.
    vocabulary_size : int, optional
        The most frequent words of the training text, special tokens included; all if not given.
    min_count : int
        Words rarer than this in the training text become ``<unknown>``.

    Raises
    ------
    TypeError, ValueError
        If the corpus is empty, a user has fewer than 3 messages, `new_users` is neither a count
        nor user ids of the corpus, or every user would be held out.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: it needs a user with at least 3 messages")
    short = corpus.active_users[corpus.message_counts[corpus.active_users] < 3]
    if len(short):
        name = corpus.user_names[short[0]]
        raise ValueError(
            f"user {name!r} has fewer than 3 messages ({len(short)} users in all): "
            "a history needs one message to train, one to validate and one to test. "
            "Drop short histories first, with at_least(corpus, 3)"
        )
    held_out = _held_out(corpus, new_users, seed)
    is_new = np.isin(corpus.users, held_out)
    place, size = _place_in_history(corpus.users), corpus.message_counts[corpus.users]
    tail = np.maximum(1, np.round(size / 10)).astype(int)
    last_third = place >= size - np.maximum(1, size // 3)
    train = ~is_new & (place < size - 2 * tail)
    counts = _count_words(corpus, train)
    words = Vocabulary.from_counts(corpus.vocabulary.words, counts, vocabulary_size, min_count)
    encoded = corpus.with_vocabulary(words)
    return Split(
        train=encoded.select(train),
        validation=encoded.select(~is_new & (place >= size - 2 * tail) & (place < size - tail)),
        test=encoded.select(~is_new & (place >= size - tail)),
        new_history=encoded.select(is_new & ~last_third),
        new_test=encoded.select(is_new & last_third),
    )


def at_least(corpus: Corpus, messages: int) -> Corpus:
    """Only the users with at least this many messages, numbered anew from 0."""
    counts = corpus.message_counts
    kept = np.flatnonzero(counts >= messages)
    if not len(kept):
        raise ValueError(f"no user has {messages} messages; the longest history has {counts.max()}")
    renumber = np.full(corpus.n_users, -1, dtype=np.int32)
    renumber[kept] = np.arange(len(kept))
    selected = corpus.of_users(kept)
    names = tuple(corpus.user_names[user] for user in kept)
    return replace(selected, users=renumber[selected.users], user_names=names)


def _held_out(corpus: Corpus, new_users: int | Sequence[int], seed: int) -> np.ndarray:
    """Ids of the new users, checked."""
    active = corpus.active_users
    chosen = np.asarray(new_users)
    whole = not chosen.size or np.issubdtype(chosen.dtype, np.integer)
    if isinstance(new_users, str) or chosen.ndim > 1 or not whole:
        raise TypeError(f"new_users must be an integer or a list of user ids, not {new_users!r}")
    if chosen.ndim == 0:
        if not 0 <= chosen < len(active):
            raise ValueError(f"new_users must lie in 0 to {len(active) - 1}, not {new_users}")
        return np.random.default_rng(seed).choice(active, size=new_users, replace=False)
    unknown = np.setdiff1d(chosen, active)
    if len(unknown):
        raise ValueError(f"new_users holds {unknown[0]}, which is no user of the corpus")
    if len(np.unique(chosen)) == len(active):
        raise ValueError(f"new_users holds all {len(active)} users: one at least must be known")
    return chosen


def _place_in_history(users: np.ndarray) -> np.ndarray:
    """How many earlier messages the same user has, for each message, ``(messages,)``."""
    counts = np.bincount(users)
    order = np.argsort(users, kind="stable")
    place = np.empty(len(users), dtype=np.int64)
    place[order] = np.arange(len(users)) - (np.cumsum(counts) - counts)[users[order]]
    return place


def _count_words(corpus: Corpus, messages: np.ndarray) -> np.ndarray:
    """How often each word of the vocabulary stands in these messages; special tokens count 0."""
    starts, lengths = corpus.starts[messages], corpus.lengths[messages]
    change = np.zeros(len(corpus.tokens) + 1, dtype=np.int8)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + lengths, -1)
    inside = np.cumsum(change[:-1], dtype=np.int8).astype(bool)
    counts = np.bincount(corpus.tokens[inside], minlength=len(corpus.vocabulary))
    counts[: len(SPECIAL_TOKENS)] = 0
    return counts
