"""Vectors of new users in Keras, fitted to their messages, all users at once."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from companion.corpora import Corpus
from companion.corpora.batches import similar_batches
from companion.users.methods import FittingConfig
from companion.users.states import rows_of
from companion.users.vectors import VectorModel

from .conditioned import Batch, ConditionedNetwork
from .training import LateEpsilonAdam

FITTING_BATCH = 64
FITTING_EPSILON = 1e-8  # the default of Adam in PyTorch


def fitted_vectors(
    model: VectorModel, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> np.ndarray:
    """Vectors of everybody who has a message in `corpus`, ``(users, size)`` float32.

    See :func:`companion.users.vectors.fit`, which checks what it is given.
    """
    vectors = model._table()[:-1]
    spread, typical = vectors.std(axis=0, ddof=1), vectors.mean(axis=0)  # (size,) each
    batches = _read_once(model.network, corpus)
    offsets = keras.Variable(
        ops.zeros((len(corpus.active_users), len(typical)))
    )  # in units of the spread
    fall = keras.optimizers.schedules.PolynomialDecay(config.learning_rate, config.steps, 0.0)
    adam = LateEpsilonAdam(fall, epsilon=FITTING_EPSILON)
    for _ in range(config.steps):
        gradient = config.pull * offsets
        for batch in batches:
            gradient += model.network._gradient(batch, typical, spread, offsets.value)
        adam.apply([gradient], [offsets])
    return typical + spread * offsets.numpy()


def _read_once(network: ConditionedNetwork, corpus: Corpus) -> list[Batch]:
    """All messages in batches; where no vector enters the recurrent layers, they read them now."""
    batches = []
    for messages in similar_batches(corpus.lengths, FITTING_BATCH):
        inputs, targets = corpus.padded(messages)
        read = ops.convert_to_tensor(network._tokens(inputs, ndim=2))
        if not network.reads_early:
            read = network._hidden(read, ops.zeros((len(inputs), network.reading.size)))
        own = ops.convert_to_tensor(rows_of(corpus.active_users, corpus.users[messages]))
        batches.append(Batch(read, ops.convert_to_tensor(targets), own))
    return batches


__all__ = ["fitted_vectors"]
