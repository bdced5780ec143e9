"""An n-gram model of everybody's text: the a strong rival that is no network and knows no user."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from companion.checks import check_ids
from companion.corpora import BEGIN, PADDING, Corpus

from .counts import add_rows, log, lookup, stream


class NGram:
    """Interpolated Kneser-Ney n-grams [1]_ [2]_, one discount per order, trained on all users.

    The lowest order is interpolated with the uniform distribution, so every word that can come has
    a probability; ``<pad>`` and ``<begin>`` never come next and have none. Written here because
    KenLM has no fast path for the whole next-word distribution and ``nltk.lm`` is slower still.

    Parameters
    ----------
    train : Corpus
        The training text of all users.
    order : int
        2 for bigrams, 3 for trigrams, and so on.

    References
    ----------
    .. [1] Kneser, R. and Ney, H. Improved backing-off for m-gram language modeling. ICASSP, 1995.
    .. [2] Chen, S. F. and Goodman, J. An empirical study of smoothing techniques for language
       modeling. Computer Speech and Language 13(4), 1999.
    """

    def __init__(self, train: Corpus, order: int = 3) -> None:
        if not len(train):
            raise ValueError("train has no message: there is nothing to count")
        size = len(train.vocabulary)
        if order < 1 or size**order > np.iinfo(np.int64).max:
            raise ValueError(f"order must be at least 1 and fit {size} words, not {order}")
        self.order, self._size = order, size
        grams = _grams(train, order)
        lowest, *self._levels = [
            _Level(*_counted(grams, n, size), size) for n in range(1, order + 1)
        ]
        uniform = np.full(size, 1.0 / (size - 2))
        uniform[[PADDING, BEGIN]] = 0.0
        self._unigrams = (lowest.table.toarray()[0] + lowest.left_over * uniform).astype(np.float32)

    @property
    def context(self) -> int:
        """Tokens that it looks at: the ones before that may matter."""
        return max(1, self.order - 1)

    def __repr__(self) -> str:
        return f"NGram(order={self.order}, words={self._size})"

    def __call__(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``; `users` is not read."""
        check_ids("token", tokens, self._size, ndim=2)
        scale = np.ones(tokens.size, dtype=np.float32)  # what the orders so far have left over
        found = []
        for n, level in reversed(list(enumerate(self._levels, start=1))):
            known, rows = lookup(level.contexts, _contexts(tokens, n, self._size).ravel())
            found.append((np.flatnonzero(known), level, rows[known], scale[known]))
            scale[known] *= level.left_over[rows[known]]
        probability = np.outer(scale, self._unigrams)  # (position, word)
        for at, level, rows, share in found:
            add_rows(probability, at, level.table, rows, share)
        return log(probability).reshape(*tokens.shape, self._size)


class _Level:
    """All n-grams of one order: discounted probabilities by context, and what they leave over."""

    def __init__(
        self, contexts: np.ndarray, words: np.ndarray, counts: np.ndarray, size: int
    ) -> None:
        self.contexts, rows = np.unique(contexts, return_inverse=True)
        totals = np.bincount(rows, weights=counts)
        discount = _discount(counts)
        shares = (counts - discount) / totals[rows]
        shape = (len(self.contexts), size)
        self.table = sparse.csr_array((shares.astype(np.float32), (rows, words)), shape=shape)
        self.left_over = (discount * np.bincount(rows) / totals).astype(np.float32)


def _discount(counts: np.ndarray) -> float:
    """The share of one count given to what was not seen: n1 / (n1 + 2 n2)."""
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    # text so small that no n-gram came once still has to leave something for the unseen
    return once / (once + 2 * twice) if once and twice else 0.75


def _grams(corpus: Corpus, order: int) -> np.ndarray:
    """Every token and end of `corpus` after the tokens before it, ``(targets, order)`` int64."""
    before, after, _ = stream(corpus)
    columns = [after, before]
    for _ in range(order - 2):
        earlier = np.roll(columns[-1], 1)
        # a message begins at <begin>: nothing stands before it
        earlier[(columns[-1] == BEGIN) | (columns[-1] == PADDING)] = PADDING
        columns.append(earlier)
    return np.stack(columns[:order][::-1], axis=1).astype(np.int64)


def _counted(grams: np.ndarray, n: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contexts, words and counts of the distinct n-grams that end each of `grams`.

    Below the highest order what counts is in how many different contexts an n-gram stands; one
    that begins a message has no context to vary, and keeps its plain count.
    """
    grams = grams[grams[:, -n] != PADDING]
    keys = _keys(grams[:, -n:], size)
    plain = np.ones(len(keys), dtype=bool) if n == grams.shape[1] else grams[:, -n] == BEGIN
    longer = _keys(grams[~plain][:, -n - 1 :], size) if not plain.all() else keys[:0]
    wider = np.unique(longer) % size**n
    distinct, counts = np.unique(np.concatenate([keys[plain], wider]), return_counts=True)
    return distinct // size, distinct % size, counts


def _keys(grams: np.ndarray, size: int) -> np.ndarray:
    """One number for each row of token ids, the last the least significant."""
    keys = np.zeros(len(grams), dtype=np.int64)
    for column in grams.T:
        keys = keys * size + column
    return keys


def _contexts(tokens: np.ndarray, n: int, size: int) -> np.ndarray:
    """Key of the last `n` tokens at each step, ``(message, step)``; -1 where there are fewer."""
    keys = np.zeros(tokens.shape, dtype=np.int64)
    for back in range(n - 1, -1, -1):
        earlier = np.full(tokens.shape, PADDING, dtype=np.int64)
        earlier[:, back:] = tokens[:, : max(0, tokens.shape[1] - back)]
        keys = keys * size + earlier
    keys[:, : max(0, n - 1)] = -1
    return keys
