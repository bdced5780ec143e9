"""Small corpora and models that the tests of `measure` share."""

import numpy as np
from hypothesis import strategies as st

from companion.corpora import BEGIN, PADDING, Corpus

LETTERS = "ab"


def corpora(min_messages=1, max_messages=6, empty_messages=True):
    """Corpora of up to three users, over short words with many common beginnings."""
    word = st.text(LETTERS, min_size=1, max_size=4)
    words = st.lists(word, min_size=0 if empty_messages else 1, max_size=5)
    message = st.tuples(words, st.sampled_from(["ann", "bo", "cy"]))
    messages = st.lists(message, min_size=min_messages, max_size=max_messages)
    return messages.map(lambda pairs: Corpus.from_messages(*map(list, zip(*pairs, strict=True))))


def normalized(weights):
    """Log-probabilities from positive weights; nothing for padding and begin."""
    weights = np.array(weights, dtype=float)
    weights[..., [PADDING, BEGIN]] = 0.0
    with np.errstate(divide="ignore"):
        return np.log(weights / weights.sum(axis=-1, keepdims=True))


class Arbitrary:
    """A model whose prediction depends on the user and the token before; `levels` makes ties."""

    def __init__(self, corpus, seed=0, levels=None):
        rng = np.random.default_rng(seed)
        size = len(corpus.vocabulary)
        shape = (corpus.n_users, size, size)
        weights = rng.integers(1, levels + 1, shape) if levels else rng.exponential(size=shape)
        self.table = normalized(weights)

    def __call__(self, tokens, users):
        return self.table[users[:, None], tokens]


def scattered(n_users=40, seed=0):
    """A corpus of many users with histories of many lengths."""
    rng = np.random.default_rng(seed)
    words = np.array(["ham", "hat", "eggs", "egg", "tea", "toast", "jam", "jar"])
    owners = np.concatenate([[user] * (3 + user % 7) for user in range(n_users)])
    messages = [rng.choice(words, size=rng.integers(1, 8)).tolist() for _ in owners]
    return Corpus.from_messages(messages, [f"user {owner}" for owner in owners])
