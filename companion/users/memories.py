"""What users wrote, as a network remembers it: kept, joined, bounded, forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np

from companion.checks import check_ids
from companion.corpora import PADDING
from companion.corpora.vocabulary import END
from companion.keeping import files

from .cutting import Text
from .methods import STORED
from .states import PersonalStates, check_ascending, state_file

KIND = "memory of a user"
SMALL = 2**16  # vocabularies below take two bytes a word


@dataclass(frozen=True, eq=False)
class Memory:
    """What is remembered of one user: every word they wrote, and the state it was written in.

    Parameters
    ----------
    tokens : np.ndarray
        The words of all messages, one after the other, the end of each included,
        ``(positions,)`` uint16 or int32.
    lengths : np.ndarray
        Positions of each message, oldest first, ``(messages,)`` int32.
    keys : np.ndarray
        Where in a message each word came: what the pointer compares, ``(positions, key)`` float16.
    vector : np.ndarray, optional
        The user's learned vector, ``(size,)`` float16, where the model has one beside the memory.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray
    vector: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.keys) == self.lengths.sum():
            raise ValueError(
                f"a memory needs a key for each word and messages of as many words: "
                f"{len(self.tokens)} words, {len(self.keys)} keys, {self.lengths.sum()} in messages"
            )

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All that is kept, by name."""
        found = {"tokens": self.tokens, "lengths": self.lengths, "keys": self.keys}
        return found if self.vector is None else {**found, "vector": self.vector}

    @property
    def nbytes(self) -> int:
        """Bytes of it all."""
        return sum(array.nbytes for array in self.arrays.values())

    def joined(self, later: Memory) -> Memory:
        """What is remembered once later messages of the same user have come."""
        tokens, lengths, keys = (
            np.concatenate([getattr(self, name), getattr(later, name)])
            for name in ("tokens", "lengths", "keys")
        )
        return Memory(tokens, lengths, keys, self.vector)

    def without(self, message: int) -> Memory:
        """What would be remembered, had the message at this place never been written."""
        end = int(self.lengths[: message + 1].sum())
        cut = np.r_[end - int(self.lengths[message]) : end]
        tokens, keys = (np.delete(array, cut, axis=0) for array in (self.tokens, self.keys))
        return replace(self, tokens=tokens, keys=keys, lengths=np.delete(self.lengths, message))

    def last(self, positions: int | None) -> Memory:
        """The latest messages that have no more positions than this together; None keeps all."""
        if positions is None or len(self.tokens) <= positions:
            return self
        kept = int((np.cumsum(self.lengths[::-1]) <= positions).sum())
        left = len(self.lengths) - kept
        start = int(self.lengths[:left].sum())
        return replace(
            self, tokens=self.tokens[start:], keys=self.keys[start:], lengths=self.lengths[left:]
        )

    def place_of(self, words: np.ndarray) -> int:
        """Where the latest message stands that has these words.

        Raises
        ------
        ValueError
            If there is none.
        """
        ends = np.cumsum(self.lengths)
        for place in np.flatnonzero(self.lengths == len(words) + 1)[::-1]:
            start = ends[place] - self.lengths[place]
            if np.array_equal(self.tokens[start : ends[place] - 1], words):
                return int(place)
        raise ValueError(f"no message of {len(words)} such words is remembered: nothing to forget")


@dataclass(frozen=True, eq=False)
class Memories:
    """What is remembered of some users, for one network.

    Parameters
    ----------
    model : str
        Fingerprint of the network that read their text.
    of_users : mapping of int to Memory
        By user id.
    """

    model: str
    of_users: Mapping[int, Memory]

    def __len__(self) -> int:
        return len(self.of_users)

    @property
    def users(self) -> np.ndarray:
        """Ids of the users remembered, ascending, ``(users,)`` int64."""
        return np.array(sorted(self.of_users), dtype=np.int64)

    @property
    def bytes(self) -> np.ndarray:
        """Bytes kept of each user, ``(users,)`` in the order of :attr:`users`."""
        return np.array([self.of_users[user].nbytes for user in self.users], dtype=np.int64)

    @property
    def bytes_per_user(self) -> int:
        """Median bytes kept of a user: memories are as long as the histories."""
        return int(np.median(self.bytes)) if len(self) else 0

    def of(self, users: Sequence[int] | np.ndarray) -> Memories:
        """The memories of these users only.

        Raises
        ------
        ValueError
            If one of them has none here; the message names the user.
        """
        chosen = np.unique(check_ids("user", users, None, ndim=1))
        missing = np.setdiff1d(chosen, self.users)
        if len(missing):
            raise ValueError(f"user {missing[0]} has no memory")
        return replace(self, of_users={int(user): self.of_users[int(user)] for user in chosen})

    def joined(self, others: Memories) -> Memories:
        """These memories and those of other users, read by the same network.

        Raises
        ------
        ValueError
            If a user has a memory in both, or they were read by different networks.
        """
        others.check_made_for(self.model)
        twice = np.intersect1d(self.users, others.users)
        if len(twice):
            raise ValueError(f"user {twice[0]} has a memory in both: which one is to be kept?")
        return replace(self, of_users={**self.of_users, **others.of_users})

    def with_user(self, user: int, memory: Memory) -> Memories:
        """These memories, that of one user being this one instead."""
        return replace(self, of_users={**self.of_users, int(user): memory})

    def with_vectors(self, vectors: np.ndarray) -> Memories:
        """These memories, each with its user's vector beside it: ``(users, size)``."""
        rows = zip(self.users, vectors.astype(STORED), strict=True)
        found = {int(user): replace(self.of_users[user], vector=row) for user, row in rows}
        return replace(self, of_users=found)

    def last(self, positions: int | None) -> Memories:
        """Of each user the latest messages, of no more positions than this together."""
        bounded = {user: memory.last(positions) for user, memory in self.of_users.items()}
        return replace(self, of_users=bounded)

    def check_made_for(self, model: str) -> None:
        """Refuse a network with another fingerprint than that of the one that read the text.

        Raises
        ------
        ValueError
            The message names both.
        """
        PersonalStates(self.model, np.zeros(1, np.int64), {}).check_made_for(model)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write one safetensors file a user, so that each can be read and deleted alone."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for user, memory in self.of_users.items():
            metadata = {"model": self.model, "user": int(user)}
            files.save_arrays(state_file(folder, user), memory.arrays, KIND, metadata)

    def write(self, path: Path) -> None:
        """Write all of it to one file."""
        files.save_arrays(path, self.packed(), KIND, {"model": self.model})

    @classmethod
    def from_file(cls, path: Path) -> Memories:
        """Read what :meth:`write` wrote."""
        arrays, metadata = files.load_arrays(path, KIND)
        return cls.unpacked(metadata["model"], arrays)

    def packed(self) -> dict[str, np.ndarray]:
        """All of it in a few arrays, to stand in the file of a model."""
        kept = [self.of_users[user] for user in self.users]
        if not kept:
            return {"users": self.users}
        counts = np.array([len(memory.lengths) for memory in kept], dtype=np.int64)
        names = kept[0].arrays
        join = {name: np.stack if name == "vector" else np.concatenate for name in names}
        arrays = {name: join[name]([memory.arrays[name] for memory in kept]) for name in names}
        return {"users": self.users, "messages": counts, **arrays}

    @classmethod
    def unpacked(cls, model: str, arrays: Mapping[str, np.ndarray]) -> Memories:
        """What :meth:`packed` gave."""
        if not len(arrays["users"]):
            return cls(model, {})
        of_messages = np.r_[0, np.cumsum(arrays["messages"])]
        ends = np.r_[0, np.cumsum(arrays["lengths"])]
        found = {}
        for row, user in enumerate(arrays["users"]):
            first, last = of_messages[row : row + 2]
            own = slice(ends[first], ends[last])
            found[int(user)] = Memory(
                arrays["tokens"][own],
                arrays["lengths"][first:last],
                arrays["keys"][own],
                arrays["vector"][row] if "vector" in arrays else None,
            )
        return cls(model, found)


