import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.keeping.files import CorruptedFileError
from companion.users.states import (
    PersonalStates,
    check_known,
    delete_state,
    load_states,
    rows_of,
    state_file,
)

NETWORK = "0123456789abcdef"
USERS = np.array([2, 5, 11])


def states(users=USERS, model=NETWORK):
    rng = np.random.default_rng(0)
    arrays = {"vector": rng.normal(size=(len(users), 8)), "bias": rng.normal(size=(len(users), 2))}
    return PersonalStates(model, users, {n: a.astype(np.float16) for n, a in arrays.items()})


def assert_equal(first, second):
    assert first.model == second.model
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


def test_saved_states_come_back(tmp_path):
    states().save(tmp_path / "deep" / "folder")
    assert_equal(load_states(tmp_path / "deep" / "folder", NETWORK), states())
    assert_equal(load_states(tmp_path / "deep" / "folder", NETWORK, [5]), states().of([5]))
    assert len(list((tmp_path / "deep" / "folder").iterdir())) == 3


def test_one_user_is_deleted_and_nobody_else(tmp_path):
    states().save(tmp_path)
    delete_state(tmp_path, 5)
    assert_equal(load_states(tmp_path, NETWORK), states().of([2, 11]))
    with pytest.raises(FileNotFoundError):
        load_states(tmp_path, NETWORK, [5])
    with pytest.raises(FileNotFoundError):
        delete_state(tmp_path, 5)


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no personal state in"):
        load_states(tmp_path, NETWORK)


def test_a_state_for_another_network_is_refused(tmp_path):
    states().save(tmp_path)
    with pytest.raises(ValueError, match="were made for the network"):
        load_states(tmp_path, "feed")


def test_another_users_file_renamed_is_refused(tmp_path):
    states().save(tmp_path)
    state_file(tmp_path, 2).replace(state_file(tmp_path, 5))
    with pytest.raises(ValueError, match="holds the state of user 2"):
        load_states(tmp_path, NETWORK, [5])


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_file_is_refused_and_the_others_can_be_read(tmp_path, damage):
    states().save(tmp_path)
    content = bytearray(state_file(tmp_path, 5).read_bytes())
    content[-1] ^= 1
    state_file(tmp_path, 5).write_bytes(content if damage == "altered" else content[:-3])
    with pytest.raises(CorruptedFileError, match=damage):
        load_states(tmp_path, NETWORK)
    assert_equal(load_states(tmp_path, NETWORK, [2, 11]), states().of([2, 11]))


@given(users=st.sets(st.integers(0, 60)), asked=st.integers(0, 200))
def test_rows_of_users(users, asked):
    known = np.array(sorted(users), dtype=np.int64)
    (row,) = rows_of(known, np.array([asked]))
    assert row == (sorted(users).index(asked) if asked in users else len(users))


def test_unknown_users_are_named():
    check_known(np.array([5, 5, 2]), USERS)
    with pytest.raises(ValueError, match=r"user 4 is none of the 3 users known\. Give no"):
        check_known(np.array([5, 9, 4]), USERS)


def test_states_with_other_arrays_are_not_mixed(tmp_path):
    for user, name in ((1, "vector"), (2, "bias")):
        PersonalStates("abc", np.array([user]), {name: np.zeros((1, 2))}).save(tmp_path)
    with pytest.raises(ValueError, match=r"user 2 has the arrays \['bias'\]"):
        load_states(tmp_path, "abc")


def test_files_that_are_no_state_are_left_alone(tmp_path):
    PersonalStates("abc", np.array([1]), {"vector": np.zeros((1, 2))}).save(tmp_path)
    (tmp_path / "user-ana.safetensors").write_text("?")
    assert load_states(tmp_path, "abc").users.tolist() == [1]


def test_nobody_asked_for(tmp_path):
    states = PersonalStates("abc", np.array([1]), {"vector": np.zeros((1, 2))})
    states.save(tmp_path)
    for ask in (lambda: states.of([]), lambda: load_states(tmp_path, "abc", users=[])):
        with pytest.raises(ValueError, match="users is empty"):
            ask()


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
