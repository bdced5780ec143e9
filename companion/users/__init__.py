"""What is kept of each user and how it comes about, for every method; knows no framework.

``methods`` and ``strategies`` hold the settings that decide a method, ``states`` what it keeps of a
user, ``lifecycle`` how a model is trained once, fitted, saved and loaded. ``stacks`` and
``personalizing`` lay the text of many users side by side for fine-tuning, ``cutting`` does so for
a network that reads whole histories, ``memories`` keeps what it read, ``beliefs`` says who is
typing. The twins, ``companion.pytorch`` and ``companion.keras``, build their networks on top.
"""

from . import beliefs, stacks
from .memories import Memories, load_memories
from .methods import (
    FittingConfig,
    HypernetworkConfig,
    UserEmbeddingConfig,
    UserHeadsConfig,
    UserMemoryConfig,
)
from .states import PersonalStates, delete_state, load_states
from .strategies import ADAPTER, STRATEGIES, Strategy

__all__ = [
    "ADAPTER",
    "STRATEGIES",
    "FittingConfig",
    "HypernetworkConfig",
    "Memories",
    "PersonalStates",
    "Strategy",
    "UserEmbeddingConfig",
    "UserHeadsConfig",
    "UserMemoryConfig",
    "beliefs",
    "delete_state",
    "load_memories",
    "load_states",
    "stacks",
]
