"""Companion to *One Network, Many Users*: personalize a recurrent network for each of its users.

``companion.corpora`` brings text, ``companion.measure`` judges models, ``companion.users`` holds
what is kept of each user, ``companion.figures`` draws, and ``companion.keeping`` keeps what took
long. ``companion.pytorch`` and ``companion.keras`` are the twins that hold the models.
:class:`companion.Personalizer` puts all of it to work on your own logs. Importing this package
loads neither framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .personalizer import Personalizer

__version__ = "0.1.0"

__all__ = ["Personalizer", "__version__"]


def __getattr__(name: str) -> Any:
    """What stands on top of all the rest is loaded when it is asked for."""
    if name == "Personalizer":
        from .personalizer import Personalizer

        return Personalizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
