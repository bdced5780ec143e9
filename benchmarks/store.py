"""The store of personal states: users written, read and deleted a second, and bytes for each.

Run ``python -m benchmarks --only store``. Users are written, read and deleted in one call; one call
a user is told, too: a deletion waits for the disk twice, a write never does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from companion.users import PersonalStates, SqliteStore

from .common import Row, seconds

USERS, ALONE = 49_000, 200
MODEL = "0123456789abcdef"
WRITTEN, READ, DELETED, BYTES = 20_000, 50_000, 2_000, 1.5  # bars


def rows(small: bool = False) -> list[Row]:
    """Rows of the table of benchmarks."""
    states = some_states(2_000 if small else USERS)
    with (
        tempfile.TemporaryDirectory() as folder,
        SqliteStore(Path(folder) / "states.sqlite") as store,
    ):
        written = rate(len(states), lambda: store.put(states))
        store.scrub()
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / len(states)
        read = max(rate(len(states), lambda: store.get(MODEL)) for _ in range(3))
        alone = alone_rates(store, states.users[:ALONE])
        gone = store.users()[::2]
        deleted = rate(len(gone), lambda: store.delete(gone))
    name = f"store, {len(states):,} users of {states.bytes_per_user} bytes: "
    return [
        Row(name + "written", written, "a second", WRITTEN),
        Row(name + "read", read, "a second", READ),
        Row(name + "deleted", deleted, "a second", DELETED),
        Row(name + "bytes a user", size / states.bytes_per_user, "times", BYTES, higher=False),
        *(Row(f"{name}{what}, one a call", value, "a second") for what, value in alone.items()),
    ]


def some_states(users: int) -> PersonalStates:
    """Vectors of 128 numbers in half precision, and names."""
    vectors = np.random.default_rng(0).normal(size=(users, 128)).astype(np.float16)
    names = tuple(f"user {user}" for user in range(users))
    return PersonalStates(MODEL, np.arange(users), {"vector": vectors}, names)


def alone_rates(store: SqliteStore, users: np.ndarray) -> dict[str, float]:
    """Users written, read and deleted a second, each in a call of its own."""
    single = [store.get(MODEL, [user]) for user in users]
    works: dict[str, Callable[[], object]] = {
        "written": lambda: [store.put(one) for one in single],
        "read": lambda: [store.get(MODEL, [user]) for user in users],
        "deleted": lambda: [store.delete(user) for user in users],
    }
    return {what: rate(len(users), work) for what, work in works.items()}


def rate(users: int, work: Callable[[], object]) -> float:
    """Users a second."""
    return users / seconds(work)
