"""Beliefs about who is typing, against enumeration and against evidence whose law is known."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.special import log_softmax

from companion.corpora import Corpus
from companion.users import beliefs
from companion.users.states import PersonalStates

PRIOR = np.log([0.5, 0.3, 0.2])


@pytest.fixture
def evidence():
    """Of four messages in each of two sittings, for three users."""
    return np.random.default_rng(0).normal(0, 1.5, (2, 4, 3))


def enumerated(evidence, prior, stay):
    """Beliefs after each message of one sitting, summed over every sequence of typists."""
    users = range(len(prior))
    step = stay * np.eye(len(prior)) + (1 - stay) * np.tile(prior, (len(prior), 1))
    found = []
    for last in range(len(evidence)):
        weights = np.zeros(len(prior))
        for typists in product(users, repeat=last + 1):
            weight = prior[typists[0]] * np.exp(evidence[0, typists[0]])
            for message in range(1, last + 1):
                weight *= step[typists[message - 1], typists[message]]
                weight *= np.exp(evidence[message, typists[message]])
            weights[typists[-1]] += weight
        found.append(weights / weights.sum())
    return np.array(found)


@pytest.mark.parametrize("stay", [1.0, 0.9, 0.4])
def test_beliefs_are_those_of_all_sequences_of_typists(evidence, stay):
    found = np.exp(beliefs.followed(evidence, PRIOR, stay))
    assert found.sum(axis=-1) == pytest.approx(np.ones((2, 4)))
    for sitting, expected in zip(evidence, found, strict=True):
        np.testing.assert_allclose(expected, enumerated(sitting, np.exp(PRIOR), stay), atol=1e-12)


def test_where_nobody_takes_over_evidence_only_adds_up(evidence):
    summed = log_softmax(PRIOR + evidence.cumsum(axis=-2), axis=-1)
    np.testing.assert_allclose(beliefs.followed(evidence, PRIOR), summed, atol=1e-12)
    forgetting = beliefs.followed(evidence, PRIOR, stay=0.99)
    assert np.abs(forgetting[:, 0] - summed[:, 0]).max() < 1e-12  # before the first: nothing old
    assert np.abs(forgetting[:, 1:] - summed[:, 1:]).max() > 1e-3


def test_the_prior_need_not_be_normalized_nor_evidence_be_about_zero(evidence):
    shifted = beliefs.followed(evidence + 40.0, PRIOR - 3.0, 0.8, 2.0)
    np.testing.assert_allclose(shifted, beliefs.followed(evidence, PRIOR, 0.8, 2.0), atol=1e-9)


def test_doubt_divides_the_evidence_and_not_the_prior(evidence):
    doubting = beliefs.followed(evidence, PRIOR, stay=0.7, doubt=4.0)
    np.testing.assert_allclose(doubting, beliefs.followed(evidence / 4.0, PRIOR, 0.7), atol=1e-12)
    least_sure = beliefs.followed(evidence, PRIOR, doubt=1e9)
    np.testing.assert_allclose(least_sure, np.broadcast_to(PRIOR, least_sure.shape), atol=1e-6)


def test_a_belief_follows_a_change_of_typist_only_where_one_can_take_over():
    evidence = np.array([[4.0, 0.0]] * 6 + [[0.0, 4.0]] * 3)
    prior = np.log([0.5, 0.5])
    stubborn, open_minded = (beliefs.followed(evidence, prior, stay) for stay in (1.0, 0.95))
    assert stubborn.argmax(axis=-1).tolist() == [0] * 9
    assert open_minded.argmax(axis=-1).tolist() == [0] * 6 + [1] * 3


def test_a_user_who_cannot_have_written_a_message_is_ruled_out(evidence):
    evidence[:, 1, 2] = -np.inf
    found = beliefs.followed(evidence, PRIOR)
    assert np.isneginf(found[:, 1:, 2]).all()
    assert np.exp(found).sum(axis=-1) == pytest.approx(np.ones((2, 4)))
    returned = beliefs.followed(evidence, PRIOR, stay=0.9)[:, 2:, 2]
    assert np.isfinite(returned).all()  # may have taken over since


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"stay": 0.0}, ValueError, "stay must be above 0"),
        ({"stay": 1.5}, ValueError, "stay must be at most 1, not 1.5"),
        ({"stay": "0.9"}, TypeError, "stay must be a number"),
        ({"doubt": 0.0}, ValueError, "doubt must be above 0"),
        ({"doubt": np.nan}, ValueError, "doubt must be"),
    ],
)
def test_what_is_no_probability_or_divisor_is_refused(evidence, options, error, says):
    with pytest.raises(error, match=says):
        beliefs.followed(evidence, PRIOR, **options)


def written_by(*names):
    """A corpus of messages of one word, by these users; times as given."""
    return Corpus.from_messages([["hi"]] * len(names), names)


def test_beliefs_of_a_typist_are_about_the_message_after_the_last(evidence):
    corpus = written_by("ann", "bo", "ann", "bo", "bo", "ann", "bo", "ann")
    assert corpus.users.tolist() == [0] * 4 + [1] * 4  # by user and time
    typists, table = beliefs.by_typist(np.concatenate(evidence), corpus, PRIOR, 0.8, 2.0)
    assert typists.tolist() == [0, 1]
    last = np.exp(beliefs.followed(evidence, PRIOR, 0.8, 2.0)[:, -1])
    anyone = np.exp(PRIOR) / np.exp(PRIOR).sum()
    np.testing.assert_allclose(np.exp(table), 0.8 * last + 0.2 * anyone, atol=1e-12)


def test_evidence_that_rules_everybody_out_is_refused(evidence):
    evidence = evidence.copy()
    evidence[0, 1] = -np.inf
    with pytest.raises(ValueError, match="rules out every user at message 1"):
        beliefs.followed(evidence, PRIOR)


def test_a_temperature_needs_the_evidence_of_all_writers(evidence):
    corpus = written_by(*["ann"] * 4, *["bo"] * 4)
    with pytest.raises(ValueError, match="user 0"):
        beliefs.best_temperature(np.concatenate(evidence), corpus, np.array([1, 2, 3]))


def test_typists_may_have_written_more_or_less_and_keep_their_ids(evidence):
    corpus = written_by("ann", "bo", "bo", "cy").of_users([1, 2])
    typists, table = beliefs.by_typist(evidence[0, :3], corpus, PRIOR)
    assert typists.tolist() == [1, 2]
    of_bo = beliefs.followed(evidence[0, :2], PRIOR)[-1]
    of_cy = beliefs.followed(evidence[0, 2:3], PRIOR)[-1]
    np.testing.assert_allclose(table, [of_bo, of_cy], atol=1e-12)


def synthetic(users, messages, seed):
    """Who wrote which message, and the exact log-likelihood of each under each user."""
    rng = np.random.default_rng(seed)
    words = rng.dirichlet(np.full(30, 2.0), users)  # (user, word)
    corpus = written_by(*np.repeat([f"user {i}" for i in range(users)], messages))
    drawn = np.stack([rng.multinomial(4, words[user]) for user in corpus.users])
    return corpus, drawn @ np.log(words).T  # (message, user)


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_the_best_temperature_is_the_one_that_evidence_was_multiplied_by(known):
    corpus, exact = synthetic(users=40, messages=15, seed=1)
    found = beliefs.best_temperature(known * exact, corpus, np.arange(40))
    assert found == pytest.approx(known, rel=0.12)


def test_the_best_temperature_knows_users_by_their_ids():
    corpus, exact = synthetic(users=40, messages=15, seed=1)
    few = corpus.of_users([5, 9, 30])
    rows = np.isin(corpus.users, [5, 9, 30])
    found = beliefs.best_temperature(exact[rows], few, np.arange(40))
    ids = np.arange(0, 400, 10)  # the same columns, under other ids
    names = [f"user {i}" for i in range(400)]
    renamed = replace(few, users=few.users * 10, user_names=tuple(names))
    assert beliefs.best_temperature(exact[rows], renamed, ids) == pytest.approx(found)
    assert beliefs.best_temperature(exact[rows][:, ::-1], few, np.arange(40)) > 5  # all wrong


def test_certain_leaves_no_doubt_whatever_the_evidence(evidence):
    table = beliefs.certain(PRIOR)
    after = np.exp(log_softmax(table + evidence[0, 0], axis=-1))
    np.testing.assert_array_equal(after, np.eye(3))


def test_stored_beliefs_are_finite_halves_and_come_back():
    table = log_softmax(np.array([[0.0, -np.inf, -1.0], [-3.0, -2.0, -1e6]]), axis=-1)
    kept = beliefs.stored(table)
    assert kept.dtype == np.float16
    assert np.isfinite(kept).all()
    states = PersonalStates("model", np.array([4, 9]), {"belief": kept})
    assert states.bytes_per_user == 6
    back = beliefs.table_of(states, 3)
    assert back.dtype == np.float64
    assert np.exp(back).sum(axis=-1) == pytest.approx([1, 1])  # halves alone would not
    np.testing.assert_allclose(np.exp(back), np.exp(table), atol=1e-3)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"vector": np.zeros((1, 3))}, r"states hold {'vector': \(1, 3\)}, no beliefs over 3"),
        ({"belief": np.zeros((1, 4))}, r"states hold {'belief': \(1, 4\)}, no beliefs over 3"),
    ],
)
def test_states_of_another_method_or_other_users_are_refused(arrays, says):
    with pytest.raises(ValueError, match=says):
        beliefs.table_of(PersonalStates("model", np.array([0]), arrays), 3)


def test_a_checked_table_gives_ids_and_shares_as_given():
    users, shares = beliefs.check_table([2, 5], np.zeros((2, 8)), [3, 1], 8)
    assert users.tolist() == [2, 5]
    assert shares.tolist() == [3.0, 1.0]
    assert shares.dtype == np.float64


@pytest.mark.parametrize(
    ("users", "shape", "prior", "says"),
    [
        ([5, 2], (2, 8), [1, 1], "ascend"),
        ([2, 5], (3, 8), [1, 1], r"vectors must have shape \(2, 8\), .* not \(3, 8\)"),
        ([2, 5], (2, 7), [1, 1], r"vectors must have shape \(2, 8\), .* not \(2, 7\)"),
        ([2, 5], (2, 8), [1, 0], "prior must give each of 2 users a share above 0"),
        ([2, 5], (2, 8), [1, 1, 1], "prior must give each of 2 users"),
        ([2, 5], (2, 8), [1, np.inf], "prior must give each of 2 users"),
    ],
)
def test_a_table_that_does_not_fit_its_users_is_refused(users, shape, prior, says):
    with pytest.raises(ValueError, match=says):
        beliefs.check_table(users, np.zeros(shape), np.array(prior, dtype=float), 8)
