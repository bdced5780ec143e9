"""A network in Keras with two heads: one predicts the next word, one who is typing."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from companion.corpora import BEGIN, PADDING
from companion.users.methods import UserHeadsConfig

from .conditioned import ConditionedNetwork

_TOKENS = tf.TensorSpec((None, None), tf.int32)
_TABLE = tf.TensorSpec((None, None), tf.float32)
_NUMBER = tf.TensorSpec((), tf.float32)


class GuidedNetwork(keras.layers.Layer):
    """A network and its user head, whoever the users are.

    Every word typed is evidence for some users and against others; the belief over users is the sum
    of it. The users' vectors ``(user, size)``, weighed by the belief, guide the next word.

    Compiled here and not in UserHeads: with_states and among give many of those on one of these.

    Parameters
    ----------
    network : companion.keras.conditioned.ConditionedNetwork
        Reads the words, and predicts the next one with a user's vector.
    config : UserHeadsConfig
    """

    def __init__(self, network: ConditionedNetwork, config: UserHeadsConfig) -> None:
        super().__init__()
        self.network, self.size = network, config.size
        self.vocabulary_size = network.vocabulary_size
        words = keras.layers.Embedding(
            network.vocabulary_size, config.size, embeddings_initializer="zeros"
        )
        states = keras.layers.Dense(config.size, kernel_initializer="zeros")
        heads = {"word": words, "state": states}
        self.evidence_of = {name: heads[name] for name in config.evidence}
        for head in self.evidence_of.values():
            head.build((None, None, network.config.hidden))
        self.dropout = keras.layers.Dropout(config.dropout, seed=0)
        self.built = True

    def evidence(
        self, tokens: tf.Tensor, hidden: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tf.Tensor:
        """Summed over the words so far, ``(batch, time, user)``; the begin of a message is none."""
        asked = 0.0
        if "word" in self.evidence_of:
            asked = self.evidence_of["word"](tokens)  # (batch, time, size)
        if "state" in self.evidence_of:
            asked = asked + self.evidence_of["state"](self.dropout(hidden))
        says = ops.cast((tokens != PADDING) & (tokens != BEGIN), "float32")[..., None]
        return ops.cumsum(asked * says, axis=1) @ ops.transpose(vectors) / temperature

    def words(self, hidden: tf.Tensor, belief: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Logits ``(..., word)`` from states ``(..., hidden)`` and beliefs ``(..., user)``."""
        return self.network.words(hidden, belief @ vectors)

    def _logits(
        self, tokens: tf.Tensor, begins: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tf.Tensor:
        """Logits ``(batch, time, word)``, the belief following the messages from `begins` on."""
        hidden = self.network.hidden(tokens, vectors)  # (batch, time, hidden)
        evidence = self.evidence(tokens, hidden, vectors, temperature)  # (batch, time, user)
        return self.words(hidden, ops.softmax(begins[:, None] + evidence), vectors)

    @tf.function(input_signature=[_TOKENS, _TABLE, _TABLE, _NUMBER])
    def _log_probs(
        self, tokens: tf.Tensor, begins: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tf.Tensor:
        vectors = tf.ensure_shape(vectors, (None, self.size))
        return ops.log_softmax(self._logits(tokens, begins, vectors, temperature))

    @tf.function(input_signature=[_TOKENS, _TABLE, _NUMBER])
    def _evidence(self, tokens: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        return self.evidence(tokens, self.network.hidden(tokens, vectors), vectors, temperature)

    @tf.function(reduce_retracing=True)
    def _step(
        self, tokens: tf.Tensor, state: tuple[Any, ...], vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[Any, ...]]:
        """Log-probabilities ``(batch, word)`` after one more token ``(batch,)``, and the state."""
        *before, belief = state
        hidden, after = self.network._advance(self.network.embedding(tokens), tuple(before))
        evidence = self.evidence(tokens[:, None], hidden[:, None], vectors, temperature)
        belief = ops.log_softmax(belief + evidence[:, 0])  # (batch, user)
        return ops.log_softmax(self.words(hidden, ops.exp(belief), vectors)), (*after, belief)


__all__ = ["GuidedNetwork"]
