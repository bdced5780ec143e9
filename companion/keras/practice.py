"""How a network in Keras learns to read a user's text: by predicting each message from others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.checks import check_trainable
from companion.corpora import Corpus, Split
from companion.history import History
from companion.settings import TrainingConfig
from companion.users.cutting import Text, batches, pieces, together
from companion.users.methods import STORED, FittingConfig, UserMemoryConfig
from companion.users.stacks import own_messages
from companion.users.states import first_vectors, rows_of

from . import training as training_loop
from .reading import Batch, MemoryNetwork, arrays_of

FITTING_EPSILON = 1e-8  # the default of Adam in PyTorch
_FLAT = tf.TensorSpec((None,), tf.int64)
_TEXT = (
    tf.TensorSpec((None, None), tf.int32),  # inputs
    tf.TensorSpec((None, None), tf.bool),  # inside
    *(_FLAT,) * 5,
)


class Learner(keras.Model):
    """A network that learns to read, with the vectors of its users where it has an embedding.

    Parameters
    ----------
    network : MemoryNetwork
    users : int
        How many, numbered from 0 here; the vector after the last is anyone's.
    seed : int
    """

    def __init__(self, network: MemoryNetwork, users: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.table = first_vectors(users, network.reading.embedding, seed)
        self.vectors = keras.layers.Embedding(*self.table.shape) if self.table.size else None
        self.dropout = keras.layers.Dropout(network.reading.dropout, seed=seed)
        self.seeds = keras.random.SeedGenerator(seed)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Make the table of vectors at once: it depends on no batch."""
        if self.vectors is not None:
            self.vectors.build((None,))
            self.vectors.embeddings.assign(self.table)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Log-probability of each word of a text, ``(positions,)``, read with the other messages.

        Parameters
        ----------
        inputs : tuple of (text, rows)
            What :func:`companion.keras.reading.arrays_of` gives of a text, and the row of the
            table of vectors for each message, ``(messages,)``.
        training : bool
            Whether dropout is on, of numbers and of users.
        """
        text, rows = inputs
        if training:
            drawn = keras.random.uniform(ops.shape(rows), seed=self.seeds)
            anyone = drawn < self.network.reading.user_dropout
            rows = ops.where(anyone, len(self.table) - 1, rows)
        read = self.network.read(Text(*text))
        return self.network.log_likelihood(read, read, self.of_rows(rows))

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts."""
        return self.network.vocabulary_size

    @property
    def kept_vectors(self) -> np.ndarray:
        """The vectors as they are stored, anyone's last, ``(users + 1, size)``."""
        return self._vectors().astype(STORED)

    @property
    def anyone(self) -> np.ndarray:
        """The vector of whoever has none, ``(size,)``."""
        return self._vectors()[-1]

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor | None:
        """The vectors of these rows ``(messages,)``."""
        return None if self.vectors is None else self.dropout(self.vectors(rows))

    def _vectors(self) -> np.ndarray:
        return self.table if self.vectors is None else self.vectors.embeddings.numpy()

    @tf.function(input_signature=[_TEXT, _FLAT, _TEXT])
    def _validate(self, said: Any, rows: tf.Tensor, known: Any) -> tf.Tensor:
        """Log-probabilities of all words said, where so much is known, summed."""
        texts = (self.network.read(Text(*text)) for text in (said, known))
        return ops.sum(self.network.log_likelihood(*texts, self.of_rows(rows)))


def train(
    learner: Learner, data: Split, config: TrainingConfig, progress: bool | None = None
) -> History:
    """Train on ``data.train`` as :func:`companion.keras.training.train` does, whole histories."""
    check_trainable(learner, data)
    task = _Histories(data, config, learner.network.reading)
    return training_loop.train_on(learner, task, config, progress)


def fit(
    network: MemoryNetwork, corpus: Corpus, known: np.ndarray, config: FittingConfig
) -> np.ndarray:
    """Vectors fitted to the messages of new users, ``(users, size)``, the network being frozen.

    Parameters
    ----------
    network : MemoryNetwork
        With an embedding.
    corpus : Corpus
        Each message is read with the memory of its user's others.
    known : np.ndarray
        Vectors of known users, ``(known, size)``: they say what is typical.
    config : FittingConfig
    """
    known = known.astype(np.float32)
    spread, typical = known.std(axis=0, ddof=1), known.mean(axis=0)  # (size,) each
    offsets = keras.Variable(ops.zeros((len(corpus.active_users), len(typical))))
    fall = keras.optimizers.schedules.PolynomialDecay(config.learning_rate, config.steps, 0.0)
    adam = training_loop.LateEpsilonAdam(fall, epsilon=FITTING_EPSILON)
    batches = _read_once(network, corpus)
    for _ in range(config.steps):
        gradient = config.pull * offsets
        for batch in batches:
            gradient += network._gradient(batch, typical, spread, offsets.value)
        adam.apply([gradient], [offsets])
    return typical + spread * offsets.numpy()


def _read_once(network: MemoryNetwork, corpus: Corpus) -> list[Batch]:
    """All messages, each read with the memory of its user's others."""
    found = []
    for histories in together(corpus):
        text = Text.of(corpus, histories)
        read, memory = network._read_alone(arrays_of(text))
        rows = rows_of(corpus.active_users, text.users)[text.message]
        found.append(Batch(read.hidden, read.targets, ops.convert_to_tensor(rows), memory))
    return found


class _Histories:
    """The task of predicting each message of a history from the others."""

    signature = ((_TEXT, _FLAT), _FLAT)

    def __init__(self, data: Split, config: TrainingConfig, reading: UserMemoryConfig) -> None:
        self.data, self.config, self.reading = data, config, reading

    def __len__(self) -> int:
        return math.ceil(len(self.data.train) / self.config.batch_size)

    def epoch(self, number: int) -> Sequence[list[np.ndarray]]:
        rng = np.random.default_rng((self.config.seed, number))
        reading = self.reading
        found = pieces(self.data.train, rng, reading.cut, reading.shortest, reading.longest)
        return list(batches(found, rng, len(self)))

    def arrays(self, batch: list[np.ndarray]) -> tuple[Any, Any]:
        text = Text.of(self.data.train, batch)
        return self._read(text), text.targets

    def tokens(self, batch: list[np.ndarray]) -> int:
        return sum(int((self.data.train.lengths[own] + 1).sum()) for own in batch)

    def loss(self, targets: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        return training_loop.finite_loss(-ops.mean(predicted))

    def validate(self, model: Learner) -> float:
        """Loss of the validation text of each user, their training text being remembered."""
        total, tokens = 0.0, 0
        for histories in together(self.data.train):
            users = self.data.train.users[[own[0] for own in histories]]
            known = Text.of(self.data.train, histories)
            later = Text.of(self.data.validation, own_messages(self.data.validation, users))
            total -= float(model._validate(*self._read(later), arrays_of(known)))
            tokens += len(later.targets)
        return total / tokens

    def _read(self, text: Text) -> tuple[tuple[Any, ...], np.ndarray]:
        """A text, and for each message the row of the table of vectors."""
        return arrays_of(text), rows_of(self.data.known_users, text.users).astype(np.int64)


__all__ = ["Learner", "fit", "train"]
