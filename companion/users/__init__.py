"""What is kept of each user and how it comes about, for every method; knows no framework.

``methods`` and ``strategies`` hold the settings that decide a method, ``states`` what it keeps of a
user, ``store`` where; ``models`` is what every model can do, ``lifecycle`` how one is trained once,
saved and loaded. ``vectors`` is for models that keep a vector of each user, ``believing`` and
``beliefs`` for those that ask who is typing; ``writing`` says what a hypernetwork writes.
``tuning`` fine-tunes many users at once, with ``personalizing`` (checks, going on, saving),
``groups`` (users adapted together) and ``stacks`` (their text side by side). ``cutting`` lays out
whole histories for a network that reads them, ``memories`` keeps what it read. The twins,
``companion.pytorch`` and ``companion.keras``, build their networks on top.
"""

from . import beliefs, stacks
from .memories import Memories, load_memories
from .states import PersonalStates
from .store import SqliteStore, StateStore

__all__ = [
    "Memories",
    "PersonalStates",
    "SqliteStore",
    "StateStore",
    "beliefs",
    "load_memories",
    "stacks",
]
