import errno
import inspect
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import reduce

import numpy as np
import pytest

from companion.keeping.database import Database
from companion.keeping.files import CorruptedFileError
from companion.users import rows
from companion.users.states import PersonalStates
from companion.users.store import SqliteStore, StateStore

NETWORK = "0123456789abcdef"
RUN = "import sys, numpy as np\nfrom companion.users import PersonalStates, SqliteStore\n"


def states(users, fill=None, size=64, model=NETWORK, named=False):
    """Random bytes for each user, or one number everywhere."""
    users = np.array(users)
    noise = np.random.default_rng(users).random((len(users), size))
    vectors = (noise if fill is None else np.full_like(noise, fill)).astype(np.float32)
    names = tuple(f"person {user:04d}" for user in users) if named else None
    return PersonalStates(model, users, {"vector": vectors, "count": users[:, None]}, names)


def assert_equal(first, second):
    assert (first.model, first.names) == (second.model, second.names)
    np.testing.assert_array_equal(first.users, second.users)
    assert {*first.arrays} == {*second.arrays}
    for name, array in first.arrays.items():
        assert second.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(array, second.arrays[name])


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / "deep" / "states.sqlite") as store:
        yield store


def folder_of(store):
    return store._file.path.parent


def everything_in(folder):
    """All bytes of all files of a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def python(code, *arguments, **options):
    """Another process that has the package at hand."""
    command = [sys.executable, "-c", RUN + code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def test_states_come_back(store):
    store.put(states([2, 5, 11], named=True))
    assert_equal(store.get(NETWORK), states([2, 5, 11], named=True))
    assert_equal(store.get(NETWORK, [11, 2]), states([2, 5, 11], named=True).of([2, 11]))
    assert (len(store), store.users().tolist()) == (3, [2, 5, 11])
    assert store.names() == {"person 0002": 2, "person 0005": 5, "person 0011": 11}


def test_a_store_is_opened_again(store):
    store.put(states([2, 5]))
    with SqliteStore(store._file.path, must_exist=True) as again:
        assert_equal(again.get(NETWORK), states([2, 5]))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        SqliteStore(store._file.path.with_name("other"), must_exist=True)


def test_what_is_put_replaces_what_was_there(store):
    store.put(states([1, 2, 3], named=True))
    store.put(states([2], fill=7.0))  # as long: in place; the name stays
    assert store.get(NETWORK, [2]).names == ("person 0002",)
    assert (store.get(NETWORK, [2]).arrays["vector"] == 7).all()
    assert_equal(store.get(NETWORK, [1, 3]), states([1, 2, 3], named=True).of([1, 3]))
    store.put(states([3], size=9))  # of another length: at the end
    assert store.get(NETWORK, [3]).arrays["vector"].shape == (1, 9)


def test_users_are_iterated_over(store, monkeypatch):
    monkeypatch.setattr("companion.users.store._PART", 2)
    store.put(states([4, 1, 9][::-1][1:]))
    store.put(states([3, 8, 9, 20]))
    found = [*store]
    assert [int(one.users[0]) for one in found] == [1, 3, 4, 8, 9, 20]
    assert_equal(found[1], states([3, 8, 9, 20]).of([3]))


class Shelf:
    """Another store: a dictionary."""

    def __init__(self):
        self.kept = {}

    def put(self, states):
        self.kept |= {int(user): states.of([user]) for user in states.users}

    def get(self, model, users=None):
        found = [self.kept[user] for user in (sorted(self.kept) if users is None else users)]
        for one in found:
            one.check_made_for(model)
        return reduce(PersonalStates.joined, found)

    def delete(self, users):
        for user in np.atleast_1d(users):
            del self.kept[user]

    def users(self):
        return np.array(sorted(self.kept))

    def names(self):
        return {one.names[0]: user for user, one in self.kept.items() if one.names}

    def enrol(self, names, first=0):
        return np.array([self.names()[name] for name in names])

    def __len__(self):
        return len(self.kept)

    def __iter__(self):
        return iter(self.kept[user] for user in sorted(self.kept))

    def close(self):
        self.kept = {}


def test_another_store_can_stand_in(store):
    asked = {name for name, what in vars(StateStore).items() if inspect.isfunction(what)}
    asked -= {"__init__", "__subclasshook__"}
    assert asked >= {"put", "get", "delete", "users", "names", "enrol", "close", "__iter__"}
    for stands_in in (Shelf, SqliteStore):
        for name in asked:
            wanted = inspect.signature(getattr(StateStore, name)).parameters
            assert [*inspect.signature(getattr(stands_in, name)).parameters] == [*wanted]
    shelf = Shelf()
    shelf.put(states([2, 3], named=True))
    store.join(shelf, NETWORK)
    assert_equal(store.get(NETWORK), shelf.get(NETWORK))
    assert (store.names(), [*store.users()]) == (shelf.names(), [*shelf.users()])
    for ours, theirs in zip(store, shelf, strict=True):
        assert_equal(ours, theirs)


def test_users_are_deleted_and_nobody_else(store):
    store.put(states([2, 5, 11, 12]))
    store.delete(5)
    store.delete(np.array([12]))
    assert_equal(store.get(NETWORK), states([2, 5, 11, 12]).of([2, 11]))
    for ask in (lambda: store.get(NETWORK, [5]), lambda: store.delete([2, 5])):
        with pytest.raises(ValueError, match="user 5 has no personal state"):
            ask()
    assert store.users().tolist() == [2, 11]  # the second user of the list stayed


def traces(store, *gone):
    """How many pieces of these users' bytes, or names, are found in the folder of the store."""
    content = everything_in(folder_of(store))
    pieces = {one.names[0].encode() for one in gone}
    for one in gone:
        vector = one.arrays["vector"].tobytes()
        pieces |= {vector[at : at + 12] for at in range(0, len(vector), max(16, len(vector) // 16))}
    return sum(piece in content for piece in pieces if len(piece) > 7)


def test_nothing_of_a_deleted_user_is_found_in_any_file(store):
    """Whatever was done before: states replaced by shorter and longer ones, users in any order."""
    draw, past = random.Random(0), {}
    for turn in range(90):
        users = sorted(draw.sample(range(150), draw.choice([1, 3, 20])))
        new = states(users, size=draw.choice([8, 32, 32, 100, 1500]), named=True)
        new.arrays["vector"][:] = np.random.default_rng(turn).random(new.arrays["vector"].shape)
        store.put(new)
        for user in users:
            past.setdefault(user, []).append(new.of([user]))
        if turn % 3 == 0:
            gone = draw.sample(sorted(past), min(len(past), 5))
            versions = [[*past.pop(user)] for user in gone]
            assert traces(store, *(one[-1] for one in versions)) > 16
            store.delete(gone)
            assert traces(store, *(each for one in versions for each in one)) == 0
    assert sorted(past) == store.users().tolist()
    for user, versions in past.items():
        np.testing.assert_array_equal(
            store.get(NETWORK, [user]).arrays["vector"], versions[-1].arrays["vector"]
        )


def test_a_file_of_empty_rows_is_written_anew(store, monkeypatch):
    monkeypatch.setattr(rows, "SLACK", 100)
    store.put(states(range(600), named=True))
    store.delete(range(590))
    before = store._file.path.stat().st_size
    with SqliteStore(store._file.path) as again:
        assert store._file.path.stat().st_size < before / 5
        assert_equal(again.get(NETWORK), states(range(600), named=True).of(range(590, 600)))
        gone = states(range(600), named=True).of([595])
        again.delete(595)
        assert traces(again, gone) == 0
    with SqliteStore(store._file.path) as third, third._file.reading() as db:
        assert rows._empty_rows(db) == 1


def test_a_tidying_that_was_interrupted_is_done_next_time(store, monkeypatch):
    monkeypatch.setattr(rows, "SLACK", 100)
    store.put(states(range(300)))
    store.delete(range(290))
    with monkeypatch.context() as patch:
        patch.setattr(Database, "compact", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            SqliteStore(store._file.path)
    before = store._file.path.stat().st_size
    with SqliteStore(store._file.path):
        assert store._file.path.stat().st_size < before


def test_a_reader_who_holds_on_keeps_the_log(store, monkeypatch):
    store.put(states([1, 2], named=True))
    with SqliteStore(store._file.path) as other:
        store._file.connection.execute("PRAGMA busy_timeout=50")
        with other._file.reading() as db:
            db.execute("SELECT * FROM states").fetchall()
            with pytest.raises(TimeoutError, match=r"others are reading.* call scrub\(\)"):
                store.delete(2)
        store.scrub()
    assert traces(store, states([1, 2], named=True).of([2])) == 0


def test_names_are_given_ids(store):
    store.put(states([3, 7], named=True))
    assert store.enrol(["zoe", "person 0007", "yan", "zoe"]).tolist() == [8, 7, 9, 8]
    assert store.enrol(["yan", "ida"], first=400).tolist() == [9, 400]
    assert store.names()["ida"] == 400
    assert store.users().tolist() == [3, 7]  # who is only enrolled has no state yet
    with pytest.raises(ValueError, match="user 400 has no personal state"):
        store.get(NETWORK, [400])
    store.put(states([400], fill=1.0))
    assert store.get(NETWORK, [400]).names == ("ida",)
    store.delete([9, 400])
    assert b"ida" not in everything_in(folder_of(store))
    assert b"yan" not in everything_in(folder_of(store))


def test_the_first_name_in_an_empty_store_has_id_0(store):
    assert store.enrol(["zoe"]).tolist() == [0]


def test_a_user_has_one_name(store):
    store.put(states([3, 7], named=True))
    with pytest.raises(ValueError, match="user 3 has another name here"):
        store.put(PersonalStates(NETWORK, [3], states([3]).arrays, ("zoe",)))
    with pytest.raises(ValueError, match="user 5 has the name that user 7 has here"):
        store.put(PersonalStates(NETWORK, [5], states([5]).arrays, ("person 0007",)))
    assert store.users().tolist() == [3, 7]


# What does not belong together, and what was altered


def test_states_of_another_network_are_refused_by_name(store):
    store.put(states([2, 5]))
    with pytest.raises(ValueError, match=f"made for the network {NETWORK}, not for this one, feed"):
        store.get("feed")
    store.put(states([5], model="feed"))  # the base model was retrained, and user 5 made anew
    assert store.get("feed", [5]).model == "feed"
    with pytest.raises(ValueError, match=f"user 2 .* the network {NETWORK}, but user 5 one for fe"):
        store.get("feed")


def test_states_of_several_methods_are_not_mixed(store):
    store.put(states([1]))
    store.put(PersonalStates(NETWORK, [2], {"bias": np.zeros((1, 2))}))
    with pytest.raises(ValueError, match=r"user 1 has the arrays .*vector.* user 2 has .*bias"):
        store.get(NETWORK)


@pytest.mark.parametrize("array", [None, np.array([["a"]], dtype=object)])
def test_only_numbers_are_kept(store, array, monkeypatch):
    monkeypatch.setattr(PersonalStates, "__post_init__", lambda self: None)
    arrays = {} if array is None else {"vector": array}
    with pytest.raises(ValueError, match="at least one array, and only numbers"):
        store.put(PersonalStates(NETWORK, np.array([1]), arrays))


def test_nobody_is_there_or_asked_for(store):
    with pytest.raises(ValueError, match="there is no personal state in"):
        store.get(NETWORK)
    for ask in (lambda: store.get(NETWORK, []), lambda: store.delete([])):
        with pytest.raises(ValueError, match="users is empty"):
            ask()
    with pytest.raises(TypeError, match="user ids must be integers"):
        store.delete("ana")


@pytest.mark.parametrize("what", ["vector", "name", "layout", "checksum"])
def test_an_altered_state_names_its_user(store, what):
    store.put(states([4, 5, 6], named=True))
    path = store._file.path
    store.close()
    content = path.read_bytes()
    state = states([4, 5, 6]).of([5]).arrays["vector"].tobytes()
    count = states([5]).arrays["count"].tobytes()
    head = content.index(b"person 0005")
    old = {
        "vector": state,
        "name": b"person 0005",
        "layout": content[head - 3 : head + 11],
        "checksum": content[head + 11 : head + 19] + count,
    }[what]
    assert content.count(old) == 1
    place = {"vector": 9, "name": 9, "layout": 2, "checksum": 3}[what]
    new = old[:place] + bytes([old[place] ^ 1]) + old[place + 1 :]
    path.write_bytes(content.replace(old, new))
    with SqliteStore(path) as again:
        assert_equal(again.get(NETWORK, [4, 6]), states([4, 5, 6], named=True).of([4, 6]))
        with pytest.raises(CorruptedFileError, match=r"state of user 5 in .* was altered"):
            again.get(NETWORK)
        again.delete(5)  # what cannot be read can be deleted
        assert again.users().tolist() == [4, 6]


def test_one_users_bytes_are_not_taken_for_anothers(store):
    store.put(states([4, 5]))
    with store._file.writing() as db:
        (content,) = db.execute("SELECT state FROM states WHERE user = 4").fetchone()
        db.execute("UPDATE states SET state = ? WHERE user = 5", (content,))
    with pytest.raises(CorruptedFileError, match="state of user 5"):
        store.get(NETWORK, [5])


def test_any_damage_is_found_or_does_no_harm(store):
    store.put(states(range(40), named=True))
    path = store._file.path
    store.close()
    whole, draw = path.read_bytes(), random.Random(0)
    found = 0
    for _ in range(150):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            with SqliteStore(path) as again:
                assert_equal(again.get(NETWORK), states(range(40), named=True))
        except (CorruptedFileError, ValueError):
            found += 1
    assert found > 50


@pytest.mark.parametrize("content", [b"no database" * 99, None])
def test_what_is_no_store_is_refused(tmp_path, content):
    if content is None:
        Database(tmp_path / "states", ["CREATE TABLE a (b)"], kind=7).close()
    else:
        (tmp_path / "states").write_bytes(content)
    before = (tmp_path / "states").read_bytes()
    with pytest.raises(CorruptedFileError, match=r"states (was altered|is another program's)"):
        SqliteStore(tmp_path / "states")
    assert (tmp_path / "states").read_bytes() == before


# Kill, full disk, many at once

WRITE = """
store, users = SqliteStore(sys.argv[1]), np.arange(500)
for turn in range(1, 10_000):
    store.put(PersonalStates("net", users, {"vector": np.full((500, 64), turn, np.float32)}))
    print(turn, flush=True)
"""


def test_kill_leaves_the_old_states_or_the_new_ones(tmp_path):
    path, draw, last = tmp_path / "states", random.Random(1), 0
    for _ in range(3):
        with python(WRITE, path, stdout=subprocess.PIPE) as writer:
            while int(writer.stdout.readline()) < 3:
                pass
            time.sleep(draw.random() / 20)
            writer.send_signal(signal.SIGKILL)
            told = [3, *map(int, writer.stdout.read().split())][-1]
        with SqliteStore(path) as store:
            vectors = store.get("net").arrays["vector"]
        assert vectors.shape == (500, 64)
        assert (vectors == vectors[0, 0]).all()
        assert told <= vectors[0, 0] <= told + 1
        last = max(last, told)
    assert last >= 3


ADD = """
first = int(sys.argv[2])
with SqliteStore(sys.argv[1]) as store:
    for user in range(first, first + 100, 2):
        ids = store.enrol([f"both {user // 10}"], first=1000)
        store.put(PersonalStates("net", [user], {"vector": np.full((1, 8), user)}))
"""


def test_two_processes_lose_nothing(tmp_path):
    writers = [python(ADD, tmp_path / "states", first) for first in (0, 1)]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    with SqliteStore(tmp_path / "states") as store:
        found = store.get("net")
        assert found.users.tolist() == [*range(100)]
        np.testing.assert_array_equal(found.arrays["vector"][:, 0], found.users)
        assert sorted(store.names().values()) == [*range(1000, 1010)]


def test_a_store_is_read_while_it_is_written(store):
    store.put(states([1, 2], fill=0.0))
    with SqliteStore(store._file.path) as reader, store._file.writing() as db:
        db.execute("UPDATE states SET user = user + 10")
        assert reader.users().tolist() == [1, 2]
        with SqliteStore(store._file.path) as late:  # opening waits for nobody
            assert late.users().tolist() == [1, 2]


def test_whoever_waits_too_long_is_told(store, monkeypatch):
    with SqliteStore(store._file.path) as other, other._file.writing():
        store._file.connection.execute("PRAGMA busy_timeout=50")
        with pytest.raises(TimeoutError, match="others have been writing"):
            store.put(states([1]))


def test_a_full_disk_leaves_the_old_states(store):
    store.put(states(range(100)))
    (pages,) = store._file.connection.execute("PRAGMA page_count").fetchone()
    store._file.connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(OSError, match="nothing was changed") as caught:
        store.put(states(range(50, 5000), fill=1.0))
    assert caught.value.errno == errno.ENOSPC
    assert_equal(store.get(NETWORK), states(range(100)))
    store.put(states([3], fill=2.0))  # and goes on


LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
with SqliteStore(sys.argv[1]) as store:
    try:
        store.put(PersonalStates("net", range(5000), {"vector": np.ones((5000, 64))}))
    except OSError as error:
        sys.exit(0 if "nothing was changed" in str(error) else str(error))
sys.exit("written")
"""


def test_a_file_that_cannot_grow_leaves_the_old_states(tmp_path):
    old = PersonalStates("net", range(100), {"vector": np.zeros((100, 64))})
    with SqliteStore(tmp_path / "states") as store:
        store.put(old)
    with python(LIMITED, tmp_path / "states") as writer:
        _, errors = writer.communicate(timeout=60)
    assert writer.returncode == 0, errors
    with SqliteStore(tmp_path / "states") as store:
        assert_equal(store.get("net"), old)


def test_many_open_a_new_store_at_once(tmp_path):
    code = "SqliteStore(sys.argv[1]).enrol([sys.argv[2]])"
    openers = [python(code, tmp_path / "states", name) for name in "abcd"]
    for opener in openers:
        _, errors = opener.communicate(timeout=60)
        assert opener.returncode == 0, errors
    with closing(SqliteStore(tmp_path / "states")) as store:
        assert sorted(store.names()) == [*"abcd"]


# Out and in


def test_stores_are_joined_and_exported(store, tmp_path):
    store.put(states([1, 4], named=True))
    with SqliteStore(tmp_path / "other") as other:
        other.put(states([2, 3], named=True))
        store.join(other, NETWORK)
        with pytest.raises(ValueError, match="user 2 has a state in both"):
            store.join(other, NETWORK)
    store.export(tmp_path / "all.safetensors", NETWORK)
    whole = states([1, 4], named=True).joined(states([2, 3], named=True))
    assert_equal(PersonalStates.load(tmp_path / "all.safetensors"), whole)


def test_bytes_a_user(store):
    """Half as much again as the states themselves, at most."""
    users = np.arange(5000)
    vectors = {"vector": np.ones((5000, 128), np.float16)}
    names = tuple(f"somebody {user}" for user in users)
    store.put(PersonalStates(NETWORK, users, vectors, names))
    store.scrub()
    assert len(everything_in(folder_of(store))) < 1.5 * 256 * 5000
