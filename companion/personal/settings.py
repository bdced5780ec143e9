"""What decides a personalizer: the method by its name, and settings with checked fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from companion.corpora.tokens import Tokenizer, check_tokenizer
from companion.settings import BaseModelConfig, TrainingConfig, check_integer, check_number
from companion.users.methods import HypernetworkConfig, UserEmbeddingConfig
from companion.users.strategies import ADAPTER, Strategy

RECOMMENDED, EVERYBODY, CACHE = "recommended", "everybody", "cache"
NETWORKS = ("user_embedding", "hypernetwork", "adapter")
METHODS = (EVERYBODY, CACHE, *NETWORKS, *(f"{name}+{CACHE}" for name in NETWORKS))
MOST_PASSES = 20
FRAMEWORKS = ("pytorch", "keras")
Framework = Literal["pytorch", "keras"]


@dataclass(frozen=True)
class Method:
    """What is personal about a model: a network that knows its users, a cache, both or neither.

    All methods build on the same model of everybody: a base network and an n-gram, mixed.

    Parameters
    ----------
    network : str or None
        One of `NETWORKS`.
    cache : bool
        Whether each user's own words are counted.
    """

    network: str | None = None
    cache: bool = False

    @classmethod
    def named(cls, name: str) -> Method:
        """The method with this name.

        Raises
        ------
        ValueError
            If there is none; the message lists the names.
        """
        if name not in METHODS:
            known = ", ".join((RECOMMENDED, *METHODS))
            raise ValueError(f"method must be one of {known}; not {name!r}")
        network = name.removesuffix(f"+{CACHE}")
        return cls(network if network in NETWORKS else None, name.endswith(CACHE))

    def __str__(self) -> str:
        parts = [part for part, there in ((self.network, True), (CACHE, self.cache)) if there]
        return "+".join(part for part in parts if part) or EVERYBODY

    @property
    def title(self) -> str:
        """What a reader calls it."""
        words = {None: "", "user_embedding": "user embedding"}
        network = words.get(self.network, self.network or "")
        return " + ".join(part for part in (network, "cache" if self.cache else "") if part) or (
            "everybody's model"
        )


@dataclass(frozen=True)
class PersonalizerSettings:
    """How text is read, how large the networks are, and what is tried for the personal part.

    Parameters
    ----------
    vocabulary_size : int
        Words that all users share, at most, special tokens included.
    writers : int
        How many users must have written a word before it is shared. Any other word is its writers'
        own: suggested to them and to nobody else, kept with them and forgotten with them.
    min_messages : int
        How many messages a user must have to be trained on.
    lower : bool
        Write everything in lower case.
    tokenizer : {"words", "characters"} or callable
        As for :func:`companion.corpora.reading.logs.read`.
    order : int
        Of the n-gram: 3 for trigrams.
    base : BaseModelConfig
    training : TrainingConfig
        Of the base network. Its seed decides everything else that is drawn, too.
    steps : int
        Of that training, at least: over little text more passes are made, up to `MOST_PASSES`.
    user_embedding : UserEmbeddingConfig
    hypernetwork : HypernetworkConfig
    adapter : Strategy
    rates : tuple of float
        Learning rates to try for the personal part, as shares of the method's own.
    passes : tuple of int
        Passes over the text to try: the first with every rate, the others with the best.
    targets : int
        Words of validation text that numbers are chosen on, and of test text that models are judged
        on, at most: more make the choice slower, and hardly better.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    vocabulary_size: int = 8000
    writers: int = 2
    min_messages: int = 3
    lower: bool = True
    tokenizer: Tokenizer = "words"
    order: int = 3
    base: BaseModelConfig = BaseModelConfig()
    training: TrainingConfig = TrainingConfig()
    steps: int = 1500
    user_embedding: UserEmbeddingConfig = UserEmbeddingConfig(dropout=0.4)
    hypernetwork: HypernetworkConfig = HypernetworkConfig(output="none", dropout=0.4)
    adapter: Strategy = ADAPTER
    rates: tuple[float, ...] = (0.15, 0.4, 1.0)
    passes: tuple[int, ...] = (2, 4)
    targets: int = 20_000

    def __post_init__(self) -> None:
        least = {"vocabulary_size": 5, "writers": 1, "min_messages": 3, "order": 2}
        least |= {"targets": 1, "steps": 1}
        for name, at_least in least.items():
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least))
        if not isinstance(self.lower, bool):
            raise TypeError(f"lower must be True or False, not {self.lower!r}")
        check_tokenizer(self.tokenizer)
        for rate in _some("rates", self.rates):
            check_number("rates", rate, above=0.0)
        for passes in _some("passes", self.passes):
            check_integer("passes", passes, at_least=1)

    def training_on(self, messages: int) -> TrainingConfig:
        """How the base network is trained on this many messages."""
        passes = -(-self.steps * self.training.batch_size // max(messages, 1))
        epochs = max(self.training.epochs, min(passes, MOST_PASSES))
        return replace(self.training, epochs=epochs)

    @property
    def seed(self) -> int:
        """Decides everything that is drawn."""
        return self.training.seed


def _some(name: str, values: object) -> Sequence:
    """One or more numbers, in a tuple; refused if they are not."""
    if not isinstance(values, tuple) or not values:
        raise TypeError(f"{name} must be a tuple of at least one number, not {values!r}")
    return values


__all__ = [
    "CACHE",
    "EVERYBODY",
    "FRAMEWORKS",
    "METHODS",
    "NETWORKS",
    "RECOMMENDED",
    "Framework",
    "Method",
    "PersonalizerSettings",
]
