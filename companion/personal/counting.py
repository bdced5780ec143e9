"""What is counted: an n-gram of everybody, each user's caches, and how much of each is mixed in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from companion.corpora import Corpus
from companion.measure import (
    BigramCache,
    GrowingWeight,
    Model,
    Network,
    NGram,
    UnigramCache,
    choose_growing_weight,
    choose_power,
    choose_weight,
    mix,
    remembered,
    rescale,
    target_log_probs,
)

STRENGTHS = (100.0, 300.0, 1000.0, 3000.0)
PAIR_STRENGTHS = (1.0, 3.0, 10.0)
KEPT = 40_000_000  # log-probabilities kept in memory while numbers are chosen, 160 MB


@dataclass(frozen=True)
class Numbers:
    """How much of what is counted is mixed in; chosen on validation text.

    Parameters
    ----------
    order : int
        Of the n-gram.
    ngram : float
        Its weight beside the network.
    strength, power : float
        Of the unigram cache, and of the rescaling by it.
    pair_strength : float
        Of the bigram cache.
    limit, half : float
        Of the bigram cache's weight, which grows with a user's text.
    """

    order: int
    ngram: float = 0.0
    strength: float = STRENGTHS[0]
    power: float = 0.0
    pair_strength: float = PAIR_STRENGTHS[0]
    limit: float = 0.0
    half: float = 1.0

    @property
    def pair_weight(self) -> GrowingWeight:
        """The weight of the bigram cache."""
        return GrowingWeight(self.limit, self.half)


class Counts:
    """The n-gram of everybody and each user's caches, which go on counting.

    Parameters
    ----------
    train : Corpus
        What everybody writes, and what is known of each user.
    numbers : Numbers
    ngram : NGram, optional
        Where it has been counted already.
    """

    def __init__(self, train: Corpus, numbers: Numbers, ngram: NGram | None = None) -> None:
        self.numbers = numbers
        self.ngram = NGram(train, numbers.order) if ngram is None else ngram
        self.unigrams = UnigramCache(train, None, numbers.strength)
        self.bigrams = BigramCache(train, None, numbers.pair_strength, numbers.strength)

    def add(self, user: int, message: np.ndarray) -> None:
        """Count one more message of a user; everybody's counts stay as they are."""
        self.unigrams.add(user, message)
        self.bigrams.add(user, message)

    def remove(self, user: int) -> None:
        """Forget what one user has written, as far as it is counted by itself."""
        self.unigrams.remove(user)
        self.bigrams.remove(user)

    def bytes_per_user(self) -> np.ndarray:
        """What the caches keep of each user, ``(n_users,)``: pairs hold the words as well."""
        return self.bigrams.bytes_per_user()

    def everybody(self, network: Model | Network) -> Model | Network:
        """A network and the n-gram, mixed."""
        return mix(network, self.ngram, self.numbers.ngram) if self.numbers.ngram else network

    def personal(
        self, network: Model | Network, weight: float | np.ndarray | GrowingWeight
    ) -> Model | Network:
        """The same, with each user's own words counted; `weight` is the bigram cache's."""
        model = self.everybody(network)
        if self.numbers.power:
            model = rescale(model, self.unigrams, self.numbers.power)
        return mix(model, self.bigrams, weight) if self.numbers.limit else model


def choose(network: Model | Network, train: Corpus, validation: Corpus, ngram: NGram) -> Numbers:
    """The numbers with the lowest loss on `validation` for this network.

    One after the other: the n-gram's weight, the unigram cache's strength and power, and the bigram
    cache's strength and weight on top of those.
    """
    weight = choose_weight(network, ngram, validation)
    few = some_of(validation, KEPT // len(train.vocabulary))
    everybody = remembered(mix(network, ngram, weight))
    tried = {}
    for strength in STRENGTHS:
        cache = UnigramCache(train, None, strength)
        power = choose_power(everybody, cache, few)
        tried[_loss(rescale(everybody, cache, power), few)] = (strength, power, cache)
    strength, power, unigrams = tried[min(tried)]
    rescaled = remembered(rescale(everybody, unigrams, power))
    pairs = {}
    for pair_strength in PAIR_STRENGTHS:
        bigrams = BigramCache(train, None, pair_strength, strength)
        growing = choose_growing_weight(rescaled, bigrams, few, train)
        pairs[_loss(mix(rescaled, bigrams, growing), few)] = (pair_strength, growing)
    pair_strength, growing = pairs[min(pairs)]
    return Numbers(ngram.order, weight, strength, power, pair_strength, growing.limit, growing.half)


def some_of(corpus: Corpus, targets: int) -> Corpus:
    """The corpus, or messages spread evenly over it with about this many words in all."""
    step = int(np.ceil((corpus.n_tokens + len(corpus)) / max(targets, 1)))
    return corpus.select(np.arange(0, len(corpus), max(step, 1)))


def _loss(model: Model | Network, corpus: Corpus) -> float:
    """Nats per token."""
    return -float(target_log_probs(model, corpus).mean())  # type: ignore[arg-type]


__all__ = ["Counts", "Numbers", "choose", "some_of"]
