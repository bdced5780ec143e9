"""User embeddings in Keras: each user is a learned vector that the network reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import Corpus, Split, Vocabulary, epoch_batches
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import states
from companion.users.lifecycle import Life, check_text
from companion.users.methods import (
    STORED,
    USER_EMBEDDING_TRAINING,
    VECTOR_SPREAD,
    FittingConfig,
    HypernetworkConfig,
    UserEmbeddingConfig,
)
from companion.users.states import (
    PersonalStates,
    check_table,
    first_vectors,
    known_ids,
    rows_of,
    table_of,
)

from . import base_model, conditioned
from . import training as training_loop
from .base_model import BaseModel, rows_among
from .conditioned import Batch, ConditionedNetwork

Embedding = TypeVar("Embedding", bound="UserEmbedding")
FITTING_BATCH = 64
FITTING_EPSILON = 1e-8  # the default of Adam in PyTorch


class UserEmbedding(keras.Model):
    """A network that reads a learned vector of whoever is typing.

    Parameters
    ----------
    network : companion.keras.conditioned.ConditionedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    vocabulary: Vocabulary | None = None
    user_names: tuple[str, ...] | None = None

    def __init__(
        self, network: ConditionedNetwork, users: Sequence[int] | np.ndarray, vectors: np.ndarray
    ) -> None:
        super().__init__()
        self.network = network
        self.known_users = check_table(users, vectors, network.reading.size)
        self.vectors = keras.layers.Embedding(*vectors.shape)
        self.dropout = keras.layers.Dropout(network.reading.dropout, seed=0)
        self.seeds = keras.random.SeedGenerator(0)
        self.build()
        self.vectors.embeddings.assign(vectors)

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.network.vocabulary_size

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
        rows = self._rows(users, ops.shape(tokens)[0])
        if training:
            drawn = keras.random.uniform(ops.shape(rows), seed=self.seeds)
            anyone = drawn < self.network.reading.user_dropout
            rows = ops.where(anyone, len(self.known_users), rows)
        vectors = self.dropout(self.vectors(rows), training=training)  # (batch, size)
        return self.network((tokens, vectors), training=training)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``, without dropout.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.
        users : np.ndarray, optional
            Who wrote each message, ``(message,)``; anyone, where not given.

        Raises
        ------
        TypeError, ValueError
            If the ids are no integers, a token is outside the vocabulary, or a user is not known.
        """
        ids = self.network._tokens(tokens, ndim=2)
        return self.network._log_probs(ids, self._vectors_of(users, len(ids))).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Any, ...]:
        """The state before any token of messages by these users, their vectors included."""
        return self.network.begin_with(self._vectors_of(users, batch))

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message ``(batch,)``, going on from `state`.

        Whose vector is read was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state; the old one is not changed.
        """
        ids = self.network._tokens(tokens, ndim=1)
        log_probs, state = self.network._step(ops.convert_to_tensor(ids), state)
        return log_probs.numpy(), state

    def states(self) -> PersonalStates:
        """The vectors of all known users, ``{"vector": (users, size)}``, as they are kept."""
        vectors = self.vectors.embeddings.numpy()[:-1].astype(STORED)
        return PersonalStates(fingerprint(self), self.known_users, {"vector": vectors})

    def with_states(self, states: PersonalStates) -> UserEmbedding:
        """The same network for the users of `states` instead; weights are shared, not copied.

        Raises
        ------
        ValueError
            If the states were made for another network, or by another method.
        """
        states.check_made_for(fingerprint(self))
        anyone = self.vectors.embeddings.numpy()[-1:]
        vectors = table_of(states, anyone)
        other = type(self)(self.network, states.users, vectors)
        other.vocabulary = self.vocabulary
        return other

    def _rows(self, users: tf.Tensor | None, messages: int) -> tf.Tensor:
        """Rows of the table of vectors, ``(messages,)``; the last one is anyone's."""
        return rows_among(self.known_users, users, messages)

    def _vectors_of(self, users: np.ndarray | None, messages: int) -> tf.Tensor:
        """Vectors of known users, checked, ``(messages, size)``; anyone's, where none are given."""
        if users is not None:
            users = known_ids(users, messages, self.known_users)
        return self.vectors(self._rows(users, messages))


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
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : UserEmbedding
    history : History
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


