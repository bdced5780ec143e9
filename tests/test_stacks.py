import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion import stacks
from companion.corpora import PADDING, Corpus
from companion.files import CorruptedFileError
from companion.personal import PersonalStates
from companion.stacks import DOWN, RECIPE, UP, Stack
from companion.strategies import Strategy

NETWORK = "0123456789abcdef"


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
    assert stack.counts.tolist() == [int((corpus.lengths[m] + 1).sum()) for m in own]
    for row, messages in enumerate(own):
        inputs, targets = corpus.padded(messages)
        inside, count = targets != PADDING, stack.counts[row]
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


RECIPES = stacks.recipe(NETWORK, text(), Strategy(), None, None)


def states(users, model=NETWORK):
    arrays = {"bias": np.array(users, np.float16)[:, None] * np.ones(3, np.float16)}
    return PersonalStates(model, np.array(users), arrays)


def test_a_recipe_sees_all_that_decides():
    held, gate = {"w": np.ones(3)}, Strategy(gate=True)
    recipes = [
        RECIPES,
        stacks.recipe("f" * 16, text(), Strategy(), None, None),
        stacks.recipe(NETWORK, text(seed=1), Strategy(), None, None),
        stacks.recipe(NETWORK, text(), Strategy(seed=1), None, None),
        stacks.recipe(NETWORK, text(), Strategy(), None, held),
        stacks.recipe(NETWORK, text(), gate, text(), None),
        stacks.recipe(NETWORK, text(), gate, text(seed=1), None),
    ]
    assert len({json.dumps(recipe) for recipe in recipes}) == len(recipes)
    unused = stacks.recipe(NETWORK, text(), Strategy(), text(seed=1), None)
    assert unused == RECIPES


def test_a_folder_belongs_to_one_recipe(tmp_path):
    folder = tmp_path / "states"
    assert stacks.resume(None, NETWORK, RECIPES) is None
    assert stacks.resume(folder, NETWORK, RECIPES) is None
    states([2, 5]).save(folder)
    assert stacks.resume(folder, NETWORK, RECIPES).users.tolist() == [2, 5]
    other = stacks.recipe(NETWORK, text(seed=1), Strategy(rank=2), None, None)
    with pytest.raises(ValueError, match="made with another strategy and text: name another"):
        stacks.resume(folder, NETWORK, other)


def test_states_of_unknown_origin_are_not_taken_over(tmp_path):
    states([2, 5]).save(tmp_path)
    with pytest.raises(ValueError, match=f"holds states, but no {RECIPE}"):
        stacks.resume(tmp_path, NETWORK, RECIPES)
    assert not (tmp_path / RECIPE).exists()


def test_merged():
    found = stacks.merged([states([3, 8]), states([1]), states([5])])
    assert found.users.tolist() == [1, 3, 5, 8]
    assert found.arrays["bias"][:, 0].tolist() == [1, 3, 5, 8]


SHAPES = {"kernel": (4, 6), "bias": (6,)}


def test_changes_that_fit():
    shapes = {"kernel": (4, 6), "bias": (6,)}
    narrow = {"kernel" + DOWN: (4, 2), "kernel" + UP: (2, 6)}
    assert shapes == SHAPES
    for fitting in ({"kernel": (4, 6)}, {"kernel": (6, 4)}, {"bias": (6,)}, narrow):
        arrays = {name: np.ones((2, *shape)) for name, shape in fitting.items()}
        stacks.check_changes(PersonalStates(NETWORK, [1, 2], arrays), SHAPES)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vector", (4,)),
        ("kernel", (4, 5)),
        ("kernel" + DOWN, (6, 2)),
        ("kernel" + UP, (2, 4)),
        ("other" + UP, (2, 6)),
        ("bias", (4,)),
    ],
)
def test_changes_that_do_not_fit(name, shape):
    wrong = PersonalStates(NETWORK, [1, 2], {name: np.ones((2, *shape))})
    with pytest.raises(ValueError, match=f"states hold '{name}' with shape .*: another method's"):
        stacks.check_changes(wrong, SHAPES)


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


def test_validation_must_have_the_same_words():
    first, other = (Corpus.from_messages([[w], ["b"]], users=["ana", "ben"]) for w in "ac")
    base = SimpleNamespace(vocabulary_size=len(first.vocabulary))
    with pytest.raises(ValueError, match="vocabulary of corpus"):
        stacks.check_adaptable(base, first, None, Strategy(gate=True), other, None)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_importance_must_be_a_finite_weight(bad):
    corpus = Corpus.from_messages([["a"]], users=["ana"])
    base, importance = SimpleNamespace(vocabulary_size=len(corpus.vocabulary)), {"w": np.array(bad)}
    with pytest.raises(ValueError, match="importance must be finite and at least 0"):
        stacks.check_adaptable(base, corpus, None, Strategy(pull=1.0), None, importance)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{"])
def test_a_broken_recipe_is_said_to_be_one(tmp_path, content):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(CorruptedFileError, match=r"recipe\.json is no recipe: name another folder"):
        stacks.resume(tmp_path, "base", {"base": "base"})


def test_a_change_too_large_for_half_precision_names_its_user():
    arrays = {"bias": np.array([[1.0], [7e4]]).astype(np.float32)}
    with np.errstate(over="ignore"):
        stored = {name: array.astype(np.float16) for name, array in arrays.items()}
    with pytest.raises(FloatingPointError, match=r"bias of user 9 .* below 0.5"):
        stacks.check_stored(stored, np.array([4, 9]), Strategy(learning_rate=0.5))


@pytest.mark.parametrize("size", [0, -5])
def test_a_group_has_users(size):
    corpus = Corpus.from_messages([["a"]], users=["ana"])
    with pytest.raises(ValueError, match="group_size must be at least 1"):
        stacks.groups(corpus, np.array([0]), 4, size)
