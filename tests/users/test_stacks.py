import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import PADDING, Corpus
from companion.users import stacks
from companion.users.stacks import Stack
from companion.users.strategies import Strategy


def text(counts=(3, 1, 5, 2), seed=0):
    """So many messages of each user, mixed but for the first of each, which decides the ids."""
    rng, first = np.random.default_rng(seed), np.arange(len(counts))
    others = rng.permutation(np.repeat(first, np.array(counts) - 1))
    users = np.concatenate([first, others])
    messages = [[f"w{word}" for word in rng.integers(9, size=1 + rng.integers(4))] for _ in users]
    return Corpus.from_messages(messages, users=[f"user {user}" for user in users])


def by_name(corpus, users):
    """Places of each user's messages, found one by one."""
    return [[i for i, user in enumerate(corpus.users) if user == own] for own in users]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 3))
def test_a_stack_holds_every_target_once_and_in_order(counts, seed):
    corpus = text(counts, seed)
    own = stacks.own_messages(corpus, corpus.active_users)
    stack = Stack.of(corpus, own)
    assert stack.tokens.shape[:2] == (len(counts), max(counts))
    for row, messages in enumerate(own):
        inputs, targets = corpus.padded(messages)
        inside, count = targets != PADDING, int((corpus.lengths[messages] + 1).sum())
        np.testing.assert_array_equal(stack.targets[row, :count], targets[inside])
        read = stack.tokens[row].ravel()[stack.places[row, :count]]
        np.testing.assert_array_equal(read, inputs[inside])
        assert not stack.targets[row, count:].any()


@pytest.mark.parametrize("batches", [1, 3])
def test_columns_find_each_target_in_the_stack_of_all_messages(batches):
    corpus, users = text((4, 3, 6)), np.arange(3)
    own = stacks.own_messages(corpus, users)
    every = Stack.of(corpus, own)
    for parts in stacks.passes(corpus, users, Strategy(passes=2, batches=batches)):
        for part in parts:
            stack = Stack.of(corpus, part)
            columns = stack.columns(corpus.lengths, part, own)
            inside = stack.targets != PADDING
            targets = np.take_along_axis(every.targets, columns, axis=1)
            np.testing.assert_array_equal(targets[inside], stack.targets[inside])
            read = np.take_along_axis(_inputs(every), columns, axis=1)
            np.testing.assert_array_equal(read[inside], _inputs(stack)[inside])


def _inputs(stack):
    """What was read at each target."""
    return np.take_along_axis(stack.tokens.reshape(len(stack.tokens), -1), stack.places, axis=1)


def test_own_messages():
    corpus, users = text(), np.array([0, 2, 3])
    found = [messages.tolist() for messages in stacks.own_messages(corpus, users)]
    assert found == by_name(corpus, users)
    assert [m.tolist() for m in stacks.own_messages(corpus.of_users([0]), np.array([1]))] == [[]]


def test_passes_read_every_message_once_in_an_order_that_is_the_users_own():
    corpus, strategy = text(), Strategy(passes=3, batches=2)
    users = np.array([0, 2, 3])
    together = list(stacks.passes(corpus, users, strategy))
    alone = list(stacks.passes(corpus, users[1:2], strategy))
    assert [len(parts) for parts in together] == [2, 2, 2]
    for parts, same in zip(together, alone, strict=True):
        for row, messages in enumerate(by_name(corpus, users)):
            assert sorted(np.concatenate([part[row] for part in parts])) == messages
        for part, other in zip(parts, same, strict=True):
            np.testing.assert_array_equal(part[1], other[0])
    orders = {tuple(np.concatenate([part[1] for part in parts])) for parts in together}
    assert len(orders) > 1
    [[first, *_], *_] = stacks.passes(corpus, users, Strategy(passes=3, batches=1))
    [[other, *_], *_] = stacks.passes(corpus, users, Strategy(passes=3, batches=1, seed=1))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_parts_are_no_more_than_messages_and_no_larger_than_allowed(monkeypatch):
    corpus = text((3, 1, 9))
    assert stacks.parts(corpus, np.arange(3), 4).tolist() == [3, 1, 4]
    monkeypatch.setattr(stacks, "LARGEST_PART", 2)
    assert stacks.parts(corpus, np.arange(3), 4).tolist() == [3, 1, 5]
    [parts] = stacks.passes(corpus, np.array([2]), Strategy(passes=1, batches=4))
    assert max(len(part[0]) for part in parts) == 2