def load_memories(
    folder: str | PathLike[str], model: str, users: Sequence[int] | None = None
) -> Memories:
    """Read what :meth:`Memories.save` wrote.

    Parameters
    ----------
    folder : path
    model : str
        Fingerprint of the network that is to use the memories.
    users : sequence of int, optional
        Whose; everybody's in the folder, if not given.

    Raises
    ------
    FileNotFoundError
        If there is no memory of a user asked for, or none at all.
    ValueError
        If a memory was read by another network, or carries another user's name.
    companion.keeping.files.CorruptedFileError
        If a file is truncated or was altered.
    """
    if users is None:
        names = (path.stem.removeprefix("user-") for path in Path(folder).glob("user-*"))
        users = sorted(int(name) for name in names if name.isdecimal())
        if not users:
            raise FileNotFoundError(f"there is no memory in {folder}")
    found = {}
    for user in check_ascending(np.unique(users)):
        path = state_file(folder, user)
        arrays, metadata = files.load_arrays(path, KIND)
        Memories(metadata["model"], {}).check_made_for(model)
        if metadata["user"] != user:
            raise ValueError(f"{path} holds the memory of user {metadata['user']}")
        found[int(user)] = Memory(**arrays)
    return Memories(model, found)


def empty(key: int, words: int) -> Memory:
    """A memory of nothing, with keys of so many numbers."""
    tokens = as_kept(np.zeros(0, np.int64), words)
    return Memory(tokens, np.zeros(0, np.int32), np.zeros((0, key), STORED))


def split(text: Text, keys: np.ndarray, words: int) -> dict[int, Memory]:
    """The memory of each history of a text that was read, by user id: these are the keys of it."""
    tokens, found = as_kept(text.targets, words), {}
    for history, (start, end) in enumerate(pairwise(text.bounds)):
        own = text.history == history
        memory = Memory(tokens[start:end], text.lengths[own].astype(np.int32), keys[start:end])
        found[int(text.users[own][0])] = memory
    return found


def as_kept(tokens: np.ndarray, words: int) -> np.ndarray:
    """Token ids in the smallest type that holds a vocabulary of so many words."""
    return tokens.astype(np.uint16 if words <= SMALL else np.int32)


def check_message(message: Sequence[int] | np.ndarray, words: int) -> np.ndarray:
    """Token ids of a message without its end, as an array.

    Raises
    ------
    TypeError, ValueError
        If they are no ids of a vocabulary of so many words, or padding or an end is among them.
    """
    ids = check_ids("token", message, words, ndim=1)
    special = (ids == PADDING) | (ids == END)
    if special.any():
        raise ValueError(f"message holds the special token {ids[special][0]}: give its words only")
    return ids


__all__ = [
    "Memories",
    "Memory",
    "as_kept",
    "check_message",
    "empty",
    "load_memories",
    "split",
]
