"""What is remembered: kept, joined, bounded, forgotten."""

from dataclasses import replace

import numpy as np
import pytest

from companion.corpora.vocabulary import END
from companion.keeping.files import CorruptedFileError
from companion.users import memories
from companion.users.memories import Memories, Memory, load_memories


def memory(*messages, vector=None):
    """Messages of these words, each position with a key that says which it is."""
    tokens = np.concatenate([[*message, END] for message in messages]).astype(np.uint16)
    lengths = np.array([len(message) + 1 for message in messages], np.int32)
    keys = np.arange(2 * len(tokens)).reshape(-1, 2).astype(np.float16)
    return Memory(tokens, lengths, keys, vector)


THREE = memory([7, 8], [9], [7, 8])


def same(one, other):
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])
        assert array.dtype == other.arrays[name].dtype


def many():
    vector = np.ones(3, np.float16)
    found = {user: memory(*[[user] * 2] * (user + 1), vector=vector * user) for user in (4, 9, 11)}
    return Memories("network", found)


def test_a_message_can_be_taken_out_of_the_middle():
    left = THREE.without(1)
    np.testing.assert_array_equal(left.tokens, [7, 8, END, 7, 8, END])
    np.testing.assert_array_equal(left.keys[:, 0], [0, 2, 4, 10, 12, 14])
    np.testing.assert_array_equal(left.lengths, [3, 3])


def test_what_is_joined_and_taken_out_again_is_as_before():
    same(THREE.joined(memory([5, 6, 5])).without(3), THREE)


def test_the_latest_of_equal_messages_is_found():
    assert THREE.place_of(np.array([7, 8])) == 2
    assert THREE.place_of(np.array([9])) == 1
    with pytest.raises(ValueError, match="no message of 2 such words"):
        THREE.place_of(np.array([8, 7]))


@pytest.mark.parametrize(
    ("positions", "messages"), [(None, 3), (8, 3), (7, 2), (5, 2), (4, 1), (3, 1), (2, 0)]
)
def test_a_bounded_memory_keeps_the_latest_messages_whole(positions, messages):
    kept = THREE.last(positions)
    assert len(kept.lengths) == messages
    np.testing.assert_array_equal(kept.tokens, THREE.tokens[8 - kept.lengths.sum() :])
    np.testing.assert_array_equal(kept.keys, THREE.keys[8 - kept.lengths.sum() :])


def test_a_memory_must_fit_together():
    with pytest.raises(ValueError, match="8 words, 7 keys"):
        Memory(THREE.tokens, THREE.lengths, THREE.keys[1:])


def test_bytes_are_those_of_the_arrays():
    assert THREE.nbytes == 8 * 2 + 3 * 4 + 8 * 2 * 2
    found = many()
    assert found.bytes.tolist() == [each.nbytes for each in found.of_users.values()]
    assert found.bytes_per_user == found.of_users[9].nbytes


def test_some_users_and_all_of_them_again():
    some, rest = many().of([9, 4]), many().of([11])
    assert some.users.tolist() == [4, 9]
    both = rest.joined(some)
    assert both.users.tolist() == [4, 9, 11]
    for user in both.users:
        same(both.of_users[user], many().of_users[user])
    with pytest.raises(ValueError, match="user 5 has no memory"):
        many().of([5])
    with pytest.raises(ValueError, match="user 4 has a memory in both"):
        some.joined(many())
    with pytest.raises(ValueError, match="were made for the network another, not for this one"):
        some.joined(replace(rest, model="another"))


def test_packed_memories_come_back():
    again = Memories.unpacked("network", many().packed())
    for user in many().users:
        same(again.of_users[user], many().of_users[user])
    assert len(Memories.unpacked("network", Memories("network", {}).packed())) == 0


def test_saved_memories_come_back_one_file_a_user(tmp_path):
    many().save(tmp_path)
    again = load_memories(tmp_path, "network")
    assert again.users.tolist() == [4, 9, 11]
    same(load_memories(tmp_path, "network", [9]).of_users[9], many().of_users[9])
    with pytest.raises(ValueError, match="were made for the network"):
        load_memories(tmp_path, "another")
    (tmp_path / "user-4.safetensors").rename(tmp_path / "user-5.safetensors")
    with pytest.raises(ValueError, match="holds the memory of user 4"):
        load_memories(tmp_path, "network", [5])
    (tmp_path / "user-9.safetensors").write_bytes(b"1234")
    with pytest.raises(CorruptedFileError):
        load_memories(tmp_path, "network", [9])
    with pytest.raises(FileNotFoundError, match="there is no memory"):
        load_memories(tmp_path / "nowhere", "network")


def test_a_message_to_remember_has_words_only():
    np.testing.assert_array_equal(memories.check_message([4, 5], 9), [4, 5])
    with pytest.raises(ValueError, match="token id 9 is outside"):
        memories.check_message([9], 9)
    with pytest.raises(ValueError, match=f"special token {END}"):
        memories.check_message([4, END], 9)
    with pytest.raises(TypeError, match="must be integers"):
        memories.check_message([0.5], 9)


def test_large_vocabularies_keep_their_ids():
    ids = np.array([3, 70_000])
    assert memories.as_kept(ids, 70_001).tolist() == [3, 70_000]
    assert memories.as_kept(ids[:1], 65_536).dtype == np.uint16
