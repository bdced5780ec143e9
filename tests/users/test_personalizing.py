import json

import numpy as np
import pytest

from companion.corpora import Corpus
from companion.keeping.files import CorruptedFileError
from companion.users import personalizing
from companion.users.personalizing import RECIPE, task
from companion.users.stacks import DOWN, UP
from companion.users.states import PersonalStates
from companion.users.store import FILE, SqliteStore
from companion.users.strategies import Strategy

NETWORK = "0123456789abcdef"


def text(word="a"):
    """A message of each of two users; another text, another word."""
    return Corpus.from_messages([[word], ["b"]], users=["ana", "ben"])


PLAIN = Strategy()


def recipe(corpus, base=NETWORK, strategy=PLAIN, validation=None, importance=None):
    """The recipe of a task for all users."""
    return task(base, corpus, None, strategy, validation, importance).recipe


RECIPE_OF_ALL = recipe(text())


def states(users, model=NETWORK):
    arrays = {"bias": np.array(users, np.float16)[:, None] * np.ones(3, np.float16)}
    return PersonalStates(model, np.array(users), arrays)


def keep(folder, some):
    with SqliteStore(folder / FILE) as store:
        store.put(some)


def test_a_recipe_sees_all_that_decides():
    held, gate = {"w": np.ones(3)}, Strategy(gate=True)
    recipes = [
        RECIPE_OF_ALL,
        recipe(text(), base="f" * 16),
        recipe(text("c")),
        recipe(text(), strategy=Strategy(pull=1.0)),
        recipe(text(), strategy=Strategy(pull=1.0), importance=held),
        recipe(text(), strategy=gate, validation=text()),
        recipe(text(), strategy=gate, validation=text().of_users([1])),
    ]
    assert len({json.dumps(one) for one in recipes}) == len(recipes)
    assert recipe(text(), validation=text().of_users([1])) == RECIPE_OF_ALL  # it is not used


def test_a_folder_belongs_to_one_recipe(tmp_path):
    folder = tmp_path / "states"
    assert personalizing.resume(None, NETWORK, RECIPE_OF_ALL) is None
    assert personalizing.resume(folder, NETWORK, RECIPE_OF_ALL) is None
    keep(folder, states([2, 5]))
    assert personalizing.resume(folder, NETWORK, RECIPE_OF_ALL).users.tolist() == [2, 5]
    other = recipe(text("c"), strategy=Strategy(rank=2))
    with pytest.raises(ValueError, match="made with another strategy and text: name another"):
        personalizing.resume(folder, NETWORK, other)


def test_states_of_unknown_origin_are_not_taken_over(tmp_path):
    keep(tmp_path, states([2, 5]))
    with pytest.raises(ValueError, match=f"holds states, but no {RECIPE}"):
        personalizing.resume(tmp_path, NETWORK, RECIPE_OF_ALL)
    assert not (tmp_path / RECIPE).exists()


SHAPES = {"kernel": (4, 6), "bias": (6,)}


def test_changes_that_fit():
    shapes = {"kernel": (4, 6), "bias": (6,)}
    narrow = {"kernel" + DOWN: (4, 2), "kernel" + UP: (2, 6)}
    assert shapes == SHAPES
    for fitting in ({"kernel": (4, 6)}, {"kernel": (6, 4)}, {"bias": (6,)}, narrow):
        arrays = {name: np.ones((2, *shape)) for name, shape in fitting.items()}
        personalizing.check_changes(PersonalStates(NETWORK, [1, 2], arrays), SHAPES)


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
        personalizing.check_changes(wrong, SHAPES)


def test_validation_must_have_the_same_words():
    with pytest.raises(ValueError, match="vocabulary of corpus"):
        recipe(text(), strategy=Strategy(gate=True), validation=text("c"))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_importance_must_be_a_finite_weight(bad):
    with pytest.raises(ValueError, match="importance must be finite and at least 0"):
        recipe(text(), strategy=Strategy(pull=1.0), importance={"w": np.array(bad)})


def test_a_task_is_done_in_groups_each_saved_once(tmp_path):
    corpus = text()
    asked = task(NETWORK, corpus, None, Strategy(), None, None)
    seen = []

    def adapt(corpus, users, validation):
        seen.append(users.tolist())
        return states(users).arrays

    found = asked.done(adapt, tmp_path, group_size=1)
    assert (found.users.tolist(), found.model) == ([0, 1], NETWORK)
    assert found.arrays["bias"][:, 0].tolist() == [0, 1]
    with SqliteStore(tmp_path / FILE) as store:
        store.delete(1)
    asked.done(adapt, tmp_path)
    assert seen == [[0], [1], [1]]  # the second run had only the second user to adapt


@pytest.mark.parametrize("content", ["", "[1, 2]", "{"])
def test_a_broken_recipe_is_said_to_be_one(tmp_path, content):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(CorruptedFileError, match=r"recipe\.json is no recipe: name another folder"):
        personalizing.resume(tmp_path, "base", {"base": "base"})


def test_a_change_too_large_for_half_precision_names_its_user():
    arrays = {"bias": np.array([[1.0], [7e4]]).astype(np.float32)}
    with np.errstate(over="ignore"):
        stored = {name: array.astype(np.float16) for name, array in arrays.items()}
    with pytest.raises(FloatingPointError, match=r"bias of user 9 .* below 0.5"):
        personalizing.check_stored(stored, np.array([4, 9]), Strategy(learning_rate=0.5))
