"""User embeddings in Keras: each user is a learned vector that the network reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import Corpus, Split, epoch_batches
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import states
from companion.users.lifecycle import kept_states, kept_training
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

from . import base_model
from . import training as training_loop
from .base_model import BaseModel, State

KIND = "user embedding in Keras"
FITTING_BATCH = 256
FITTING_EPSILON = 1e-8  # the default of Adam in PyTorch


class ConditionedNetwork(BaseModel):
    """The base model's network, which also reads a vector with every message.

    Where `config` says so, the vector stands beside every input embedding, makes the first
    recurrent state, scales and shifts the last hidden state [1]_, or adds a bias to the words [2]_.
    All weights that read it start at zero: at first the vector changes nothing.

    Parameters
    ----------
    vocabulary_size : int
    config : UserEmbeddingConfig or HypernetworkConfig
        The size of the vector, and its placements.
    base : BaseModelConfig
    seed : int

    References
    ----------
    .. [1] Perez, E. et al. FiLM: Visual reasoning with a general conditioning layer. AAAI, 2018.
    .. [2] Jaech, A. and Ostendorf, M. Low-rank RNN adaptation for context-aware language modeling.
       TACL, 2018.
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: UserEmbeddingConfig | HypernetworkConfig = UserEmbeddingConfig(),
        base: BaseModelConfig = BaseModelConfig(),
        seed: int = 0,
    ) -> None:
        self.reading = config
        super().__init__(vocabulary_size, base, seed)

    def build(self, input_shape: Any = None) -> None:
        """The base model's weights, a wider input where the vector stands there, and its paths."""
        config, size = self.config, self.reading.size
        parts = 2 if config.cell == "lstm" else 1
        widths = {
            "state": parts * config.layers * config.hidden,
            "film": 2 * config.hidden,
            "output": self.vocabulary_size,
        }
        self.paths = {
            place: keras.layers.Dense(width, use_bias=False, kernel_initializer="zeros")
            for place, width in widths.items()
            if place in self.reading.placements
        }
        for path in self.paths.values():
            path.build((None, size))
        super().build()
        if "input" in self.reading.placements:
            kernel = self.recurrent[0].cell.kernel
            reads_words = np.arange(kernel.shape[0])[:, None] < config.embedding
            kernel.assign(ops.where(reads_words, kernel, 0.0))

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits ``(batch, time, word)`` of tokens ``(batch, time)``, vectors ``(batch, size)``."""
        tokens, vectors = inputs
        return self.words(self.hidden(tokens, vectors), vectors[:, None])

    def hidden(self, tokens: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        hidden = self._beside(self.dropouts[0](self.embedding(tokens)), vectors)
        states = self._first_state(vectors) or (None,) * self.config.layers
        for place, (layer, state) in enumerate(zip(self.recurrent, states, strict=True)):
            if place:
                hidden = self.dropouts[place](hidden)
            hidden = layer(hidden, initial_state=state)  # (batch, time, hidden)
        return hidden

    def words(self, hidden: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Logits ``(..., word)`` from states ``(..., hidden)`` and vectors ``(..., size)``."""
        if "film" in self.paths:
            scale, shift = ops.split(self.paths["film"](vectors), 2, axis=-1)
            hidden = hidden * (1 + scale) + shift
        logits = self._logits(self.dropouts[-1](hidden))
        return logits + self.paths["output"](vectors) if "output" in self.paths else logits

    def begin_with(self, vectors: tf.Tensor) -> tuple[Any, ...]:
        """The state before any token, the vectors ``(batch, size)`` being its last part."""
        return *(self._first_state(vectors) or self.begin(len(vectors))), vectors

    def advance(self, tokens: tf.Tensor, state: tuple[Any, ...]) -> tuple[tf.Tensor, tuple]:
        """Logits ``(batch, word)`` after one more token ``(batch,)``, and the state then."""
        *state, vectors = state
        hidden, state = self._advance(self._beside(self.embedding(tokens), vectors), state)
        return self.words(hidden, vectors), (*state, vectors)

    @property
    def reads_early(self) -> bool:
        """Whether a vector enters the recurrent layers."""
        return not {"input", "state"}.isdisjoint(self.reading.placements)

    # Compiled here and not in UserEmbedding: with_states gives many of those on one network

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, None), tf.float32),
        ]
    )
    def _log_probs(self, tokens: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        vectors = tf.ensure_shape(vectors, (None, self.reading.size))
        return ops.log_softmax(self((tokens, vectors), training=False))  # (message, step, word)

    @tf.function(reduce_retracing=True)
    def _step(self, tokens: tf.Tensor, state: tuple[Any, ...]) -> tuple[tf.Tensor, tuple]:
        logits, state = self.advance(tokens, state)
        return ops.log_softmax(logits), state  # (batch, word)

    @tf.function(reduce_retracing=True)
    def _hidden(self, tokens: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        return self.hidden(tokens, vectors)

    @tf.function(reduce_retracing=True)
    def _gradient(
        self, batch: _Batch, typical: tf.Tensor, spread: tf.Tensor, offsets: tf.Tensor
    ) -> tf.Tensor:
        """Gradient of a batch's summed loss by the offsets ``(users, size)``, those only."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(offsets)
            loss = batch.loss(self, typical + spread * tf.gather(offsets, batch.rows))
        return tf.convert_to_tensor(tape.gradient(loss, offsets))

    def _beside(self, embedded: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """The vector behind each input embedding, the same at every step."""
        if "input" not in self.reading.placements:
            return embedded
        if len(embedded.shape) == 3:
            vectors = ops.repeat(vectors[:, None], ops.shape(embedded)[1], axis=1)
        return ops.concatenate([embedded, vectors], axis=-1)  # (batch, time, embedding + size)

    def _first_state(self, vectors: tf.Tensor) -> State | None:
        """For every layer each part ``(batch, hidden)``; None where no vector makes it."""
        if "state" not in self.paths:
            return None
        shape = (-1, 2 if self.config.cell == "lstm" else 1, self.config.layers, self.config.hidden)
        parts = ops.reshape(self.paths["state"](vectors), shape)  # (batch, part, layer, hidden)
        layers = ops.unstack(parts, axis=2)
        return tuple(tuple(ops.unstack(layer, axis=1)) for layer in layers)

    def _input_size(self) -> int:
        beside = self.reading.size if "input" in self.reading.placements else 0
        return super()._input_size() + beside

    def _named(self) -> dict[str, keras.Variable]:
        paths = {f"paths/{place}/kernel": path.kernel for place, path in self.paths.items()}
        return super()._named() | paths


class UserEmbedding(keras.Model):
    """A network that reads a learned vector of whoever is typing.

    Parameters
    ----------
    network : ConditionedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    def __init__(
        self, network: ConditionedNetwork, users: Sequence[int] | np.ndarray, vectors: np.ndarray
    ) -> None:
        super().__init__()
        self.network = network
        self.known_users = check_table(users, vectors, network.reading.size)
        self.vectors = keras.layers.Embedding(*vectors.shape)
        self.dropout = keras.layers.Dropout(network.reading.dropout, seed=0)
        self.seeds = keras.random.SeedGenerator(0)
        self.rows = rows_of(self.known_users).astype(np.int32)
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
        return type(self)(self.network, states.users, vectors)

    def _rows(self, users: tf.Tensor | None, messages: int) -> tf.Tensor:
        """Rows of the table of vectors, ``(messages,)``; the last one is anyone's."""
        last = len(self.rows) - 1  # an id beyond the known ones has anyone's row, as the last has
        if users is None:
            users = ops.full((messages,), last, dtype="int32")
        users = ops.cast(users, "int32")
        known = (users >= 0) & (users < last)
        return tf.gather(self.rows, ops.where(known, users, last))

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

    def make() -> tuple[UserEmbedding, History]:
        model = from_base(base, data.known_users, config, training.seed)
        history = training_loop.train(model, data, training, progress)
        vectors = model.vectors.embeddings
        vectors.assign(vectors.numpy().astype(STORED))  # as they are stored
        return model, history

    key = {
        "name": "user embedding keras",
        "base": base_model.fingerprint(base),
        "config": config,
        "training": training,
        "vectors": [VECTOR_SPREAD, STORED],  # not all of methods.py, where other methods stand too
        "framework": [keras.__version__, tf.__version__],
    }
    code = sys.modules[__name__], base_model, training_loop, states
    return kept_training(key, data, code, make, _save, _load)


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
    weights = network._named()
    for name, weight in base_model.weights_of(base).items():
        array = weights[name].numpy()
        array[: len(weight)] = weight
        weights[name].assign(array)
    vectors = first_vectors(len(users), config.size, seed)
    return UserEmbedding(network, users, vectors)


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
        If the corpus is empty or has words that the model lacks, if the model knows fewer than two
        users, whose vectors then have no spread, or if a fitted number is not finite.

    Notes
    -----
    The words must have the ids of the model's vocabulary; that they have cannot be seen here. Where
    no vector enters the recurrent layers, all hidden states are kept: 512 bytes a token by default.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: a user's vector needs at least one message")
    if len(model.known_users) < 2:
        raise ValueError(f"model must know at least 2 users, not {len(model.known_users)}")
    users, rows = corpus.active_users, rows_of(corpus.active_users)
    vectors = model.vectors.embeddings.numpy()[:-1]
    spread, typical = vectors.std(axis=0, ddof=1), vectors.mean(axis=0)  # (size,) each
    batches = _read_once(model.network, corpus, rows)
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
    key = {
        "name": "user vectors keras",
        "model": fingerprint(model),
        "users": files.fingerprint({"vectors": model.vectors.embeddings.numpy()}),
        "config": config,
        "framework": [keras.__version__, tf.__version__],
    }
    code = sys.modules[__name__], base_model, training_loop
    return kept_states(key, corpus, code, lambda: fit(model, corpus, config))


def save(model: UserEmbedding, path: str | PathLike[str]) -> None:
    """Write a model, with the vectors of its users, to a safetensors file."""
    _save(model, path)


def load(path: str | PathLike[str]) -> UserEmbedding:
    """Read a model that :func:`save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    companion.keeping.files.CorruptedFileError
        If the file is truncated or was altered.
    """
    return _load(path)[0]


def fingerprint(model: UserEmbedding) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


class _Batch(NamedTuple):
    """Some messages, as far as the network can read them before it knows the vectors."""

    read: tf.Tensor
    targets: tf.Tensor
    rows: tf.Tensor

    def loss(self, network: ConditionedNetwork, vectors: tf.Tensor) -> tf.Tensor:
        """Summed loss of the batch, nats, read with these vectors ``(batch, size)``."""
        hidden = network.hidden(self.read, vectors) if network.reads_early else self.read
        logits = network.words(hidden, vectors[:, None])  # (batch, time, word)
        tokens = ops.count_nonzero(self.targets)
        return training_loop.masked_loss(logits, self.targets) * ops.cast(tokens, logits.dtype)


def _read_once(network: ConditionedNetwork, corpus: Corpus, rows: np.ndarray) -> list[_Batch]:
    """All messages in batches; where no vector enters the recurrent layers, they read them now."""
    batches = []
    for messages in epoch_batches(corpus.lengths, FITTING_BATCH, seed=0, epoch=0, pool=len(corpus)):
        inputs, targets = corpus.padded(messages)
        read = ops.convert_to_tensor(network._tokens(inputs, ndim=2))
        if not network.reads_early:
            read = network._hidden(read, ops.zeros((len(inputs), network.reading.size)))
        own = ops.convert_to_tensor(rows[corpus.users[messages]])
        batches.append(_Batch(read, ops.convert_to_tensor(targets), own))
    return batches


def save_as(kind: str, model: UserEmbedding, path: str | PathLike[str], **more: Any) -> None:
    """Write network, vectors, configurations and more to one file of this kind."""
    arrays = {f"network/{n}": w for n, w in base_model.weights_of(model.network).items()}
    arrays |= {"vectors": model.vectors.embeddings.numpy().astype(STORED)}
    metadata = {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.network.reading),
        "base": asdict(model.network.config),
    }
    files.save_arrays(path, arrays | {"users": model.known_users}, kind, {**metadata, **more})


def load_as(
    kind: str, path: str | PathLike[str], make_network: Callable[..., ConditionedNetwork]
) -> tuple[ConditionedNetwork, np.ndarray, np.ndarray, dict[str, Any]]:
    """What :func:`save_as` wrote: the network, its users, their vectors, and all metadata."""
    arrays, metadata = files.load_arrays(path, kind)
    users, vectors = arrays.pop("users"), arrays.pop("vectors")
    base = BaseModelConfig(**metadata["base"])
    network = make_network(metadata["vocabulary_size"], metadata["config"], base)
    base_model.assign(network, {n.removeprefix("network/"): a for n, a in arrays.items()}, path)
    return network, users, vectors.astype(np.float32), metadata


def _save(model: UserEmbedding, path: str | PathLike[str], **more: Any) -> None:
    save_as(KIND, model, path, **more)


def _load(path: str | PathLike[str]) -> tuple[UserEmbedding, dict[str, Any]]:
    """The model in a file, and what else its metadata holds."""

    def make(words: int, config: dict[str, Any], base: BaseModelConfig) -> ConditionedNetwork:
        return ConditionedNetwork(words, UserEmbeddingConfig(**config), base)

    network, users, vectors, metadata = load_as(KIND, path, make)
    return UserEmbedding(network, users, vectors), metadata


__all__ = [
    "ConditionedNetwork",
    "UserEmbedding",
    "fingerprint",
    "fit",
    "fitted",
    "from_base",
    "load",
    "save",
    "trained",
]
