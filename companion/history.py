"""What happened in training: the same record for both frameworks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class History:
    """Losses of a training, in nats per token.

    Parameters
    ----------
    steps : list of float
        Loss of every batch, in the order trained on (with dropout, before the step is taken).
    training, validation : list of float
        Loss of every epoch over its training tokens (with dropout) and validation tokens (without).
    seconds : list of float
        Seconds from the start to the end of every epoch.
    interrupted : bool
        Whether the training was stopped by Ctrl-C.
    """

    steps: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    @property
    def best_epoch(self) -> int | None:
        """Place of the lowest validation loss, from 0; None before the first epoch ends."""
        losses = self.validation
        return min(range(len(losses)), key=losses.__getitem__) if losses else None

    @property
    def best_loss(self) -> float:
        """The lowest validation loss; infinite before the first epoch ends."""
        return min(self.validation, default=math.inf)

    def out_of_patience(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought no lower validation loss."""
        best = self.best_epoch
        return best is not None and len(self.validation) - 1 - best >= patience

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, to be written as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> History:
        """The history that :meth:`to_dict` gave."""
        return cls(**fields)
