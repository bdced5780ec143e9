"""Models read word by word, as a keyboard does, whatever they are made of."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from .scores import Model, Remembered


@runtime_checkable
class Stepping(Protocol):
    """A model that reads one token at a time."""

    def begin(self, batch: int, users: np.ndarray | None = None) -> Any:
        """The state before any token of a message by these users."""

    def step(
        self, tokens: np.ndarray, state: Any, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Read one token per message; log-probabilities ``(batch, word)`` and the new state."""


class Network(Stepping, Protocol):
    """A model of the twins: it reads a whole text by ``log_probs``, or one token at a time."""

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``."""


class Rereading:
    """Any model as one that reads word by word: for each word it reads the message from the start.

    Right for caches and n-grams, which look at a few words only; a network carries its state.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def begin(self, batch: int, users: np.ndarray | None = None) -> np.ndarray:
        """No token read yet, ``(batch, 0)``."""
        return np.zeros((batch, 0), dtype=np.int32)

    def step(
        self, tokens: np.ndarray, state: np.ndarray, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read one token per message; log-probabilities ``(batch, word)`` and all tokens so far."""
        read = np.concatenate([state, np.asarray(tokens, dtype=np.int32)[:, None]], axis=1)
        whose = np.zeros(len(read), dtype=np.int32) if users is None else users
        return np.asarray(self.model(read, whose))[:, -1], read


def as_model(model: Model | Network) -> Model:
    """What a network says of a whole text; other models say it when called."""
    return model.log_probs if _is_network(model) else model  # type: ignore[return-value]


def as_stepping(model: Model | Network) -> Stepping:
    """The same model, word by word; ``network.log_probs`` stands for its network."""
    if isinstance(model, Remembered):
        return as_stepping(model.model)
    whole = getattr(model, "__self__", model)
    return whole if isinstance(whole, Stepping) else Rereading(as_model(model))


def _is_network(model: object) -> TypeGuard[Network]:
    return isinstance(model, Stepping) and hasattr(model, "log_probs")


__all__ = ["Network", "Rereading", "Stepping", "as_model", "as_stepping"]
