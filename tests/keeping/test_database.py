import pytest

from companion.keeping.database import Database
from companion.keeping.files import CorruptedFileError

SCHEMA = ["CREATE TABLE things (name TEXT)"]


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "deep" / "things", SCHEMA, kind=7)
    yield database
    database.close()


def names(database):
    with database.reading() as db:
        return [name for (name,) in db.execute("SELECT name FROM things")]


def interrupt(database):
    with database.writing() as db:
        db.execute("INSERT INTO things VALUES ('b')")
        raise ZeroDivisionError


def test_a_transaction_happens_wholly_or_not_at_all(database):
    with database.writing() as db:
        db.execute("INSERT INTO things VALUES ('a')")
    with pytest.raises(ZeroDivisionError):
        interrupt(database)
    assert names(database) == ["a"]
    with database.writing() as db:  # and the next one is not hindered
        db.execute("INSERT INTO things VALUES ('c')")
    assert names(database) == ["a", "c"]


def test_what_is_deleted_is_gone_from_file_and_log(database):
    with database.writing() as db:
        db.execute("INSERT INTO things VALUES ('somebody')")
    with database.writing() as db:
        db.execute("DELETE FROM things")
    folder = database.path.parent
    assert b"somebody" in b"".join(path.read_bytes() for path in folder.iterdir())
    assert database.empty_log()
    assert b"somebody" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_tables_that_are_not_ours_are_damage(database):
    with database.writing() as db:
        db.execute("DROP TABLE things")
    with pytest.raises(CorruptedFileError, match="no such table"):
        names(database)


def test_a_file_of_another_kind_is_refused(database):
    with pytest.raises(CorruptedFileError, match="is another program's database"):
        Database(database.path, SCHEMA, kind=8)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OSError, match="cannot be opened"):
        Database(tmp_path, SCHEMA, kind=7)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Database(tmp_path / "none", SCHEMA, kind=7, must_exist=True)
