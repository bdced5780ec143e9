"""What the bytes of a stored state mean: which arrays of one user, made for which network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from .states import PersonalStates

CHECKSUM = 8  # bytes, before those of the arrays


@dataclass(frozen=True)
class Layout:
    """How the arrays of one user become bytes and come back, the same for many users.

    Parameters
    ----------
    model : str
        Fingerprint of the network that the states were made for.
    arrays : str
        Name, type and shape of each array of one user, in JSON.
    """

    model: str
    arrays: str

    @classmethod
    def of(cls, states: PersonalStates) -> Layout:
        """That of some states.

        Raises
        ------
        ValueError
            If they hold no arrays, or one that is not of numbers.
        """
        arrays = [[n, a.dtype.str, list(a.shape[1:])] for n, a in sorted(states.arrays.items())]
        if not arrays or any("O" in kind for _, kind, _ in arrays):
            raise ValueError("states must hold at least one array, and only numbers")
        return cls(states.model, json.dumps(arrays))

    @cached_property
    def dtype(self) -> np.dtype:
        """Of one user: a field for each array."""
        return np.dtype([(n, kind, tuple(shape)) for n, kind, shape in json.loads(self.arrays)])

    def packed(self, states: PersonalStates, names: Sequence[str | None]) -> list[bytes]:
        """The bytes of each user, a checksum before them."""
        table = np.empty(len(states), self.dtype)
        for name, array in states.arrays.items():
            table[name] = array
        size, content = self.dtype.itemsize, table.tobytes()
        cut = [content[start : start + size] for start in range(0, len(content), size)]
        named = zip(states.users.tolist(), names, cut, strict=True)
        return [self._checksum(user, name, each) + each for user, name, each in named]

    def fits(self, user: int, name: str | None, packed: bytes) -> bool:
        """Whether the bytes are those that were packed for this user."""
        try:
            whole = len(packed) == CHECKSUM + self.dtype.itemsize
            return whole and packed[:CHECKSUM] == self._checksum(user, name, packed[CHECKSUM:])
        except (TypeError, ValueError):  # damaged so that it is no bytes, or no layout
            return False

    def unpacked(self, packed: Sequence[bytes]) -> dict[str, np.ndarray]:
        """The arrays in the bytes of some users, a row each."""
        table = np.frombuffer(b"".join([each[CHECKSUM:] for each in packed]), self.dtype)
        return {name: np.ascontiguousarray(table[name]) for name in table.dtype.names or ()}

    @cached_property
    def _begun(self) -> Any:
        return blake2b(f"{self.model}\0{self.arrays}\0".encode(), digest_size=CHECKSUM)

    def _checksum(self, user: int, name: str | None, content: bytes) -> bytes:
        digest = self._begun.copy()
        digest.update(f"{user}\0{name!r}\0".encode())
        digest.update(content)
        return digest.digest()


__all__ = ["CHECKSUM", "Layout"]
