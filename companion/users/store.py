"""A store of personal states: a row a user, read, written and deleted alone; SQLite by default."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Protocol

import numpy as np

from companion.checks import check_ids
from companion.keeping.database import Database
from companion.keeping.files import CorruptedFileError

from . import rows
from .layouts import Layout
from .rows import Row
from .states import PersonalStates

FILE = "states.sqlite"
_PART = 1024  # users read at once while iterating


class StateStore(Protocol):
    """What keeps personal states, one user apart from the other; `SqliteStore` is one.

    Give another database the same methods, and it can stand in wherever a store is asked for.
    """

    def put(self, states: PersonalStates) -> None:
        """Keep these states, all or none, in place of those that their users had."""

    def get(self, model: str, users: Sequence[int] | np.ndarray | None = None) -> PersonalStates:
        """The states of these users, or of all, made for the network with this fingerprint."""

    def delete(self, users: int | Sequence[int] | np.ndarray) -> None:
        """Delete these users without a trace."""

    def users(self) -> np.ndarray:
        """Ids of the users who have a state, ascending, ``(users,)``."""

    def names(self) -> dict[str, int]:
        """The id of each user who has a name."""

    def enrol(self, names: Sequence[str], first: int = 0) -> np.ndarray:
        """The ids of users with these names; those not met before get new ones."""

    def __len__(self) -> int:
        """How many users have a state."""

    def __iter__(self) -> Iterator[PersonalStates]:
        """One user's state after the other, by id."""

    def close(self) -> None:
        """Let go of what is held."""


class SqliteStore:
    """Personal states in one SQLite file.

    What a call writes is written wholly or not at all, whatever kills the process. Other processes
    read meanwhile what was there before, and write afterwards. Every state carries a checksum and
    the fingerprint of the network that it was made for. Of a deleted user nothing stays in the file
    or its log but, perhaps, the number that was the id; what the disk itself keeps of overwritten
    bytes is beyond this.

    Parameters
    ----------
    path : path
        The file, such as ``"keyboard/states.sqlite"``; SQLite keeps two more beside it while it is
        open.
    must_exist : bool
        Refuse to make a new one.

    Raises
    ------
    FileNotFoundError
        If there must be a file, and is none.
    companion.keeping.files.CorruptedFileError
        If the file is no store, or damaged.
    """

    def __init__(self, path: str | PathLike[str], must_exist: bool = False) -> None:
        self._file = Database(path, rows.SCHEMA, rows.KIND, must_exist)
        self._layouts: dict[int, Layout] = {}
        self._tidy()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self.users())

    def __iter__(self) -> Iterator[PersonalStates]:
        last = -1
        while some := self._read("user > ? ORDER BY user LIMIT ?", last, _PART):
            yield from (self._states([row]) for row in some)
            last = some[-1].user

    def users(self) -> np.ndarray:
        """Ids of the users who have a state, ascending, ``(users,)``."""
        with self._file.reading() as db:
            return np.sort(np.array(rows.users_of(db), dtype=np.int64))

    def names(self) -> dict[str, int]:
        """The id of each user who has a name, with or without a state."""
        with self._file.reading() as db:
            return rows.names_of(db)

    def put(self, states: PersonalStates) -> None:
        """Keep these states, all or none, in place of those that their users had.

        A user who had a name and is given none keeps it.

        Raises
        ------
        ValueError
            If a user has another name here, or a name is another user's.
        OSError
            If the disk is full; everything is as it was before.
        TimeoutError
            If others write for too long.
        """
        layout, users = Layout.of(states), states.users.tolist()
        with self._file.writing() as db:
            number = rows.number_of(db, layout.model, layout.arrays)
            old = rows.places(db, users)
            own = [old[user].name if user in old else None for user in users]
            if states.names is not None:
                _check_names(users, states.names, own, lambda: rows.names_of(db))
            names = own if states.names is None else states.names
            packed = zip(users, names, layout.packed(states, names), strict=True)
            rows.write(db, [Row(user, number, name, state) for user, name, state in packed], old)

    def get(self, model: str, users: Sequence[int] | np.ndarray | None = None) -> PersonalStates:
        """The states of some users, as one call left them.

        Parameters
        ----------
        model : str
            Fingerprint of the network that is to use them.
        users : sequence of int, optional
            Whose; everybody's, if not given.

        Raises
        ------
        ValueError
            If a user has no state, or one made for another network or by another method; if there
            is none at all. The message names the user.
        companion.keeping.files.CorruptedFileError
            If the bytes of a user were altered.
        """
        if users is None:
            found = self._read("user >= 0 ORDER BY user")
            if not found:
                raise ValueError(f"there is no personal state in {self._file.path}")
        else:
            asked = _ids(users)
            found = self._read(f"{rows.AMONG} ORDER BY user", json.dumps(asked))
            _check_all_here(asked, {row.user for row in found})
        states = self._states(found)
        states.check_made_for(model)
        return states

    def delete(self, users: int | Sequence[int] | np.ndarray) -> None:
        """Delete these users, state and name, without a trace and without touching anyone else.

        Raises
        ------
        ValueError
            If one of them is not here; nobody is deleted then.
        TimeoutError
            If others read for so long that the log still holds what was deleted: `scrub` tries
            again.
        """
        gone = _ids(np.atleast_1d(users))
        with self._file.writing() as db:
            here = rows.places(db, gone)
            _check_all_here(gone, here)
            rows.give_up(db, [place.slot for place in here.values()])
        self.scrub()

    def scrub(self) -> None:
        """Clear the log of what was deleted, as `delete` does by itself.

        Raises
        ------
        TimeoutError
            If others read for too long.
        """
        if not self._file.empty_log():
            raise TimeoutError(
                f"{self._file.path}: others are reading, so the log still holds what was deleted: "
                "call scrub() when they have finished"
            )

    def enrol(self, names: Sequence[str], first: int = 0) -> np.ndarray:
        """The ids of users with these names; those not met before get new ones.

        Two processes that meet somebody at the same time are given the same id.

        Parameters
        ----------
        names : sequence of str
        first : int
            New ids begin here at least: above those that a model has given already.

        Returns
        -------
        np.ndarray
            ``(names,)`` int64.
        """
        with self._file.writing() as db:
            known = rows.names_of(db)
            following = max(first, rows.last_user(db) + 1)
            new = [name for name in dict.fromkeys(names) if name not in known]
            given = {name: user for user, name in enumerate(new, following)}
            rows.add(db, ((user, None, name, None) for name, user in given.items()))
        return np.array([{**known, **given}[name] for name in names], dtype=np.int64)

    def join(self, others: StateStore, model: str) -> None:
        """Take in the states of another store, all or none.

        Raises
        ------
        ValueError
            If a user has a state in both, or theirs were made for another network than `model`.
        """
        theirs = others.get(model)
        twice = np.intersect1d(self.users(), theirs.users)
        if len(twice):
            raise ValueError(f"user {twice[0]} has a state in both: which one is to be kept?")
        self.put(theirs)

    def export(self, path: str | PathLike[str], model: str) -> None:
        """Write all states to one safetensors file; :meth:`PersonalStates.load` reads it."""
        self.get(model).save(path)

    def _read(self, where: str, *values: object) -> list[Row]:
        with self._file.reading() as db:
            return rows.read(db, where, *values)

    def _states(self, found: Sequence[Row]) -> PersonalStates:
        """The states in some rows, each checked."""
        first = self._layout(found[0])
        for row in found:
            layout = first if row.layout == found[0].layout else self._layout(row)
            if not layout.fits(row.user, row.name, row.state):
                raise self._altered(row)
            if layout is not first:
                raise _different(found[0].user, first, row.user, layout)
        users, _, names, packed = zip(*found, strict=True)
        arrays = first.unpacked(packed)
        return PersonalStates(
            first.model, np.array(users), arrays, None if None in names else names
        )

    def _layout(self, row: Row) -> Layout:
        if row.layout not in self._layouts:
            with self._file.reading() as db:
                self._layouts = {n: Layout(*each) for n, *each in rows.layouts(db)}
        if row.layout not in self._layouts:
            raise self._altered(row)
        return self._layouts[row.layout]

    def _altered(self, row: Row) -> CorruptedFileError:
        return CorruptedFileError(
            f"the state of user {row.user} in {self._file.path} was altered: its checksum does not "
            "fit. Delete this user, and make the state anew from the user's messages"
        )

    def _tidy(self) -> None:
        """Write the file anew where most of its rows are empty."""
        with self._file.reading() as db:
            if not rows.mostly_empty(db):
                return
        with self._file.writing() as db:
            rows.remove_empty(db)
        self._file.compact()
        self.scrub()
        with self._file.writing() as db:
            rows.tidied(db)


