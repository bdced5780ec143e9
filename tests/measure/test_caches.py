"""Caches that go on counting: a message more, a user less."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import BEGIN, UNKNOWN, Corpus
from companion.measure import BigramCache, NGram, UnigramCache
from companion.measure.stepping import Rereading
from tests.measure.synthetic import corpora

CACHES = [UnigramCache, BigramCache]
some = pytest.mark.parametrize("cache", CACHES)


def predictions(cache, corpus):
    """What a cache predicts for each user after each token that can stand before."""
    words = np.arange(UNKNOWN, len(corpus.vocabulary))
    tokens = np.r_[BEGIN, words].astype(np.int32)[None]
    return np.concatenate([cache(tokens, np.array([user])) for user in range(corpus.n_users)])


@some
@settings(max_examples=40, deadline=None)
@given(corpora(min_messages=2), st.integers(0, 6))
def test_messages_added_count_as_those_there_from_the_beginning(cache, corpus, known):
    added = cache(corpus, corpus.select(np.arange(len(corpus)) < known))
    for message in range(known, len(corpus)):
        added.add(int(corpus.users[message]), corpus.words(message))
    whole = cache(corpus, corpus)
    np.testing.assert_allclose(predictions(added, corpus), predictions(whole, corpus), rtol=1e-5)
    np.testing.assert_array_equal(added.bytes_per_user(), whole.bytes_per_user())


@some
@settings(max_examples=40, deadline=None)
@given(corpora(min_messages=2), st.data())
def test_who_is_removed_writes_like_everybody_and_nobody_else_changes(cache, corpus, data):
    user = data.draw(st.sampled_from(corpus.active_users.tolist()))
    left = cache(corpus, corpus)
    left.add(user, corpus.words(0))
    left.remove(user)
    without = cache(corpus, corpus.select(corpus.users != user))
    np.testing.assert_allclose(predictions(left, corpus), predictions(without, corpus), rtol=1e-5)
    np.testing.assert_array_equal(left.bytes_per_user(), without.bytes_per_user())


@some
def test_somebody_new_is_counted_and_then_known(cache):
    corpus = Corpus.from_messages([["a", "b"], ["b"], ["a"]], ["ann", "bo", "ann"])
    grown, stranger = cache(corpus), corpus.n_users + 2
    with pytest.raises(ValueError, match="outside the users known"):
        grown(np.array([[BEGIN]]), np.array([stranger]))
    before = grown(np.array([[BEGIN]]), np.array([0]))
    grown.add(stranger, np.array([UNKNOWN, UNKNOWN]))
    after = grown(np.array([[BEGIN]]), np.array([stranger]))
    assert after[0, 0, UNKNOWN] > before[0, 0, UNKNOWN]
    np.testing.assert_array_equal(grown(np.array([[BEGIN]]), np.array([0])), before)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        grown.add(0, np.array([len(corpus.vocabulary)]))


@pytest.mark.parametrize("make", [*CACHES, NGram, lambda corpus: NGram(corpus, 4)])
@settings(max_examples=20, deadline=None)
@given(corpora(min_messages=3))
def test_no_more_is_read_again_than_is_looked_at(make, corpus):
    model = make(corpus)
    tokens = np.array([[BEGIN, *corpus.tokens[:6]]], dtype=np.int32)
    whole, state, user = model(tokens, np.array([0])), None, np.array([0])
    stepping = Rereading(model)
    state = stepping.begin(1)
    for step in range(tokens.shape[1]):
        log_probs, state = stepping.step(tokens[:, step], state, user)
        np.testing.assert_allclose(log_probs, whole[:, step], rtol=1e-6)
    assert state.shape[1] <= model.context
