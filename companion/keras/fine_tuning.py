"""Fine-tuning in Keras: for each user a change of the base model's weights, all users at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.users import personalizing
from companion.users.groups import Arrays
from companion.users.models import LanguageModel
from companion.users.stacks import Stack
from companion.users.states import PersonalStates, known_ids
from companion.users.strategies import LAYERS
from companion.users.tuning import Tuning

from . import adapting, base_model, stacked
from .adapting import Adaptation, shapes_of, weights_in
from .base_model import BaseModel, rows_among
from .stacked import Changes, StackedNetwork


class FineTuned(LanguageModel, keras.Model):
    """The base model, with the weights of whoever is typing changed.

    What its methods take and give stands in :class:`companion.users.models.LanguageModel`.

    Parameters
    ----------
    base : companion.keras.base_model.BaseModel
        It is shared, not copied, and never changed.
    states : PersonalStates
        What :func:`personalize` gave for this base model.

    Raises
    ------
    ValueError
        If the states were made for another network, or by another method.
    """

    def __init__(self, base: BaseModel, states: PersonalStates) -> None:
        super().__init__()
        states.check_made_for(base_model.fingerprint(base))
        personalizing.check_changes(states, shapes_of(base))
        self.base = base
        self.vocabulary, self.vocabulary_size = base.vocabulary, base.vocabulary_size
        self.known_users = states.users
        self.network = StackedNetwork(base)
        self._changes = {name: tf.constant(array) for name, array in states.arrays.items()}
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        inputs : tuple of (tokens, users), or tokens alone
            Token ids ``(batch, time)``, and who wrote each message, ``(batch,)``. The base model
            itself predicts for everybody who is not known, and where no users are given.
        training : bool
            Changes nothing: dropout is off.
        """
        if not isinstance(inputs, tuple | list):
            return self.base(inputs, training=False)
        tokens, users = inputs
        changes = self._changes_of(users)
        hidden, _ = self.network.hidden(tokens[:, None], changes)  # (batch, 1, time, hidden)
        return self.network.words(hidden[:, 0], changes)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``.

        Where no users are given, the base model predicts.
        """
        if users is None:
            return self.base.log_probs(tokens)
        ids = self.base._tokens(tokens, ndim=2)
        return self._log_probs(ids, self._known(users, len(ids))).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple:
        """The state before any token of messages by these users, their changes included."""
        changes = {} if users is None else self._changes_of(self._known(users, batch))
        zeros = self.network._zeros(batch, 1)
        return [zeros] * self.base.config.layers, changes

    def step(
        self, tokens: np.ndarray, state: tuple, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple]:
        """Read one token per message; :meth:`begin` has settled whose weights are used."""
        ids = self.base._tokens(tokens, ndim=1)
        carried, changes = state
        log_probs, carried = self._step(ops.convert_to_tensor(ids), carried, changes)
        return log_probs.numpy(), (carried, changes)

    def states(self) -> PersonalStates:
        """The changes of all known users, as they are kept."""
        arrays = {name: change.numpy() for name, change in self._changes.items()}
        return PersonalStates(base_model.fingerprint(self.base), self.known_users, arrays)

    def with_states(self, states: PersonalStates) -> FineTuned:
        """The same base model for the users of `states` instead.

        Raises
        ------
        ValueError
            If the states were made for another network, or by another method.
        """
        return FineTuned(self.base, states)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)]
    )
    def _log_probs(self, tokens: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
        return ops.log_softmax(self((tokens, users)))  # (message, step, word)

    @tf.function(reduce_retracing=True)
    def _step(
        self, tokens: tf.Tensor, carried: stacked.State, changes: Changes
    ) -> tuple[tf.Tensor, stacked.State]:
        hidden, carried = self.network.hidden(tokens[:, None, None], changes, carried)
        logits = self.network.words(hidden[:, 0], changes)[:, 0]  # (batch, word)
        return ops.log_softmax(logits), carried

    def _changes_of(self, users: tf.Tensor) -> Changes:
        """A change for each message, zero for those of users who are not known."""
        anybody = len(self.known_users)
        rows = rows_among(self.known_users, users, ops.shape(users)[0])
        known = ops.cast(rows < anybody, "float32")
        rows = ops.minimum(rows, anybody - 1)
        return {
            name: ops.cast(tf.gather(change, rows), "float32")
            * ops.reshape(known, (-1, *[1] * (len(change.shape) - 1)))
            for name, change in self._changes.items()
        }

    def _known(self, users: np.ndarray, messages: int) -> np.ndarray:
        """Checked ids of known users."""
        return known_ids(users, messages, self.known_users).astype(np.int32)


def _squares(
    base: BaseModel, stack: Stack, at: np.ndarray, draw: Callable[[np.ndarray], np.ndarray]
) -> Arrays:
    """Squared gradients of the log-probability of a word drawn after one step of each message."""
    network = StackedNetwork(base)
    weights = {name: network.weights[name] for name in weights_in(base, LAYERS)}
    changes = {name: ops.zeros((len(at), *weight.shape)) for name, weight in weights.items()}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(changes)
        log_probs = _log_probs_at(network, stack, at, changes)  # (messages, word)
        reached = ops.sum(tf.gather(log_probs, draw(log_probs.numpy()), batch_dims=1))
    gradients = tape.gradient(reached, changes)
    dense = {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()}
    return {name: ops.sum(ops.square(each), axis=0).numpy() for name, each in dense.items()}


def _log_probs_at(
    network: StackedNetwork, stack: Stack, at: np.ndarray, changes: Changes
) -> tf.Tensor:
    """Log-probabilities after one step of each stacked message, ``(messages, word)``."""
    hidden, _ = network.hidden(ops.convert_to_tensor(stack.tokens), changes)
    hidden = tf.gather(hidden[:, 0], at[:, None], batch_dims=1)  # (messages, 1, hidden)
    return ops.log_softmax(network.words(hidden, changes)[:, 0])


TUNING = Tuning(
    name="fine tuned keras",
    framework=(keras, tf),
    code=(sys.modules[__name__], adapting, stacked, base_model),
    fingerprint=base_model.fingerprint,
    adaptation=lambda *given: Adaptation(*given).run,
    squares=_squares,
    tuned=FineTuned,
)
personalize, personalized, fisher = TUNING.personalize, TUNING.personalized, TUNING.fisher


__all__ = ["FineTuned", "fisher", "personalize", "personalized"]
