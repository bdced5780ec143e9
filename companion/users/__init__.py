"""What is kept of each user and how it comes about, for every method; knows no framework.

``methods`` and ``strategies`` hold the settings that decide a method, ``states`` what it keeps of a
user, ``models`` what every model can do, ``lifecycle`` how one is trained once, saved and loaded.
``vectors`` is for models that keep a vector of each user, ``believing`` and ``beliefs`` for those
that ask who is typing. ``tuning`` fine-tunes many users at once, with ``personalizing`` (checks,
going on, saving), ``groups`` (users adapted together) and ``stacks`` (their text side by side). The
twins, ``companion.pytorch`` and ``companion.keras``, build their networks on top.
"""

from . import beliefs, stacks
from .methods import FittingConfig, HypernetworkConfig, UserEmbeddingConfig, UserHeadsConfig
from .states import PersonalStates, delete_state, load_states
from .strategies import ADAPTER, STRATEGIES, Strategy

__all__ = [
    "ADAPTER",
    "STRATEGIES",
    "FittingConfig",
    "HypernetworkConfig",
    "PersonalStates",
    "Strategy",
    "UserEmbeddingConfig",
    "UserHeadsConfig",
    "beliefs",
    "delete_state",
    "load_states",
    "stacks",
]
