"""Words of one user's own, which the shared vocabulary lacks; and the vocabulary that all share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from companion.corpora import END, UNKNOWN, Corpus, Vocabulary
from companion.corpora.vocabulary import SPECIAL_TOKENS
from companion.measure.counts import stream

FORGOTTEN = "<forgotten {}>"  # in the place of a word that nobody is left to have written


class OwnWords:
    """How often each user has written each word that the shared vocabulary lacks.

    To a model such a word is ``<unknown>``. Of the probability of an unknown word, a user's own get
    the share ``count / (total + distinct)``, which leaves something for words never seen [1]_.

    Parameters
    ----------
    counts : mapping
        For each user id, how often each word.

    References
    ----------
    .. [1] Witten, I. H. and Bell, T. C. The zero-frequency problem: estimating the probabilities of
       novel events in adaptive text compression. IEEE Transactions on Information Theory 37(4),
       1991.
    """

    def __init__(self, counts: Mapping[int, Mapping[str, int]] | None = None) -> None:
        self._counts = {user: Counter(words) for user, words in (counts or {}).items()}

    def add(self, user: int, words: Iterable[str]) -> None:
        """Count these words of a user's own."""
        self._counts.setdefault(user, Counter()).update(words)

    def remove(self, user: int) -> None:
        """Forget one user's own words."""
        self._counts.pop(user, None)

    def beginning_with(self, user: int | None, prefix: str) -> list[tuple[str, float]]:
        """A user's own words that begin so, and the share of an unknown word's probability each."""
        own = self._counts.get(-1 if user is None else user, Counter())
        total = own.total() + len(own)
        return [(word, count / total) for word, count in own.items() if word.startswith(prefix)]

    def of(self, user: int) -> dict[str, int]:
        """How often a user has written each word of their own."""
        return dict(self._counts.get(user, {}))

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Plain dictionaries, to be written as JSON; ids become strings."""
        return {str(user): dict(words) for user, words in self._counts.items() if words}


def shared_vocabulary(train: Corpus, size: int, writers: int) -> Vocabulary:
    """The most frequent words of the training text that at least this many users have written.

    Where there are fewer users than `writers`, all of them must have.
    """
    _, tokens, message = stream(train)
    real = (tokens != END) & (tokens != UNKNOWN)
    tokens, users = tokens[real], train.users[message[real]]
    n_words = len(train.vocabulary)
    counts = np.bincount(tokens, minlength=n_words)
    pairs = np.unique(users.astype(np.int64) * n_words + tokens)
    written_by = np.bincount(pairs % n_words, minlength=n_words)
    common = np.flatnonzero(written_by >= min(writers, len(train.active_users)))
    common = common[common >= len(SPECIAL_TOKENS)]
    kept = common[np.argsort(-counts[common], kind="stable")][: size - len(SPECIAL_TOKENS)]
    rare = np.setdiff1d(np.flatnonzero(counts), kept)
    lengths = [len(train.vocabulary.words[i]) for i in rare]
    mean = float(np.average(lengths, weights=counts[rare])) if len(rare) else 0.0
    words = (train.vocabulary.words[i] for i in kept)
    return Vocabulary((*SPECIAL_TOKENS, *words), unknown_length=mean)


def own_words(corpus: Corpus, vocabulary: Vocabulary) -> OwnWords:
    """What each user has written that `vocabulary` lacks; `corpus` still has all its words."""
    _, tokens, message = stream(corpus)
    lacking = np.array([word not in vocabulary for word in corpus.vocabulary.words])
    lacking[: len(SPECIAL_TOKENS)] = False
    own = lacking[tokens]
    size = len(corpus.vocabulary)
    keys = corpus.users[message[own]].astype(np.int64) * size + tokens[own]
    pairs, counts = np.unique(keys, return_counts=True)
    found: dict[int, dict[str, int]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(pair // size, {})[corpus.vocabulary.words[pair % size]] = count
    return OwnWords(found)


def without_writers(vocabulary: Vocabulary, written: np.ndarray) -> Vocabulary:
    """The vocabulary without the words that nobody is left to have written; ids stay.

    Parameters
    ----------
    written : np.ndarray
        Token ids that somebody's text still holds.
    """
    somebody = set(written.tolist())
    words = [
        word if i < len(SPECIAL_TOKENS) or i in somebody else FORGOTTEN.format(i)
        for i, word in enumerate(vocabulary.words)
    ]
    return Vocabulary(tuple(words), vocabulary.unknown_length)


__all__ = ["OwnWords", "own_words", "shared_vocabulary", "without_writers"]
