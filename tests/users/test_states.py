import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.keeping.files import CorruptedFileError
from companion.users.states import PersonalStates, check_known, rows_of

NETWORK = "0123456789abcdef"
USERS = np.array([2, 5, 11])


def states(users=USERS, model=NETWORK, names=None):
    rng = np.random.default_rng(0)
    arrays = {"vector": rng.normal(size=(len(users), 8)), "bias": rng.normal(size=(len(users), 2))}
    arrays = {n: a.astype(np.float16) for n, a in arrays.items()}
    return PersonalStates(model, users, arrays, names)


def assert_equal(first, second):
    assert (first.model, first.names) == (second.model, second.names)
    np.testing.assert_array_equal(first.users, second.users)
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        assert second.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(array, second.arrays[name])


def test_bytes_per_user():
    assert (len(states()), states().bytes_per_user) == (3, 20)
    assert states(np.array([7])).bytes_per_user == 20


@pytest.mark.parametrize(
    ("users", "error", "says"),
    [
        ([2, 2, 5], ValueError, "users must be at least one, ascending, each once"),
        ([5, 2, 11], ValueError, "users must be at least one, ascending, each once"),
        ([2, 5], ValueError, "vector has 3 rows for 2 users"),
        ([-1, 2, 5], ValueError, "user id -1 is outside"),
        ([1.0, 2.0, 5.0], TypeError, "user ids must be integers"),
        ([[1], [2], [5]], ValueError, "must have 1 axes, not 2"),
    ],
)
def test_bad_users(users, error, says):
    with pytest.raises(error, match=says):
        PersonalStates(NETWORK, np.array(users), states().arrays)


def test_some_users_only():
    assert_equal(states().of([11, 2]), states().of(np.array([2, 11, 2])))
    few = states().of([11])
    np.testing.assert_array_equal(few.arrays["vector"][0], states().arrays["vector"][2])
    with pytest.raises(ValueError, match="user 3 has no personal state"):
        states().of([2, 3])


def test_made_for_another_network():
    states().check_made_for(NETWORK)
    with pytest.raises(ValueError, match=f"made for the network {NETWORK}, not for this one, feed"):
        states().check_made_for("feed")


@pytest.mark.parametrize("names", [None, ("ana", "çelik", "bo b")])
def test_saved_states_come_back(tmp_path, names):
    states(names=names).save(tmp_path / "states")
    assert_equal(PersonalStates.load(tmp_path / "states"), states(names=names))


def test_a_damaged_file_is_refused(tmp_path):
    states().save(tmp_path / "states")
    content = bytearray((tmp_path / "states").read_bytes())
    content[-1] ^= 1
    (tmp_path / "states").write_bytes(content)
    with pytest.raises(CorruptedFileError, match="altered"):
        PersonalStates.load(tmp_path / "states")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        PersonalStates.load(tmp_path / "others")


def test_users_may_have_names():
    named = states().named([f"user {i}" for i in range(12)])
    assert named.names == ("user 2", "user 5", "user 11")
    assert named.of([11, 2]).names == ("user 2", "user 11")
    assert_equal(named.of([5]).joined(named.of([2, 11])), named)
    with pytest.raises(ValueError, match="user 11 has no name: there are 11"):
        states().named(["ana"] * 11)
    with pytest.raises(ValueError, match="only one of the states names its users"):
        named.of([5]).joined(states().of([2]))


@pytest.mark.parametrize("names", [("ana", "bo"), ("ana", "bo", "bo"), ("ana", "bo", "bo", "cy")])
def test_names_are_one_for_each_user(names):
    with pytest.raises(ValueError, match="names must be 3, one for each user, and different"):
        states(names=names)


@given(users=st.sets(st.integers(0, 60)), asked=st.integers(0, 200))
def test_rows_of_users(users, asked):
    known = np.array(sorted(users), dtype=np.int64)
    (row,) = rows_of(known, np.array([asked]))
    assert row == (sorted(users).index(asked) if asked in users else len(users))


def test_unknown_users_are_named():
    check_known(np.array([5, 5, 2]), USERS)
    with pytest.raises(ValueError, match=r"user 4 is none of the 3 users known\. Give no"):
        check_known(np.array([5, 9, 4]), USERS)


def test_nobody_asked_for():
    with pytest.raises(ValueError, match="users is empty"):
        states().of([])


def test_rows_need_no_memory_for_the_largest_id():
    assert rows_of(np.array([3, 10**9]), np.array([10**9, 4, 3])).tolist() == [1, 2, 0]


def test_states_of_other_users_are_joined():
    whole = states()
    first, rest = whole.of(whole.users[1:2]), whole.of(np.delete(whole.users, 1))
    assert_equal(first.joined(rest), whole)
    assert_equal(rest.joined(first), whole)


def test_states_that_do_not_belong_together_are_not_joined():
    one = PersonalStates("abc", np.array([1]), {"vector": np.zeros((1, 2))})
    others = {
        "user 1 has a state in both": one,
        "made for the network xyz": PersonalStates("xyz", np.array([2]), one.arrays),
        "hold different arrays": PersonalStates("abc", np.array([2]), {"bias": np.zeros((1, 2))}),
    }
    for message, other in others.items():
        with pytest.raises(ValueError, match=message):
            one.joined(other)
