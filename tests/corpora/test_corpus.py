from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import BEGIN, END, PADDING, UNKNOWN, Corpus, Vocabulary, at_least, split

MESSAGE = st.tuples(
    st.lists(st.sampled_from("abcdefgh"), max_size=5),
    st.sampled_from(["ana", "bo", "cem", "dara"]),
    st.integers(-5, 5),
)
MESSAGES = st.lists(MESSAGE, min_size=1, max_size=40)


def build(messages):
    texts, users, times = zip(*messages, strict=True)
    return Corpus.from_messages(texts, users, times)


def histories(corpus):
    """The words of each user's messages, in order, by the user's name."""
    found = {}
    for i, user in enumerate(corpus.users):
        words = corpus.vocabulary.decode(corpus.words(i))
        found.setdefault(corpus.user_names[user], []).append(words)
    return found


@given(MESSAGES)
def test_every_message_comes_back_in_time_order(messages):
    expected = {}
    for words, user, _ in sorted(messages, key=lambda message: message[2]):
        expected.setdefault(user, []).append(words)
    corpus = build(messages)
    assert histories(corpus) == expected
    assert len(corpus) == len(messages)
    assert corpus.n_tokens == sum(len(words) for words, _, _ in messages)
    assert corpus.message_counts.sum() == len(messages)


@given(MESSAGES, st.data())
def test_a_selection_shares_the_tokens(messages, data):
    corpus = build(messages)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(corpus) - 1))), dtype=int)
    selected = corpus.select(chosen)
    assert selected.tokens is corpus.tokens
    assert [selected.text(i) for i in range(len(selected))] == [corpus.text(i) for i in chosen]
    assert selected.n_users == corpus.n_users
    assert set(selected.active_users) == set(corpus.users[chosen])


@given(MESSAGES)
def test_what_a_model_reads_and_predicts(messages):
    corpus = build(messages)
    inputs, targets = corpus.padded(np.arange(len(corpus)))
    assert inputs.dtype == targets.dtype == np.int32
    assert inputs.shape == targets.shape == (len(corpus), corpus.lengths.max() + 1)
    for i, (read, predicted) in enumerate(zip(inputs, targets, strict=True)):
        words, padding = list(corpus.words(i)), [PADDING] * (len(read) - corpus.lengths[i] - 1)
        assert list(read) == [BEGIN, *words, *padding]
        assert list(predicted) == [*words, END, *padding]


def test_no_message_at_all_can_be_padded():
    inputs, targets = build([(["a"], "ana", 0)]).padded(np.zeros(0, dtype=int))
    assert inputs.shape == targets.shape == (0, 1)


@given(MESSAGES, st.integers(0, 6))
def test_the_first_messages_of_each_user(messages, n):
    corpus = build(messages)
    whole, first = histories(corpus), histories(corpus.first(n))
    assert first == {user: texts[:n] for user, texts in whole.items() if n}


@given(MESSAGES, st.lists(st.sampled_from("abcxyz"), unique=True))
def test_another_vocabulary(messages, words):
    corpus, vocabulary = build(messages), Vocabulary.from_words(words)
    encoded = corpus.with_vocabulary(vocabulary)
    before, after = histories(corpus), histories(encoded)
    known = {word: word if word in words else "<unknown>" for word in "abcdefgh"}
    assert after == {u: [[known[w] for w in text] for text in t] for u, t in before.items()}


@given(MESSAGES, st.integers(1, 4))
def test_only_users_with_enough_messages(messages, n):
    corpus = build(messages)
    kept = {user: texts for user, texts in histories(corpus).items() if len(texts) >= n}
    if not kept:
        with pytest.raises(ValueError, match=f"no user has {n} messages; the longest history has"):
            at_least(corpus, n)
        return
    filtered = at_least(corpus, n)
    assert histories(filtered) == kept
    assert set(filtered.user_names) == set(kept)
    assert filtered.active_users.tolist() == list(range(filtered.n_users))


LONG = st.lists(st.integers(3, 45), min_size=2, max_size=5)  # messages of each user


def numbered(sizes):
    """Users of so many messages; each message is a word of its own."""
    texts = [[f"u{user}m{i}"] for user, size in enumerate(sizes) for i in range(size)]
    users = [f"u{user}" for user, size in enumerate(sizes) for _ in range(size)]
    return Corpus.from_messages(texts, users)


@settings(max_examples=50)
@given(LONG, st.data())
def test_a_split_is_by_user_and_by_time(sizes, data):
    n_new = data.draw(st.integers(0, len(sizes) - 1))
    corpus = numbered(sizes)
    parts = split(corpus, new_users=n_new, seed=data.draw(st.integers(0, 9)))
    times = {
        name: {u: part.times[part.users == u] for u in part.active_users}
        for name, part in vars(parts).items()
        if isinstance(part, Corpus)
    }
    known, new = set(parts.known_users), set(parts.new_users)
    assert len(new) == n_new
    assert known | new == set(range(len(sizes)))
    assert not known & new
    for names, users in (
        (("train", "validation", "test"), known),
        (("new_history", "new_test"), new),
    ):
        for user in users:
            pieces = [times[name][user] for name in names]  # each has at least one message
            assert np.array_equal(np.concatenate(pieces), corpus.times[corpus.users == user])
    for user in known:
        assert len(times["test"][user]) == len(times["validation"][user])
        assert len(times["test"][user]) == max(1, round(sizes[user] / 10))
    for user in new:
        assert len(times["new_test"][user]) == sizes[user] // 3


