"""The user-blind bound on the default corpus: no other model that is blind to the user beats it."""

import numpy as np
import pytest

from companion.corpora.generator.messages import messages
from companion.measure import NGram, mix, target_log_probs


@pytest.fixture(scope="module")
def blind():
    """Data, truth, some of the test messages, and the bound's loss on them, by token."""
    data, truth = messages()
    few = data.test.select(np.arange(0, len(data.test), 6))
    return data, truth, few, -target_log_probs(truth.blind, few).mean()


def strangely_weighted(prior):
    """The share of the text, with a factor drawn for each user."""
    return prior * np.random.default_rng(0).exponential(size=prior.size)


@pytest.mark.parametrize("other", [np.sign, np.sqrt, np.square, strangely_weighted])
def test_no_other_prior_over_users_beats_the_blind_bound(blind, other):
    _, truth, few, bound = blind
    assert bound < -target_log_probs(truth.mixture(other(truth.prior)), few).mean() - 0.003


def test_no_mixture_with_counts_of_words_beats_the_blind_bound(blind):
    data, truth, few, bound = blind
    counts = NGram(data.train, order=3)
    losses = [-target_log_probs(mix(truth.blind, counts, w), few).mean() for w in (0.05, 0.3, 1)]
    assert bound < losses[0] < losses[1] < losses[2]
