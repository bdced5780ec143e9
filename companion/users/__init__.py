"""What is kept of each user and how it comes about, for every method; knows no framework.

``methods`` and ``strategies`` hold the settings that decide a method, ``states`` what it keeps of a
user, and ``store`` where; ``lifecycle`` is how a model is trained once, fitted, saved and loaded.
``stacks`` and ``personalizing`` lay the text of many users side by side for fine-tuning,
``beliefs`` says who is typing. The twins, ``companion.pytorch`` and ``companion.keras``, build
their networks on top.
"""

from . import beliefs, stacks
from .methods import FittingConfig, HypernetworkConfig, UserEmbeddingConfig, UserHeadsConfig
from .states import PersonalStates
from .store import SqliteStore, StateStore
from .strategies import ADAPTER, STRATEGIES, Strategy

__all__ = [
    "ADAPTER",
    "STRATEGIES",
    "FittingConfig",
    "HypernetworkConfig",
    "PersonalStates",
    "SqliteStore",
    "StateStore",
    "Strategy",
    "UserEmbeddingConfig",
    "UserHeadsConfig",
    "beliefs",
    "stacks",
]
