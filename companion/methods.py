"""What decides each method of personalization: the same settings for both frameworks."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import TrainingConfig, check_integer, check_number

STORED = "float16"  # what the numbers of a user's vector are stored as: two bytes each
VECTOR_SPREAD = 0.1  # standard deviation of the first, random vectors
PLACEMENTS = ("input", "state", "film", "output")


@dataclass(frozen=True)
class UserEmbeddingConfig:
    """How large a user's vector is, and where the network reads it.

    Parameters
    ----------
    size : int
        Numbers in a user's vector.
    placements : tuple of str
        One or more of ``"input"`` (concatenated to every input embedding), ``"state"`` (the first
        recurrent state), ``"film"`` (scale and shift of the last hidden state) and ``"output"`` (a
        bias for every word, of a rank of at most `size`).
    user_dropout : float
        Share of the training messages that are read with the vector of *anyone* instead of their
        user's, so that this one learns to serve whom the network does not know.
    dropout : float
        Share of the vector's numbers set to zero in training: users with little text need it.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    size: int = 128
    placements: tuple[str, ...] = ("film", "output")
    user_dropout: float = 0.15
    dropout: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_integer("size", self.size, at_least=1))
        if isinstance(self.placements, str):
            raise TypeError(f"placements must be a tuple of names, not {self.placements!r}")
        unknown = set(self.placements) - set(PLACEMENTS)
        if unknown or not self.placements or len(set(self.placements)) < len(self.placements):
            raise ValueError(
                f"placements must be some of {PLACEMENTS}, each once, not {self.placements!r}"
            )
        ordered = tuple(place for place in PLACEMENTS if place in self.placements)
        object.__setattr__(self, "placements", ordered)
        for name in ("user_dropout", "dropout"):
            check_number(name, getattr(self, name), at_least=0.0, below=1.0)


@dataclass(frozen=True)
class FittingConfig:
    """How the vectors of new users are fitted to their messages: Adam on all of them at once.

    What is minimized is the summed loss of a user's tokens plus the distance of the vector from the
    typical user's, each number in units of its spread over the known users: the less text, the
    closer the vector stays.

    Parameters
    ----------
    steps : int
        Steps of Adam, each over all messages.
    learning_rate : float
        Of the first step, in units of the spread; it falls to zero.
    pull : float
        Weight of the distance: 1 takes the known users for a fair sample of all.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    steps: int = 40
    learning_rate: float = 0.3
    pull: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", check_integer("steps", self.steps, at_least=1))
        check_number("learning_rate", self.learning_rate, above=0.0)
        check_number("pull", self.pull, at_least=0.0)


USER_EMBEDDING_TRAINING = TrainingConfig(epochs=5, learning_rate=7e-3)


__all__ = [
    "PLACEMENTS",
    "STORED",
    "USER_EMBEDDING_TRAINING",
    "VECTOR_SPREAD",
    "FittingConfig",
    "UserEmbeddingConfig",
]
