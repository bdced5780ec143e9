"""The training loop in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from companion.corpora import Split
from companion.history import History
from companion.settings import TrainingConfig


def masked_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the targets that are not padding, in nats per token."""
    raise NotImplementedError


def train(
    model: nn.Module,
    data: Split,
    config: TrainingConfig = TrainingConfig(),
    progress: bool | None = None,
) -> History:
    """Train on ``data.train`` until ``data.validation`` gets no better; keep the best weights."""
    raise NotImplementedError


__all__ = ["masked_loss", "train"]