@settings(max_examples=50)
@given(LONG)
def test_the_vocabulary_is_that_of_the_training_text(sizes):
    parts = split(numbered(sizes), new_users=1)
    train = {parts.vocabulary.words[i] for i in range(4, len(parts.vocabulary))}
    assert train == {word for texts in histories(parts.train).values() for [word] in texts}
    for part in (parts.validation, parts.test, parts.new_history, parts.new_test):
        assert all((part.words(i) == UNKNOWN).all() for i in range(len(part)))


def test_support_sets_grow():
    parts = split(numbered([30, 30, 12]), new_users=[1, 2])
    assert [len(parts.support(n)) for n in (0, 1, 8, 100)] == [0, 2, 16, 20 + 8]
    with pytest.raises(ValueError, match="n must be at least 0, not -1"):
        parts.support(-1)


def test_new_users_are_drawn_with_the_seed():
    corpus = numbered([3] * 40)
    drawn = [tuple(split(corpus, 5, seed=seed).new_users) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert split(corpus, [7, 3]).new_users.tolist() == [3, 7]


def test_rare_words_are_unknown():
    corpus = Corpus.from_messages([["a", "a", "b"], ["a"], ["b"]] * 2, ["u"] * 3 + ["v"] * 3)
    assert split(corpus, min_count=3).vocabulary.words[4:] == ("a",)
    assert split(corpus, vocabulary_size=5).vocabulary.words[4:] == ("a",)


@pytest.mark.parametrize("new_users", [-1, 2, 9, [0, 1], [5]])
def test_new_users_are_checked(new_users):
    with pytest.raises(ValueError, match="new_users"):
        split(numbered([3, 3]), new_users)


@pytest.mark.parametrize(
    ("new_users", "error", "says"),
    [
        (1.0, TypeError, "new_users must be an integer or a list of user ids, not 1.0"),
        (True, TypeError, "new_users must be an integer .*, not True"),
        ("1", TypeError, "new_users must be an integer .*, not '1'"),
        ([0.5], TypeError, "new_users must be an integer .*, not .0.5."),
        ([7], ValueError, "new_users holds 7, which is no user of the corpus"),
        ([0, 1], ValueError, "new_users holds all 2 users"),
    ],
)
def test_wrong_new_users_are_named(new_users, error, says):
    with pytest.raises(error, match=says):
        split(numbered([3, 3]), new_users)


def test_an_empty_corpus_cannot_be_split():
    with pytest.raises(ValueError, match="corpus is empty"):
        split(numbered([3]).select(np.array([], dtype=int)))


def test_a_user_of_one_message_cannot_be_split():
    with pytest.raises(ValueError, match=r"user 'u1' has fewer than 3 messages \(2 users in all\)"):
        split(numbered([3, 1, 2, 4]))


def test_unknown_users():
    with pytest.raises(ValueError, match="user 2 is unknown: ids go from 0 to 1"):
        numbered([3, 3]).of_users([0, 2])
    assert len(numbered([3, 4]).of_users(1)) == 4


def test_columns_are_checked():
    corpus = numbered([3])
    columns = {
        name: getattr(corpus, name)
        for name in ("tokens", "starts", "lengths", "users", "times", "vocabulary", "user_names")
    }
    with pytest.raises(TypeError, match="tokens must be int32, not int64"):
        Corpus(**{**columns, "tokens": corpus.tokens.astype(np.int64)})
    with pytest.raises(ValueError, match="differ in length"):
        Corpus(**{**columns, "users": corpus.users[:2]})
    with pytest.raises(ValueError, match="users must lie in 0 to 0"):
        Corpus(**{**columns, "users": corpus.users + 1})


def test_fingerprints_tell_corpora_apart():
    base = [(["a", "b"], "ana", 0), (["b"], "bo", 1)]
    changed = [
        [(["a", "c"], "ana", 0), (["b"], "bo", 1)],
        [(["b", "a"], "ana", 0), (["b"], "bo", 1)],
        [(["a", "b"], "ana", 0), (["b"], "ana", 1)],
        [(["a"], "ana", 0), (["b", "b"], "bo", 1)],
    ]
    fingerprints = {build(messages).fingerprint for messages in (base, *changed)}
    assert len(fingerprints) == 5
    assert build(base).fingerprint == build(base).fingerprint
    assert build(base).select(np.array([0])).fingerprint not in fingerprints


def test_messages_must_lie_within_the_tokens():
    corpus = Corpus.from_messages([["a", "b"], ["c"]], users=["x", "y"])
    with pytest.raises(ValueError, match="within the 3 tokens"):
        replace(corpus, lengths=corpus.lengths + 1)
    with pytest.raises(ValueError, match="within the 3 tokens"):
        replace(corpus, starts=corpus.starts - 1)