def test_groups_hold_everybody_once_with_the_same_parts(monkeypatch):
    corpus, users = text((1, 2, 3, 4, 5, 6, 7)), np.array([0, 1, 2, 4, 5, 6])
    found = stacks.groups(corpus, users, 3, largest=2)
    assert sorted(np.concatenate(found)) == users.tolist()
    assert all(len(group) <= 2 and (np.diff(group) > 0).all() for group in found)
    assert all(len(set(stacks.parts(corpus, group, 3))) == 1 for group in found)
    assert len(stacks.groups(corpus, users, 1, largest=99)) == 1
    monkeypatch.setattr(stacks, "CELLS", 1)  # one user alone is always allowed
    assert [len(group) for group in stacks.groups(corpus, users, 1, largest=99)] == [1] * 6
    assert stacks.groups(corpus, users[:0], 3, largest=2) == []


def long_and_short():
    """Three users with a message of 30 words and five of 2, three with six of 2."""
    messages = [["w"] * (30 if i == 0 and user < 3 else 2) for user in range(6) for i in range(6)]
    return Corpus.from_messages(messages, users=[f"user {i // 6}" for i in range(36)])


def test_long_messages_are_read_in_more_parts_and_smaller_groups(monkeypatch):
    corpus, users = long_and_short(), np.arange(6)
    assert stacks.parts(corpus, users, 1).tolist() == [1] * 6
    assert len(stacks.groups(corpus, users, 1, largest=9)) == 1
    monkeypatch.setattr(stacks, "STEPS", 70)
    assert stacks.parts(corpus, users, 1).tolist() == [3, 3, 3, 1, 1, 1]
    found = stacks.groups(corpus, users, 1, largest=9)
    assert sorted(map(list, found)) == [[0], [1], [2], [3, 4, 5]]
    for group in found:
        for parts in stacks.passes(corpus, group, Strategy(passes=1, batches=1)):
            assert all(Stack.of(corpus, part).tokens.size <= 70 for part in parts)


def test_slices_hold_every_message_once_and_are_no_larger_than_allowed(monkeypatch):
    monkeypatch.setattr(stacks, "STEPS", 70)
    corpus = long_and_short()
    own = [*stacks.own_messages(corpus, np.array([2, 3])), np.array([], int)]
    found = list(stacks.slices(corpus, own))
    assert [len(part) for part in found] == [3] * 6  # a message of 31 tokens for each of 3 users
    for user, messages in enumerate(own):
        together = np.concatenate([part[user] for part in found])
        np.testing.assert_array_equal(together, messages)
    assert list(stacks.slices(corpus, own[2:])) == []


def test_reading_takes_every_message_once_and_no_more_than_allowed(monkeypatch):
    monkeypatch.setattr(stacks, "STEPS", 70)
    corpus = long_and_short()
    own = stacks.own_messages(corpus, np.arange(6))
    batches = list(stacks.reading(corpus, own, width=46))
    assert sorted(np.concatenate([messages for messages, _ in batches])) == list(range(36))
    assert all(len(m) * (corpus.lengths[m].max() + 1) <= 70 for m, _ in batches)
    places = np.concatenate([places for _, places in batches])
    assert len(np.unique(places)) == len(places) == corpus.n_tokens + len(corpus)


def test_the_first_narrow_matrix():
    first = stacks.first_down(400, 3, seed=1)
    assert (first.shape, first.dtype) == ((400, 3), np.float32)
    np.testing.assert_array_equal(first, stacks.first_down(400, 3, seed=1))
    assert (first != stacks.first_down(400, 3, seed=2)).all()
    assert np.square(first).sum(0) == pytest.approx(1.0, abs=0.2)


def test_words_are_drawn_as_often_as_they_are_probable():
    chances = np.array([0.6, 0.3, 0.1])
    drawn = stacks.draw(np.tile(np.log(chances), (20_000, 1)), np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), chances, atol=0.01)


def test_every_token_is_drawn_and_each_as_often():
    corpus = Corpus.from_messages([["a"], ["b"] * 9], users=["ana", "ben"])
    messages, steps = stacks.draw_tokens(corpus, 100, np.random.default_rng(0))
    drawn = sorted(zip(messages.tolist(), steps.tolist(), strict=True))
    assert drawn == [(0, 0), (0, 1), *((1, step) for step in range(10))]
    with pytest.raises(ValueError, match="tokens must be at least 1, not 0"):
        stacks.draw_tokens(corpus, 0, np.random.default_rng(0))


@pytest.mark.parametrize("size", [0, -5])
def test_a_group_has_users(size):
    corpus = Corpus.from_messages([["a"]], users=["ana"])
    with pytest.raises(ValueError, match="group_size must be at least 1"):
        stacks.groups(corpus, np.array([0]), 4, size)
