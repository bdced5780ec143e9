"""The rows of a store of states: every question that is put to SQLite, and how a row is given up.

Bytes of a user never move to another page of the file: rows are added at the end only, overwritten
only by as many bytes, and a row given up keeps its place, empty. So what SQLite overwrites with
zeros was the only copy. Where it balances pages, as it does when rows are removed or put between
others, it leaves copies behind that no deletion finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection
from typing import NamedTuple

KIND = 0x4F4E4D55  # "ONMU", in the head of the file
SCHEMA = (
    "CREATE TABLE layouts (layout INTEGER PRIMARY KEY, model TEXT NOT NULL, arrays TEXT NOT NULL)",
    "CREATE TABLE states (slot INTEGER PRIMARY KEY, user INTEGER, layout INTEGER, name TEXT, "
    "state BLOB)",
    "CREATE UNIQUE INDEX by_user ON states (user) WHERE user IS NOT NULL",
)
AMONG = "user IN (SELECT value FROM json_each(?))"
SLACK = 1000  # empty rows that are let be
_DUE = 2**30  # stands for more of them than there ever are


class Row(NamedTuple):
    """A state as SQLite gives it."""

    user: int
    layout: int
    name: str | None
    state: bytes


class Place(NamedTuple):
    """Where the row of a user is; somebody who is only enrolled has no state in it."""

    slot: int
    layout: int | None
    name: str | None
    length: int | None


def read(db: Connection, where: str, *values: object) -> list[Row]:
    """The states for which something is true."""
    found = "SELECT user, layout, name, state FROM states WHERE state IS NOT NULL AND "
    return list(map(Row._make, db.execute(found + where, values)))


def users_of(db: Connection) -> list[int]:
    """Ids of the users with a state, in no order."""
    return [user for (user,) in db.execute("SELECT user FROM states WHERE state IS NOT NULL")]


def names_of(db: Connection) -> dict[str, int]:
    """The id of each name."""
    return dict(db.execute("SELECT name, user FROM states WHERE name IS NOT NULL"))


def last_user(db: Connection) -> int:
    """The largest id there is, or -1."""
    (last,) = db.execute("SELECT max(user) FROM states").fetchone()
    return -1 if last is None else last


def places(db: Connection, users: Sequence[int]) -> dict[int, Place]:
    """Where the rows of these users are; who has none is left out."""
    found = f"SELECT user, slot, layout, name, length(state) FROM states WHERE {AMONG}"
    return {user: Place(*rest) for user, *rest in db.execute(found, (json.dumps(users),))}


def number_of(db: Connection, model: str, arrays: str) -> int:
    """Under which number a layout is known, from now on at least."""
    known = "SELECT layout FROM layouts WHERE model = ? AND arrays = ?"
    # the first is 2: SQLite stores 0 and 1 in fewer bytes, and a row must keep its length
    new = "INSERT INTO layouts SELECT coalesce(max(layout), 1) + 1, ?, ? FROM layouts"
    if not db.execute(known, (model, arrays)).fetchone():
        db.execute(new, (model, arrays))
    return int(db.execute(known, (model, arrays)).fetchone()[0])


def layouts(db: Connection) -> Iterable[tuple[int, str, str]]:
    """Number, model and arrays of each layout."""
    return db.execute("SELECT layout, model, arrays FROM layouts")


def write(db: Connection, new: Sequence[Row], old: Mapping[int, Place]) -> None:
    """Write rows: over the old ones where these are as long, otherwise at the end."""
    same = {row.user for row in new if row.user in old and _fits(row, old[row.user])}
    over = ((row.state, old[row.user].slot) for row in new if row.user in same)
    db.executemany("UPDATE states SET state = ? WHERE slot = ?", over)
    give_up(db, [place.slot for user, place in old.items() if user not in same])
    add(db, (row for row in new if row.user not in same))


def _fits(row: Row, place: Place) -> bool:
    return place[1:] == (row.layout, row.name, len(row.state))


def add(db: Connection, new: Iterable[tuple[int, int | None, str | None, bytes | None]]) -> None:
    """Add rows at the end: user, layout, name and state."""
    db.executemany("INSERT INTO states (user, layout, name, state) VALUES (?, ?, ?, ?)", new)


def give_up(db: Connection, slots: Sequence[int]) -> None:
    """Empty some rows; their places stay."""
    if slots:
        empty = "SET user = NULL, layout = NULL, name = NULL, state = NULL"
        db.executemany(f"UPDATE states {empty} WHERE slot = ?", ((slot,) for slot in slots))
        _set_empty_rows(db, _empty_rows(db) + len(slots))


def mostly_empty(db: Connection) -> bool:
    """Whether most rows were given up, so that the file should be written anew."""
    (live,) = db.execute("SELECT count(*) FROM states WHERE user IS NOT NULL").fetchone()
    return _empty_rows(db) > live + SLACK


def remove_empty(db: Connection) -> None:
    """Remove the empty rows; the file must be written anew then."""
    db.execute("DELETE FROM states WHERE user IS NULL")
    _set_empty_rows(db, _DUE)  # others move by it: what is interrupted now is done next time


def tidied(db: Connection) -> None:
    """The file was written anew."""
    _set_empty_rows(db, 0)


def _empty_rows(db: Connection) -> int:
    (count,) = db.execute("PRAGMA user_version").fetchone()
    return int(count)


def _set_empty_rows(db: Connection, count: int) -> None:
    db.execute(f"PRAGMA user_version = {count}")
