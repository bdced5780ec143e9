"""The base model in PyTorch: one recurrent network for everybody."""

from __future__ import annotations

from os import PathLike

import numpy as np
import torch
from torch import Tensor, nn

from companion.corpora import Split
from companion.history import History
from companion.settings import BaseModelConfig, TrainingConfig


class BaseModel(nn.Module):
    """Next-word prediction that knows no user: embedding, LSTM or GRU, output layer."""

    def __init__(
        self, vocabulary_size: int, config: BaseModelConfig = BaseModelConfig(), seed: int = 0
    ) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, tokens: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits of the next token, ``(batch, time, word)``."""
        raise NotImplementedError

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)`` float32."""
        raise NotImplementedError

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        """The state before any token: zeros."""
        raise NotImplementedError

    def step(
        self, tokens: np.ndarray, state: tuple[Tensor, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Tensor, ...]]:
        """Read one token per message; log-probabilities of the next, and the state after it."""
        raise NotImplementedError


def trained(
    data: Split,
    config: BaseModelConfig = BaseModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    progress: bool | None = None,
) -> tuple[BaseModel, History]:
    """A base model trained on `data`, from the cache folder where it was trained before."""
    raise NotImplementedError


def save(model: BaseModel, path: str | PathLike[str]) -> None:
    """Write a model to a safetensors file."""
    raise NotImplementedError


def load(path: str | PathLike[str]) -> BaseModel:
    """Read a model that :func:`save` wrote."""
    raise NotImplementedError


def fingerprint(model: BaseModel) -> str:
    """Sixteen hexadecimal digits that change with any weight."""
    raise NotImplementedError


__all__ = ["BaseModel", "fingerprint", "load", "save", "trained"]