def _ids(users: Sequence[int] | np.ndarray) -> list[int]:
    if not len(users):
        raise ValueError("users is empty: name at least one user")
    ids: list[int] = np.unique(check_ids("user", users, None, ndim=1)).tolist()
    return ids


def _check_all_here(asked: Sequence[int], here: Collection[int]) -> None:
    missing = [user for user in asked if user not in here]
    if missing:
        raise ValueError(f"user {missing[0]} has no personal state")


def _check_names(
    users: Sequence[int],
    names: Sequence[str],
    own: Sequence[str | None],
    everybody: Callable[[], dict[str, int]],
) -> None:
    """Refuse a name that is another user's, and a user who has another name."""
    taken: dict[str, int] | None = None
    for user, name, before in zip(users, names, own, strict=True):
        if before is None:  # asked for only now: it takes a look at every row
            taken = everybody() if taken is None else taken
            if name in taken:
                raise ValueError(f"user {user} has the name that user {taken[name]} has here")
        elif before != name:
            raise ValueError(f"user {user} has another name here: ids of new users are enrol's")


def _different(user: int, layout: Layout, other: int, theirs: Layout) -> ValueError:
    """What to say of two states that do not go together."""
    if layout.model != theirs.model:
        return ValueError(
            f"user {user} has a state made for the network {layout.model}, but user {other} one "
            f"for {theirs.model}: make the older ones anew"
        )
    return ValueError(
        f"user {user} has the arrays {layout.arrays}, but user {other} has {theirs.arrays}: they "
        "come from different methods"
    )


__all__ = ["FILE", "SqliteStore", "StateStore"]
