"""The base model's network in Keras, once for each of several users, computed together."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from keras import ops

from companion.users.stacks import DOWN, SCALE, UP

from .base_model import BaseModel

Changes = dict[str, tf.Tensor]
State = list[tuple[tf.Tensor, ...]]


class StackedNetwork:
    """A network for each user: the base model's weights plus changes of the user's own.

    A change has the name of the weight and its shape behind the axis of users, or is the product
    of two narrow matrices, ``name + DOWN`` of shape ``(users, in, rank)`` and ``name + UP`` of
    shape ``(users, rank, out)``, or multiplies what a matrix reads, ``name + SCALE`` of shape
    ``(users, in)``. A weight without a change is everybody's.

    Parameters
    ----------
    base : companion.keras.base_model.BaseModel
        Its weights are read where they are, and never written to.
    """

    def __init__(self, base: BaseModel) -> None:
        self.config = base.config
        self.weights = {name: weight.value for name, weight in base._named().items()}

    def hidden(
        self, tokens: tf.Tensor, changes: Changes, state: State | None = None
    ) -> tuple[tf.Tensor, State]:
        """Hidden states of the last recurrent layer, and the state after the last token.

        Parameters
        ----------
        tokens : tf.Tensor
            ``(users, messages, time)``
        state : list, optional
            What an earlier call gave; zeros, if there is none. For each layer its parts,
            ``(users, messages, hidden)`` each.

        Returns
        -------
        hidden : tf.Tensor
            ``(users, messages, time, hidden)``
        state : list
        """
        inputs = self._embedded(tokens, changes)  # (users, messages, time, embedding)
        run = self._lstm if self.config.cell == "lstm" else self._gru
        after = []
        for layer in range(self.config.layers):
            before = state[layer] if state else self._zeros(*ops.shape(tokens)[:2])
            steps = run(inputs, before, f"recurrent/{layer}", changes)
            inputs = ops.transpose(steps[0], (1, 2, 0, 3))  # (users, messages, time, hidden)
            after.append(tuple(part[-1] for part in steps))
        return inputs, after

    def words(self, hidden: tf.Tensor, changes: Changes) -> tf.Tensor:
        """Logits ``(users, n, word)`` from hidden states ``(users, n, hidden)``."""
        if "projection/kernel" in self.weights:
            hidden = self._times(hidden, "projection/kernel", changes)  # (users, n, embedding)
        matrix = "embedding" if self.config.tied else "output/kernel"
        return self._times(hidden, matrix, changes) + self._vector("output/bias", changes)

    def changed(self, name: str, changes: Changes) -> tf.Tensor:
        """A weight with each user's change in it, ``(users, ...)``; ``(1, ...)`` without any."""
        weight, words_first = self.weights[name][None], name == "embedding"
        if name in changes:
            return weight + changes[name]
        if name + DOWN in changes:
            own = changes[name + DOWN] @ changes[name + UP]  # (users, in, out)
            return weight + (ops.transpose(own, (0, 2, 1)) if words_first else own)
        if name + SCALE in changes:
            return weight * (1 + ops.expand_dims(changes[name + SCALE], 1 if words_first else 2))
        return weight

    def words_apart(self, hidden: tf.Tensor, changes: Changes) -> tf.Tensor | float:
        """What changes behind the recurrent layers add to the logits, ``(users, n, word)``.

        Narrow matrices are multiplied with what follows them first, and with the text last.
        """
        name, bias = "projection/kernel", "output/bias"
        after = ops.transpose(self.weights["embedding"])  # (embedding, word)
        if name not in self.weights:
            name, after = "output/kernel", None
        apart = changes[bias][:, None] if bias in changes else 0.0
        if name + DOWN in changes:
            up = changes[name + UP]
            up = up if after is None else tf.tensordot(up, after, 1)  # (users, rank, word)
            apart += hidden @ changes[name + DOWN] @ up
        elif name in changes:
            own = hidden @ changes[name]
            apart += own if after is None else tf.tensordot(own, after, 1)
        elif name + SCALE in changes:
            own = tf.tensordot(hidden * changes[name + SCALE][:, None], self.weights[name], 1)
            apart += own if after is None else tf.tensordot(own, after, 1)
        return apart

    def _zeros(self, users: int, messages: int) -> tuple[tf.Tensor, ...]:
        """The state of a layer before any token."""
        zeros = ops.zeros((users, messages, self.config.hidden))
        return (zeros, zeros) if self.config.cell == "lstm" else (zeros,)

    def _embedded(self, tokens: tf.Tensor, changes: Changes) -> tf.Tensor:
        """Input embeddings, each user's own."""
        name = "embedding"
        embedded = tf.gather(self.weights[name], tokens)  # (users, messages, time, embedding)
        if name in changes:
            return embedded + tf.gather(changes[name], tokens, batch_dims=1)
        if name + DOWN in changes:
            narrow = tf.gather(ops.transpose(changes[name + UP], (0, 2, 1)), tokens, batch_dims=1)
            down = ops.transpose(changes[name + DOWN], (0, 2, 1))[:, None]
            return embedded + ops.matmul(narrow, down)
        if name + SCALE in changes:
            return embedded * (1 + changes[name + SCALE][:, None, None])
        return embedded

    def _lstm(
        self, inputs: tf.Tensor, state: tuple[tf.Tensor, ...], layer: str, changes: Changes
    ) -> tuple[tf.Tensor, ...]:
        """All states of an LSTM layer, ``(time, users, messages, hidden)`` each."""
        read = self._gates(inputs, layer, self._vector(f"{layer}/bias", changes), changes)
        times = self._matrix(f"{layer}/recurrent_kernel", changes)

        def step(before: tuple[tf.Tensor, ...], at: tf.Tensor) -> tuple[tf.Tensor, ...]:
            hidden, cell = before
            enters, keeps, new, leaves = ops.split(at + times(hidden), 4, axis=-1)
            cell = ops.sigmoid(keeps) * cell + ops.sigmoid(enters) * ops.tanh(new)
            return ops.sigmoid(leaves) * ops.tanh(cell), cell

        return tf.scan(step, read, state)

    def _gru(
        self, inputs: tf.Tensor, state: tuple[tf.Tensor, ...], layer: str, changes: Changes
    ) -> tuple[tf.Tensor, ...]:
        """All states of a GRU layer, ``(time, users, messages, hidden)``."""
        bias = self._vector(f"{layer}/bias", changes)  # (..., 2, 3 * hidden)
        first, second = (bias[..., 0, :], bias[..., 1, :])
        read = self._gates(inputs, layer, first, changes)
        times = self._matrix(f"{layer}/recurrent_kernel", changes)

        def step(before: tuple[tf.Tensor], at: tf.Tensor) -> tuple[tf.Tensor]:
            (hidden,) = before
            updates, resets, new = ops.split(at, 3, axis=-1)
            carried = ops.split(times(hidden) + second, 3, axis=-1)
            new = ops.tanh(new + ops.sigmoid(resets + carried[1]) * carried[2])
            update = ops.sigmoid(updates + carried[0])
            return ((1 - update) * new + update * hidden,)

        return tf.scan(step, read, state)

    def _gates(self, inputs: tf.Tensor, layer: str, bias: tf.Tensor, changes: Changes) -> tf.Tensor:
        """What the inputs say to the gates, ``(time, users, messages, gates)``."""
        users, messages, time = ops.shape(inputs)[:3]
        flat = ops.reshape(inputs, (users, messages * time, inputs.shape[-1]))
        read = self._times(flat, f"{layer}/kernel", changes) + bias
        read = ops.reshape(read, (users, messages, time, read.shape[-1]))
        return ops.transpose(read, (2, 0, 1, 3))

    def _times(self, inputs: tf.Tensor, name: str, changes: Changes) -> tf.Tensor:
        """Each user's inputs ``(users, n, in)`` times the user's matrix: ``(users, n, out)``."""
        return self._matrix(name, changes)(inputs)

    def _matrix(self, name: str, changes: Changes) -> Callable[[tf.Tensor], tf.Tensor]:
        """The product with each user's matrix, the matrix being made once for many products."""
        weight, words_first = self.weights[name], name == "embedding"
        if name in changes:
            own = weight + changes[name]  # (users, in, out), an embedding (users, out, in)
            return lambda inputs: tf.matmul(inputs, own, transpose_b=words_first)
        weight = ops.transpose(weight) if words_first else tf.convert_to_tensor(weight)
        if name + DOWN in changes:
            down, up = changes[name + DOWN], changes[name + UP]
            return lambda inputs: tf.tensordot(inputs, weight, 1) + inputs @ down @ up
        if name + SCALE in changes:
            factors = 1 + changes[name + SCALE][:, None]  # (users, 1, in)
            return lambda inputs: tf.tensordot(inputs * factors, weight, 1)
        return lambda inputs: tf.tensordot(inputs, weight, 1)

    def _vector(self, name: str, changes: Changes) -> tf.Tensor:
        """Each user's vector, to be added to ``(users, n, size)``."""
        weight = tf.convert_to_tensor(self.weights[name])
        return weight + changes[name][:, None] if name in changes else weight


__all__ = ["StackedNetwork"]
