"""A network in Keras that reads a vector with every message, whoever made the vector."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.settings import BaseModelConfig
from companion.users.methods import HypernetworkConfig, UserEmbeddingConfig

from . import training as training_loop
from .base_model import BaseModel, State


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
        *before, vectors = state
        hidden, after = self._advance(self._beside(self.embedding(tokens), vectors), tuple(before))
        return self.words(hidden, vectors), (*after, vectors)

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
        self, batch: Batch, typical: tf.Tensor, spread: tf.Tensor, offsets: tf.Tensor
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


class Batch(NamedTuple):
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


__all__ = ["ConditionedNetwork"]
