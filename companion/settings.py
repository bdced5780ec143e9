"""What decides a base model and its training: the same settings for both frameworks."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7
EMBEDDING_RANGE = 0.05


@dataclass(frozen=True)
class BaseModelConfig:
    """The architecture of a base model.

    Parameters
    ----------
    cell : {"lstm", "gru"}
        The recurrent cell.
    embedding, hidden : int
        Size of a word's vector and of the recurrent state.
    layers : int
        Recurrent layers, one on top of the other.
    dropout : float
        Share of the embedding, between layers and of the last hidden state set to zero in training.
    tied : bool
        Whether the output layer uses the embedding matrix again. Where `hidden` differs from
        `embedding`, a projection without bias stands between.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    embedding: int = 96
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.1
    tied: bool = True

    def __post_init__(self) -> None:
        if self.cell not in ("lstm", "gru"):
            raise ValueError(f"cell must be 'lstm' or 'gru', not {self.cell!r}")
        for name in ("embedding", "hidden", "layers"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1))
        check_number("dropout", self.dropout, at_least=0.0, below=1.0)
        if not isinstance(self.tied, bool):
            raise TypeError(f"tied must be True or False, not {self.tied!r}")


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained: Adam, clipped gradients, early stopping.

    Parameters
    ----------
    epochs : int
        Passes over the training text, at most.
    batch_size : int
        Messages in a batch.
    learning_rate : float
        The highest rate; see :func:`learning_rate_at` for its course.
    warmup : float
        Share of all steps over which the rate rises.
    clip : float
        Largest global norm of a gradient; a longer one is scaled down to it.
    patience : int
        Epochs without a lower validation loss after which training stops.
    weight_decay : float
        Decoupled weight decay (AdamW) per step, as a share of the learning rate.
    seed : int
        Decides the initial weights (in :func:`trained`), the order of messages and dropout.
    pool : int
        Batches sorted by length together; see :func:`companion.corpora.epoch_batches`.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 1e-2
    warmup: float = 0.1
    clip: float = 1.0
    patience: int = 3
    weight_decay: float = 0.05
    seed: int = 0
    pool: int = 50

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "pool"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1))
        object.__setattr__(self, "seed", check_integer("seed", self.seed, at_least=0))
        for name in ("learning_rate", "clip"):
            check_number(name, getattr(self, name), above=0.0)
        check_number("warmup", self.warmup, at_least=0.0, below=1.0)
        check_number("weight_decay", self.weight_decay, at_least=0.0)


def learning_rate_at(step: int, total: int, config: TrainingConfig) -> float:
    """The learning rate of one step: a straight rise over the warm-up, then a straight fall.

    Parameters
    ----------
    step : int
        Steps done so far, from 0.
    total : int
        Steps of the whole training, were it not stopped early.
    """
    rise = config.warmup * total
    if step < rise:
        return config.learning_rate * (step + 1) / (rise + 1)
    return config.learning_rate * max(total - step, 0) / max(total - rise, 1)


def check_integer(name: str, value: object, at_least: int) -> int:
    """The setting as a plain integer (NumPy's do too); refused if it is none or too small."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, not {value}")
    return int(value)


def check_number(
    name: str,
    value: object,
    *,
    at_least: float = float("-inf"),
    above: float = float("-inf"),
    below: float = float("inf"),
) -> None:
    """Refuse a setting that is no number or lies outside ``at_least``, ``above`` and ``below``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not (at_least <= value < below and value > above):
        limits = {"at least": at_least, "above": above, "below": below}
        finite = [f"{word} {limit:g}" for word, limit in limits.items() if abs(limit) < 1e300]
        raise ValueError(f"{name} must be {' and '.join(finite)}, not {value!r}")
