"""User embeddings in Keras: each user is a learned vector that the network reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Self, TypeVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import Corpus, Split
from companion.history import History
from companion.settings import TrainingConfig
from companion.users.lifecycle import Life
from companion.users.methods import (
    STORED,
    USER_EMBEDDING_TRAINING,
    VECTOR_SPREAD,
    FittingConfig,
    HypernetworkConfig,
    UserEmbeddingConfig,
)
from companion.users.states import check_table, first_vectors, known_ids
from companion.users.vectors import VectorLife, VectorModel, fit, vector_life

from . import base_model, conditioned, fitting
from . import training as training_loop
from .base_model import BaseModel, rows_among
from .conditioned import ConditionedNetwork
from .fitting import fitted_vectors

Embedding = TypeVar("Embedding", bound="UserEmbedding")


class UserEmbedding(VectorModel, keras.Model):
    """A network that reads a learned vector of whoever is typing.

    What it can do stands in :class:`companion.users.models.LanguageModel` and
    :class:`companion.users.vectors.VectorModel`.

    Parameters
    ----------
    network : companion.keras.conditioned.ConditionedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    def __init__(
        self, network: ConditionedNetwork, users: Sequence[int] | np.ndarray, vectors: np.ndarray
    ) -> None:
        super().__init__()
        self.network, self.vocabulary_size = network, network.vocabulary_size
        self.known_users = check_table(users, vectors, network.reading.size)
        self.vectors = keras.layers.Embedding(*vectors.shape)
        self.dropout = keras.layers.Dropout(network.reading.dropout, seed=0)
        self.seeds = keras.random.SeedGenerator(0)
        self.build()
        self.vectors.embeddings.assign(vectors)

    def build(self, input_shape: Any = None) -> None:
        """Make the table of vectors at once: it depends on no batch."""
        self.vectors.build((None,))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        inputs : tuple of (tokens, users), or tokens alone
            Token ids ``(batch, time)`` int32, and who wrote each message, ``(batch,)`` int32.
            Whoever is not known, and everybody where no users are given, is read with the vector
            of anyone.
        training : bool
            Whether dropout is on, of numbers and of users.
        """
        tokens, users = inputs if isinstance(inputs, tuple | list) else (inputs, None)
        rows = rows_among(self.known_users, users, ops.shape(tokens)[0])
        if training:
            drawn = keras.random.uniform(ops.shape(rows), seed=self.seeds)
            anyone = drawn < self.network.reading.user_dropout
            rows = ops.where(anyone, len(self.known_users), rows)
        vectors = self.dropout(self.vectors(rows), training=training)  # (batch, size)
        return self.network((tokens, vectors), training=training)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``."""
        ids = self.network._tokens(tokens, ndim=2)
        return self.network._log_probs(ids, self._vectors_of(users, len(ids))).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Any, ...]:
        """The state before any token of messages by these users, their vectors included."""
        return self.network.begin_with(self._vectors_of(users, batch))

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message; :meth:`begin` has settled whose vector is read."""
        ids = self.network._tokens(tokens, ndim=1)
        log_probs, state = self.network._step(ops.convert_to_tensor(ids), state)
        return log_probs.numpy(), state

    def _table(self) -> np.ndarray:
        return self.vectors.embeddings.numpy()

    def _like(self, users: np.ndarray, vectors: np.ndarray) -> Self:
        return type(self)(self.network, users, vectors)

    def _fingerprint(self) -> str:
        return fingerprint(self)

    def _fitted(self, corpus: Corpus, config: FittingConfig) -> np.ndarray:
        return fitted_vectors(self, corpus, config)

    def _vectors_of(self, users: np.ndarray | None, messages: int) -> tf.Tensor:
        """Vectors of known users, checked, ``(messages, size)``; anyone's, where none are given."""
        if users is not None:
            users = known_ids(users, messages, self.known_users)
        return self.vectors(rows_among(self.known_users, users, messages))


def trained(
    data: Split,
    base: BaseModel,
    config: UserEmbeddingConfig = UserEmbeddingConfig(),
    training: TrainingConfig = USER_EMBEDDING_TRAINING,
    progress: bool | None = None,
) -> tuple[UserEmbedding, History]:
    """User embeddings trained on `data` from a base model on, kept as base models are.

    Parameters
    ----------
    data : Split
    base : companion.keras.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : UserEmbeddingConfig
    training : TrainingConfig
        Its seed decides the first vectors too.
    progress : bool, optional
        As in :func:`companion.keras.base_model.trained`, whose results it has.
    """
    return trained_as(LIFE, from_base, data, base, config, training, progress)


def from_base(
    base: BaseModel,
    users: Sequence[int] | np.ndarray,
    config: UserEmbeddingConfig = UserEmbeddingConfig(),
    seed: int = 0,
) -> UserEmbedding:
    """Untrained user embeddings on top of a base model: at first, they predict as it does.

    The first vectors are drawn at random, since all that read them start at zero.
    """
    network = ConditionedNetwork(base.vocabulary_size, config, base.config, seed)
    return on_top(UserEmbedding, network, base, users, seed)


def fingerprint(model: UserEmbedding) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


def trained_as(
    life: Life[Embedding],
    make_untrained: Callable[..., Embedding],
    data: Split,
    base: BaseModel,
    config: UserEmbeddingConfig | HypernetworkConfig,
    training: TrainingConfig,
    progress: bool | None,
) -> tuple[Embedding, History]:
    """A model that reads vectors, of any kind, trained on `data` from a base model on and kept."""

    def make() -> tuple[Embedding, History]:
        model = make_untrained(base, data.known_users, config, training.seed)
        history = training_loop.train(model, data, training, progress)
        vectors = model.vectors.embeddings
        vectors.assign(vectors.numpy().astype(STORED))  # as they are stored
        return model, history

    vectors = [VECTOR_SPREAD, STORED]  # not all of methods.py, where other methods stand too
    key = {"base": base_model.fingerprint(base), "config": config, "vectors": vectors}
    return life.trained(data, make, training=training, **key)


def on_top(
    kind: type[Embedding],
    network: ConditionedNetwork,
    base: BaseModel,
    users: Sequence[int] | np.ndarray,
    seed: int,
) -> Embedding:
    """A model of this kind whose network starts from the base model's weights."""
    weights = network._named()
    for name, weight in base_model.weights_of(base).items():
        array = weights[name].numpy()
        array[: len(weight)] = weight
        weights[name].assign(array)
    vectors = first_vectors(len(users), network.reading.size, seed)
    model = kind(network, users, vectors)
    model.vocabulary = base.vocabulary
    return model


def life_of(
    kind: type[Embedding],
    network: type[ConditionedNetwork],
    config: type[UserEmbeddingConfig | HypernetworkConfig],
    called: str,
    code: tuple[ModuleType, ...],
) -> VectorLife[Embedding]:
    """How models of this kind, `called` so, are kept: a network and the vectors of its users."""
    code = *code, sys.modules[__name__], conditioned, fitting, training_loop
    return vector_life(kind, network, config, (called, "Keras"), (keras, tf), base_model, code)


LIFE = life_of(UserEmbedding, ConditionedNetwork, UserEmbeddingConfig, "user embedding", ())
fitted, save, load = LIFE.fitted_vectors, LIFE.save, LIFE.load


__all__ = ["UserEmbedding", "fingerprint", "fit", "fitted", "from_base", "load", "save", "trained"]
