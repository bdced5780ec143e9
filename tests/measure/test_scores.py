"""Scores against a slow reference that types every word on a simulated keyboard."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import END, UNKNOWN, Corpus, Vocabulary
from companion.keyboard import Keyboard
from companion.measure import remembered, score, score_targets, summed, target_log_probs
from tests.measure.synthetic import Arbitrary, corpora, normalized, scattered


def keystrokes(log_probs, target, vocabulary):
    """Keys pressed for one word by somebody who taps it as soon as it is shown."""
    word = vocabulary.words[target]
    real = sorted(range(4, len(vocabulary)), key=lambda i: (-log_probs[i], i))
    for typed in range(len(word)):
        matching = [i for i in real if vocabulary.words[i].startswith(word[:typed])]
        if target in matching[:3]:
            return typed + 1
    return len(word) + 1


def reference(model, corpus):
    """The table of scores, one token after the other."""
    vocabulary, rows = corpus.vocabulary, {}
    for message in range(len(corpus)):
        inputs, targets = corpus.padded(np.array([message]))
        user = corpus.users[message]
        log_probs = model(inputs, np.array([user]))[0]
        row = rows.setdefault(user, dict.fromkeys(COLUMNS, 0.0))
        for own, target in zip(log_probs, targets[0], strict=True):
            row["tokens"] += 1
            row["nll"] -= own[target]
            if target == END:
                continue
            by_hand = vocabulary.letters[target] + 1
            row["keystrokes"] += by_hand
            if target == UNKNOWN:
                continue
            ranked = sorted(range(4, len(vocabulary)), key=lambda i: (-own[i], i))
            row["words"] += 1
            row["top1"] += ranked[0] == target
            row["top3"] += target in ranked[:3]
            row["saved"] += by_hand - keystrokes(own, target, vocabulary)
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()


COLUMNS = ["tokens", "nll", "words", "top1", "top3", "keystrokes", "saved"]


@settings(max_examples=60, deadline=None)
@given(corpora(), st.sampled_from([None, 2, 3]), st.integers(1, 4), st.booleans())
def test_scores_equal_the_reference(corpus, levels, batch_size, unknown):
    if unknown:
        kept = Vocabulary(corpus.vocabulary.words[:6], unknown_length=2.5)
        corpus = corpus.with_vocabulary(kept)
    model = Arbitrary(corpus, levels=levels)
    scores = score(model, corpus, batch_size)
    assert list(scores.columns) == COLUMNS
    assert scores.index.name == "user"
    pd.testing.assert_frame_equal(
        scores, reference(model, corpus), check_dtype=False, check_names=False
    )


@settings(max_examples=30, deadline=None)
@given(corpora(), st.integers(1, 4))
def test_targets_stand_in_the_order_of_the_corpus(corpus, batch_size):
    model = Arbitrary(corpus)
    expected, tokens = [], []
    for message in range(len(corpus)):
        inputs, targets = corpus.padded(np.array([message]))
        log_probs = model(inputs, corpus.users[[message]])[0]
        expected += list(log_probs[np.arange(len(targets[0])), targets[0]])
        tokens += list(targets[0])
    table = score_targets(model, corpus, batch_size)
    np.testing.assert_array_equal(table["token"], tokens)
    np.testing.assert_allclose(table["log_prob"], expected)
    np.testing.assert_allclose(target_log_probs(model, corpus, batch_size), expected)
    assert (table["user"] == corpus.users[table["message"]]).all()


class Stepping:
    """An arbitrary model that reads one token at a time."""

    def __init__(self, model):
        self.table = model.table

    def begin(self, batch, users=None):
        return None

    def step(self, tokens, state, users=None):
        return self.table[users, tokens], state


@settings(max_examples=25, deadline=None)
@given(corpora(max_messages=3), st.sampled_from([None, 2]))
def test_keystrokes_saved_are_those_of_the_keyboard(corpus, levels):
    model = Arbitrary(corpus, levels=levels)
    targets = score_targets(model, corpus)
    for message in range(len(corpus)):
        keyboard = Keyboard(Stepping(model), corpus.vocabulary, int(corpus.users[message]))
        words, pressed = corpus.vocabulary.decode(corpus.words(message)), []
        for place, word in enumerate(words):
            suggested = (keyboard.suggest(words[:place], word[:n]) for n in range(len(word)))
            shown = (n for n, three in enumerate(suggested) if word in three)
            pressed.append(next(shown, len(word)) + 1)
        of_message = targets[(targets["message"] == message) & (targets["rank"] >= 0)]
        assert (of_message["keystrokes"] - of_message["saved"]).tolist() == pressed


def test_large_vocabularies_go_in_smaller_batches(monkeypatch):
    corpus = scattered()
    model, sizes = Arbitrary(corpus), []

    def counting(tokens, users):
        sizes.append(tokens.size * len(corpus.vocabulary))
        return model(tokens, users)

    whole = score(model, corpus)
    monkeypatch.setattr("companion.measure.scores.CELLS", 300)
    pd.testing.assert_frame_equal(score(counting, corpus), whole)
    assert max(sizes) <= 300
    assert len(sizes) < len(corpus)


def test_equal_probabilities_rank_by_id():
    corpus = Corpus.from_messages([["a", "b", "c", "d"]], ["ann"])
    size = len(corpus.vocabulary)
    table = score_targets(lambda t, u: normalized(np.ones((*t.shape, size))), corpus)
    assert table["rank"].tolist() == [0, 1, 2, 3, -1]


def test_an_unknown_word_is_typed_by_hand():
    corpus = Corpus.from_messages([["cat", "dog"]], ["ann"])
    corpus = corpus.with_vocabulary(Vocabulary(corpus.vocabulary.words[:5], unknown_length=4.5))
    scores = score(Arbitrary(corpus), corpus).iloc[0]
    assert (scores["words"], scores["keystrokes"], scores["saved"]) == (1, 4 + 5.5, 3)


def test_some_rows_of_targets_can_be_summed_alone():
    corpus = scattered()
    targets = score_targets(Arbitrary(corpus), corpus)
    some = targets["token"] > UNKNOWN
    parts = summed(targets[some]).add(summed(targets[~some]), fill_value=0)
    pd.testing.assert_frame_equal(parts, summed(targets), check_dtype=False)


@pytest.fixture
def corpus():
    return scattered(n_users=5)


def test_logits_are_refused(corpus):
    size = len(corpus.vocabulary)
    with pytest.raises(ValueError, match=r"sum to .* not logits"):
        score(lambda t, u: np.zeros((*t.shape, size)), corpus)
    with pytest.raises(ValueError, match="sum to inf"):
        score(lambda t, u: np.full((*t.shape, size), 1e4), corpus)


def test_probabilities_are_refused(corpus):
    model = Arbitrary(corpus)
    with pytest.raises(ValueError, match="not logits or probabilities"):
        score(lambda t, u: np.exp(model(t, u)), corpus)


def test_nan_is_refused_and_its_user_named(corpus):
    model = Arbitrary(corpus)

    def broken(tokens, users):
        log_probs = np.array(model(tokens, users))
        log_probs[users == 3] = np.nan
        return log_probs

    with pytest.raises(ValueError, match=r"NaN in message \d+ of user 3"):
        score(broken, corpus)


def test_wrong_shape_is_refused(corpus):
    model = Arbitrary(corpus)
    with pytest.raises(ValueError, match=r"\(message, step, word\)"):
        score(lambda t, u: model(t, u)[:, -1], corpus)


def test_probability_zero_for_what_happened_is_refused(corpus):
    size = len(corpus.vocabulary)
    weights = np.ones(size)
    weights[corpus.vocabulary.id("jam")] = 0
    with pytest.raises(ValueError, match=r"probability zero to 'jam' in message \d+ of user"):
        score(lambda t, u: np.tile(normalized(weights), (*t.shape, 1)), corpus)


def test_nothing_to_score_and_wrong_batches_are_refused(corpus):
    with pytest.raises(ValueError, match="no message"):
        score(Arbitrary(corpus), corpus.of_users([]))
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        score(Arbitrary(corpus), corpus, batch_size=0)


def test_remembered_model_computes_each_batch_once_and_tells_users_apart():
    corpus, calls = scattered(), []
    plain = Arbitrary(corpus)

    def counted(tokens, users):
        calls.append(len(tokens))
        return plain(tokens, users)

    model = remembered(counted)
    first, again = score(model, corpus, batch_size=16), score(model, corpus, batch_size=16)
    once = len(calls)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    pd.testing.assert_frame_equal(first, score(plain, corpus), rtol=1e-5)
    tokens, users = np.full((2, 3), 5, dtype=np.int32), np.array([0, 1])
    assert not np.array_equal(model(tokens, users), model(tokens, users[::-1].copy()))
    assert sum(calls[:once]) == len(corpus)
    with pytest.raises(ValueError, match="read-only"):
        model(tokens, users)[:] = 0
