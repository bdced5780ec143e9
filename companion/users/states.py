"""Personal states: what a method keeps about each user, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from companion.checks import check_ids, check_users
from companion.keeping import files

from .methods import VECTOR_SPREAD

KIND = "personal states"


@dataclass(frozen=True, eq=False)
class PersonalStates:
    """Named arrays of some users, made for one model.

    Parameters
    ----------
    model : str
        Fingerprint of the network that the states were made for.
    users : np.ndarray
        User ids, each once, ascending, ``(users,)``.
    arrays : mapping of str to np.ndarray
        Each ``(users, ...)``: row *i* belongs to ``users[i]``.
    names : tuple of str, optional
        What each of `users` is called outside, each once.

    Raises
    ------
    ValueError
        If a user is there twice, the ids do not ascend, an array has not one row per user, a
        number in it is not finite, or the names are not one for each user, and different.
    """

    model: str
    users: np.ndarray
    arrays: Mapping[str, np.ndarray]
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "users", check_ascending(self.users))
        if self.names is not None and not len({*self.names}) == len(self.names) == len(self):
            raise ValueError(f"names must be {len(self)}, one for each user, and different")
        for name, array in self.arrays.items():
            if len(array) != len(self.users):
                raise ValueError(f"{name} has {len(array)} rows for {len(self.users)} users")
            if not np.isfinite(array).all():
                user = self.users[~np.isfinite(array).reshape(len(array), -1).all(axis=1)][0]
                raise ValueError(f"{name} of user {user} holds numbers that are not finite")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def bytes_per_user(self) -> int:
        """Bytes of one user's arrays."""
        return sum(array[:1].nbytes for array in self.arrays.values())

    def of(self, users: Sequence[int] | np.ndarray) -> PersonalStates:
        """The states of these users only.

        Raises
        ------
        ValueError
            If no user is named, or one has no state here; the message names the user.
        """
        if not len(users):
            raise ValueError("users is empty: name at least one user")
        chosen = np.unique(check_ids("user", users, None, ndim=1))
        missing = np.setdiff1d(chosen, self.users)
        if len(missing):
            raise ValueError(f"user {missing[0]} has no personal state")
        rows = np.searchsorted(self.users, chosen)
        names = None if self.names is None else tuple(self.names[row] for row in rows)
        return PersonalStates(
            self.model, chosen, {n: a[rows] for n, a in self.arrays.items()}, names
        )

    def joined(self, others: PersonalStates) -> PersonalStates:
        """These states and those of other users, made for the same network by the same method.

        Raises
        ------
        ValueError
            If a user has a state in both, they were made for different networks, they hold
            different arrays, or only one of them names its users.
        """
        others.check_made_for(self.model)
        twice = np.intersect1d(self.users, others.users)
        if len(twice):
            raise ValueError(f"user {twice[0]} has a state in both: which one is to be kept?")
        shapes, theirs = ({n: a.shape[1:] for n, a in s.arrays.items()} for s in (self, others))
        if shapes != theirs:
            raise ValueError(f"the states hold different arrays: {shapes} and {theirs}")
        if (self.names is None) != (others.names is None):
            raise ValueError("only one of the states names its users: give names to both or none")
        users = np.concatenate([self.users, others.users])
        order = np.argsort(users)
        arrays = {n: np.concatenate([a, others.arrays[n]])[order] for n, a in self.arrays.items()}
        both = (*(self.names or ()), *(others.names or ()))
        names = tuple(both[place] for place in order) if both else None
        return PersonalStates(self.model, users[order], arrays, names)

    def check_made_for(self, model: str) -> None:
        """Refuse a network with another fingerprint than that of the one they were made for.

        Raises
        ------
        ValueError
            The message names both.
        """
        if self.model != model:
            raise ValueError(
                f"the personal states were made for the network {self.model}, not for this one, "
                f"{model}: make them anew from the users' messages"
            )

    def named(self, names: Sequence[str]) -> PersonalStates:
        """The same states, and what their users are called outside: a name for each user id.

        Parameters
        ----------
        names : sequence of str
            ``names[user]`` is the name of `user`, as in ``corpus.user_names``.

        Raises
        ------
        ValueError
            If there is no name for a user.
        """
        if self.users[-1] >= len(names):
            raise ValueError(f"user {self.users[-1]} has no name: there are {len(names)}")
        return replace(self, names=tuple(names[user] for user in self.users))

    def save(self, path: str | PathLike[str]) -> None:
        """Write all of them to one safetensors file; a `store` keeps each user apart."""
        arrays = {f"array {name}": array for name, array in self.arrays.items()}
        metadata = {"model": self.model, "names": self.names}
        files.save_arrays(path, {**arrays, "users": self.users}, KIND, metadata)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> PersonalStates:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        companion.keeping.files.CorruptedFileError
            If the file is truncated or was altered.
        """
        arrays, metadata = files.load_arrays(path, KIND)
        users, names = arrays.pop("users"), metadata["names"]
        arrays = {name.removeprefix("array "): array for name, array in arrays.items()}
        return cls(metadata["model"], users, arrays, None if names is None else tuple(names))


def check_ascending(users: Sequence[int] | np.ndarray) -> np.ndarray:
    """User ids as an array, at least one, ascending, each once.

    Raises
    ------
    TypeError, ValueError
        If they are no such ids.
    """
    users = check_ids("user", users, None, ndim=1)
    if not len(users) or (np.diff(users) <= 0).any():
        raise ValueError("users must be at least one, ascending, each once")
    return users


def check_table(users: Sequence[int] | np.ndarray, vectors: np.ndarray, size: int) -> np.ndarray:
    """User ids as :func:`check_ascending` gives them, for a table of vectors with anyone's last.

    Raises
    ------
    TypeError, ValueError
        If they are no such ids, or `vectors` has another shape than ``(users + 1, size)``.
    """
    users = check_ascending(users)
    if np.shape(vectors) != (len(users) + 1, size):
        raise ValueError(
            f"vectors must have shape ({len(users) + 1}, {size}), a row for each user and one for "
            f"anyone, not {np.shape(vectors)}"
        )
    return users


def first_vectors(users: int, size: int, seed: int) -> np.ndarray:
    """A table of vectors before training: random ones, and zeros for anyone, ``(users + 1, size)``.

    Both frameworks start from the same one.
    """
    vectors = np.random.default_rng(seed).normal(scale=VECTOR_SPREAD, size=(users, size))
    return np.concatenate([vectors, np.zeros((1, size))]).astype(np.float32)


def table_of(states: PersonalStates, anyone: np.ndarray) -> np.ndarray:
    """The table of the vectors in `states`, with anyone's ``(1, size)`` last.

    Raises
    ------
    ValueError
        If the states hold no vectors: they are another method's.
    """
    if "vector" not in states.arrays:
        raise ValueError(f"states hold {sorted(states.arrays)}, no vector: another method's")
    return np.concatenate([states.arrays["vector"].astype(np.float32), anyone])


def rows_of(known: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Rows of arrays of the users `known`, ascending, for some users, ``(users,)``.

    Whoever is not among them has the row after the last.
    """
    if not len(known):
        return np.zeros(len(users), dtype=np.int64)
    rows = np.minimum(np.searchsorted(known, users), len(known) - 1)
    return np.where(known[rows] == users, rows, len(known))


def check_known(users: np.ndarray, known: np.ndarray) -> None:
    """Refuse users whom a model does not know.

    Raises
    ------
    ValueError
        The message names the first of them.
    """
    unknown = np.setdiff1d(users, known)
    if len(unknown):
        raise ValueError(
            f"user {unknown[0]} is none of the {len(known)} users known. Give no users to have the "
            "messages read as anyone's, or fit this user's state first"
        )


def known_ids(users: Sequence[int] | np.ndarray, messages: int, known: np.ndarray) -> np.ndarray:
    """Checked ids of known users, one for each message, ``(messages,)``: a copy.

    Raises
    ------
    TypeError, ValueError
        If they are no ids, not one for each message, or a user is not known.
    """
    ids = check_users(users, messages)
    check_known(ids, known)
    return np.array(ids)  # without the negative strides that PyTorch does not take


__all__ = [
    "PersonalStates",
    "check_ascending",
    "check_known",
    "check_table",
    "first_vectors",
    "known_ids",
    "rows_of",
    "table_of",
]