def fit(
    model: UserEmbedding, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> PersonalStates:
    """Vectors of new users, fitted to their messages, the network being frozen.

    Parameters
    ----------
    model : companion.keras.user_embeddings.UserEmbedding
    corpus : Corpus
        The messages, of one user or of many; all users are fitted at once.
    config : FittingConfig

    Returns
    -------
    PersonalStates
        Of every user who has a message in `corpus`: ``{"vector": (users, size)}``.

    Raises
    ------
    ValueError
        If the corpus is empty or has another vocabulary than the model, if the model knows fewer
        than two users, whose vectors then have no spread, or if a fitted number is not finite.

    Notes
    -----
    Where no vector enters the recurrent layers, all hidden states are kept: 512 bytes a token by
    default.
    """
    check_text(model.vocabulary, model.vocabulary_size, corpus)
    if len(model.known_users) < 2:
        raise ValueError(f"model must know at least 2 users, not {len(model.known_users)}")
    users = corpus.active_users
    vectors = model.vectors.embeddings.numpy()[:-1]
    spread, typical = vectors.std(axis=0, ddof=1), vectors.mean(axis=0)  # (size,) each
    batches = _read_once(model.network, corpus)
    offsets = keras.Variable(ops.zeros((len(users), len(typical))))  # in units of the spread
    fall = keras.optimizers.schedules.PolynomialDecay(config.learning_rate, config.steps, 0.0)
    adam = training_loop.LateEpsilonAdam(fall, epsilon=FITTING_EPSILON)
    for _ in range(config.steps):
        gradient = config.pull * offsets
        for batch in batches:
            gradient += model.network._gradient(batch, typical, spread, offsets.value)
        adam.apply([gradient], [offsets])
    fitted = typical + spread * offsets.numpy()
    return PersonalStates(fingerprint(model), users, {"vector": fitted.astype(STORED)})


def fitted(
    model: UserEmbedding, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> PersonalStates:
    """What :func:`fit` gives, from the cache folder if it was fitted before."""
    return fitted_as(LIFE, model, corpus, config)


def save(model: UserEmbedding, path: str | PathLike[str]) -> None:
    """Write a model, with the vectors of its users, to a safetensors file."""
    LIFE.save(model, path)


def load(path: str | PathLike[str]) -> UserEmbedding:
    """Read a model that :func:`save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    companion.keeping.files.CorruptedFileError
        If the file is truncated or was altered.
    """
    return LIFE.load(path)


def fingerprint(model: UserEmbedding) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


def _read_once(network: ConditionedNetwork, corpus: Corpus) -> list[Batch]:
    """All messages in batches; where no vector enters the recurrent layers, they read them now."""
    batches = []
    for messages in epoch_batches(corpus.lengths, FITTING_BATCH, seed=0, epoch=0, pool=len(corpus)):
        inputs, targets = corpus.padded(messages)
        read = ops.convert_to_tensor(network._tokens(inputs, ndim=2))
        if not network.reads_early:
            read = network._hidden(read, ops.zeros((len(inputs), network.reading.size)))
        own = ops.convert_to_tensor(rows_of(corpus.active_users, corpus.users[messages]))
        batches.append(Batch(read, ops.convert_to_tensor(targets), own))
    return batches


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


def fitted_as(
    life: Life[Embedding], model: Embedding, corpus: Corpus, config: FittingConfig
) -> PersonalStates:
    """What :func:`fit` gives for a model of any kind, from the cache folder if it is there."""
    users = files.fingerprint({"vectors": model.vectors.embeddings.numpy()})
    key = {"model": fingerprint(model), "users": users, "config": config}
    return life.fitted(corpus, lambda: fit(model, corpus, config), **key)


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
) -> Life[Embedding]:
    """How models of this kind, `called` so, are kept: a network and the vectors of its users."""

    def make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> Embedding:
        users, vectors = arrays.pop("users"), arrays.pop("vectors").astype(np.float32)
        base = BaseModelConfig(**settings["base"])
        made = network(settings["vocabulary_size"], config(**settings["config"]), base)
        named = {name.removeprefix("network/"): array for name, array in arrays.items()}
        base_model.assign(made, named, path)
        return kind(made, users, vectors)

    code = *code, sys.modules[__name__], conditioned, base_model, training_loop, states
    framework = (keras, tf)
    return Life(f"{called} in Keras", f"{called} keras", framework, code, _arrays, _settings, make)


def _arrays(model: UserEmbedding) -> dict[str, np.ndarray]:
    """Weights of the network, the vectors as they are stored, and whose they are."""
    weights = base_model.weights_of(model.network)
    vectors = model.vectors.embeddings.numpy().astype(STORED)
    named = {f"network/{name}": weight for name, weight in weights.items()}
    return {**named, "vectors": vectors, "users": model.known_users}


def _settings(model: UserEmbedding) -> dict[str, Any]:
    """What decides a model besides its arrays."""
    return {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.network.reading),
        "base": asdict(model.network.config),
    }


LIFE = life_of(UserEmbedding, ConditionedNetwork, UserEmbeddingConfig, "user embedding", ())


__all__ = [
    "UserEmbedding",
    "fingerprint",
    "fit",
    "fitted",
    "from_base",
    "load",
    "save",
    "trained",
]
