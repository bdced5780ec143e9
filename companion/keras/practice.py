"""How a network in Keras learns to read a user's text: by predicting each message from others."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.checks import check_trainable
from companion.corpora import Corpus, Split
from companion.history import History
from companion.settings import TrainingConfig
from companion.users.cutting import Histories, Step, Text, together
from companion.users.methods import STORED, FittingConfig
from companion.users.states import first_vectors, rows_of

from . import training as training_loop
from .reading import MemoryNetwork, arrays_of

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
    network : companion.keras.reading.MemoryNetwork
    users : int
        How many, numbered from 0 here.
    seed : int
    """

    def __init__(self, network: MemoryNetwork, users: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.dropout = keras.layers.Dropout(network.reading.dropout, seed=seed)
        vectors = first_vectors(users, network.reading.embedding, seed)[:-1]
        self.vectors = self.add_weight(
            name="vectors", shape=vectors.shape, trainable=vectors.size > 0
        )
        self.vectors.assign(vectors)
        self.built = True

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts."""
        return self.network.vocabulary_size

    @property
    def kept_vectors(self) -> np.ndarray:
        """The vectors as they are stored, ``(users, size)``."""
        return self.vectors.numpy().astype(STORED)

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """The vectors of these users ``(positions,)``, with dropout."""
        return self.dropout(tf.gather(self.vectors.value, rows))

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Log-probability of each word of a text, ``(positions,)``.

        Parameters
        ----------
        inputs : tuple of (text, rows)
            What `arrays_of` gives of a text, and the row of the
            table of vectors for each position, ``(positions,)``: these are read; or None, and
            what is read is the memory of the other messages.
        training : bool
            Whether dropout is on.
        """
        text, rows = inputs
        read = self.network.read(Text(*text))
        if rows is None:
            return self.network.log_likelihood(read, read)
        return self.network.guided_likelihood(read.hidden, self.of_rows(rows), read.targets)

    def train_step(self, data: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        """One step, for the memory or for the vectors; what takes no part is left alone."""
        text, rows, of_memory = data
        if self.vectors.trainable:
            steps = (lambda: self._learn(text, None), lambda: self._learn(text, rows))
            loss = tf.cond(of_memory, *steps)
        else:
            loss = self._learn(text, None)
        self._loss_tracker.update_state(loss)
        return self.get_metrics_result()

    def _learn(self, text: Any, rows: tf.Tensor | None) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = training_loop.finite(-ops.mean(self((text, rows), training=True)))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights)
        moved = [(g, w) for g, w in zip(gradients, weights, strict=True) if g is not None]
        self.optimizer.apply_gradients(moved)
        return loss

    @tf.function(input_signature=[_TEXT, _FLAT, _TEXT])
    def _validate(self, said: Any, rows: tf.Tensor, known: Any) -> tf.Tensor:
        """Log-probabilities of all words said, where so much is known, summed."""
        read = self.network.read(Text(*said))
        found = self.network.log_likelihood(read, self.network.read(Text(*known)))
        if self.vectors.trainable:
            vectors = self.of_rows(rows)
            guided = self.network.guided_likelihood(read.hidden, vectors, read.targets)
            found = self.network.mixed(found, guided)
        return ops.sum(found)


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
    network : companion.keras.reading.MemoryNetwork
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
            gradient += _gradient(network, batch, typical, spread, offsets.value)
        adam.apply([gradient], [offsets])
    return typical + spread * offsets.numpy()


class _Batch(NamedTuple):
    """Some words to predict, and what the memory says of them."""

    hidden: tf.Tensor  # (positions, hidden)
    targets: tf.Tensor  # (positions,)
    rows: tf.Tensor  # (positions,): of the user
    memory: tf.Tensor  # (positions,): log-probabilities

    def loss(self, network: MemoryNetwork, vectors: tf.Tensor) -> tf.Tensor:
        """Summed loss, nats, with these vectors ``(users, size)``."""
        own = tf.gather(vectors, self.rows)
        guided = network.guided_likelihood(self.hidden, own, self.targets)
        return -ops.sum(network.mixed(self.memory, guided))


@tf.function(reduce_retracing=True)
def _gradient(
    network: MemoryNetwork, batch: _Batch, typical: tf.Tensor, spread: tf.Tensor, offsets: tf.Tensor
) -> tf.Tensor:
    """Gradient of a batch's summed loss by the offsets ``(users, size)``, those only."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(offsets)
        loss = batch.loss(network, typical + spread * offsets)
    return tf.convert_to_tensor(tape.gradient(loss, offsets))


def _read_once(network: MemoryNetwork, corpus: Corpus) -> list[_Batch]:
    """All messages, each read with the memory of its user's others."""
    found = []
    for histories in together(corpus):
        text = Text.of(corpus, histories)
        read, memory = network._read_alone(arrays_of(text))
        rows = rows_of(corpus.active_users, text.users)[text.message]
        found.append(_Batch(read.hidden, read.targets, ops.convert_to_tensor(rows), memory))
    return found


class _Histories(Histories):
    """The task of predicting each message of a history from the others."""

    signature = (_TEXT, _FLAT, tf.TensorSpec((), tf.bool))

    def arrays(self, batch: Step) -> tuple[Any, ...]:
        return *self._told(Text.of(self.data.train, batch.histories)), batch.of_memory

    def tokens(self, batch: Step) -> int:
        return sum(int((self.data.train.lengths[own] + 1).sum()) for own in batch.histories)

    def validate(self, model: Learner) -> float:
        """Loss of the validation text of each user, their training text being remembered."""
        total, tokens = 0.0, 0
        for known, later in self.validated():
            total -= float(model._validate(*self._told(later), arrays_of(known)))
            tokens += len(later.targets)
        return total / tokens

    def _told(self, text: Text) -> tuple[tuple[Any, ...], np.ndarray]:
        """A text, and the row of the table of vectors for each position."""
        return arrays_of(text), self.rows(text)


__all__ = ["Learner", "fit", "train"]
