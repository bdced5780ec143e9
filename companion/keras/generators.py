"""Generators in Keras: small networks that write changes of another network's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from companion.users.stacks import DOWN, SCALE, UP

Shapes = Mapping[str, tuple[int, ...]]
HIDDEN, CHUNK_VECTOR = 64, 16  # of the network that writes chunks; numbers that tell chunks apart


class Bias(keras.layers.Layer):
    """Writes a bias: ``b(z) = b + Q z``.

    Parameters
    ----------
    name : str
        Of the bias in the network whose weights are written.
    shape : tuple of int
        Of the bias, ``(out,)``.
    size : int
        Numbers in a user's vector.
    """

    suffix = ""  # of the name of what is written

    def __init__(self, name: str, shape: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.writes = name + self.suffix
        self.change = _linear(size, shape[0])
        self.built = True

    def call(self, vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """The change ``(users, out)`` for vectors ``(users, size)``."""
        return {self.writes: self.change(vectors)}

    def initialize(self, generator: keras.random.SeedGenerator) -> None:
        """Begin with no change."""
        _fill("zeros", self.change.kernel)


class Scale(Bias):
    """Writes a factor for every column of a matrix: ``W(z) = W diag(1 + G z)``.

    What is written is added to 1, ``(users, in)``.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of the matrix as Keras has it, ``(in, out)``: W is its transpose.
    size : int
    """

    suffix = SCALE


class LowRank(keras.layers.Layer):
    """Writes two narrow matrices, whose product is added: ``W(z) = W + (D(z) U(z))ᵀ`` [1]_.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of the matrix as Keras has it, ``(in, out)``: W is its transpose.
    size : int
    rank : int
        Columns of D, rows of U.

    References
    ----------
    .. [1] Jaech, A. and Ostendorf, M. Low-rank RNN adaptation for context-aware language modeling.
       TACL, 2018.
    """

    def __init__(self, name: str, shape: tuple[int, ...], size: int, rank: int) -> None:
        super().__init__()
        self.writes, self.rank = name, rank
        self.inputs, self.outputs = shape
        self.down = _linear(size, self.inputs * rank, use_bias=True)
        self.up = _linear(size, rank * self.outputs)
        self.built = True

    def call(self, vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """``(users, in, rank)`` and ``(users, rank, out)`` for vectors ``(users, size)``."""
        return {
            self.writes + DOWN: ops.reshape(self.down(vectors), (-1, self.inputs, self.rank)),
            self.writes + UP: ops.reshape(self.up(vectors), (-1, self.rank, self.outputs)),
        }

    def initialize(self, generator: keras.random.SeedGenerator) -> None:
        """Begin with no change: U is zero, so D must not be."""
        normal = keras.initializers.RandomNormal(stddev=self.inputs**-0.5, seed=generator)
        _fill(normal, self.down.bias)
        _fill("zeros", self.down.kernel, self.up.kernel)


class Chunks(keras.layers.Layer):
    """Writes whole matrices, a chunk of their numbers at a time.

    One small network writes every chunk. It reads the user's vector, and a learned vector that
    tells it which chunk is asked for [1]_.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        The matrices, by name, each as Keras has it, ``(in, out)``.
    size : int
    chunk : int
        Numbers in a chunk.

    Notes
    -----
    The numbers of a matrix are those of its transpose, one row after the other: so they stand in
    the same chunks as in PyTorch.

    References
    ----------
    .. [1] von Oswald, J. et al. Continual learning with hypernetworks. ICLR, 2020.
    """

    def __init__(self, shapes: Shapes, size: int, chunk: int) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        count = math.ceil(sum(map(math.prod, shapes.values())) / chunk)
        self.chunks = self.add_weight(name="chunks", shape=(count, CHUNK_VECTOR))
        self.of_user = _linear(size, HIDDEN, use_bias=True)
        self.of_chunk = _linear(CHUNK_VECTOR, HIDDEN)
        self.write = _linear(HIDDEN, chunk)
        self.built = True

    def call(self, vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """Changes of all matrices, ``(users, in, out)`` each, for vectors ``(users, size)``."""
        asked = self.of_user(vectors)[:, None] + self.of_chunk(self.chunks)
        written = self.write(ops.relu(asked))  # (users, chunks, chunk)
        flat = ops.reshape(written, (-1, written.shape[1] * written.shape[2]))
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = tf.split(flat[:, : sum(sizes)], sizes, axis=1)
        return {
            name: ops.transpose(ops.reshape(part, (-1, *shape[::-1])), (0, 2, 1))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def initialize(self, generator: keras.random.SeedGenerator) -> None:
        """Begin with no change: the last layer is zero."""
        _fill(keras.initializers.RandomNormal(stddev=1.0, seed=generator), self.chunks)
        glorot = keras.initializers.GlorotUniform(generator)
        _fill(glorot, self.of_user.kernel, self.of_chunk.kernel)
        _fill("zeros", self.of_user.bias, self.write.kernel)


def _linear(inputs: int, outputs: int, use_bias: bool = False) -> keras.layers.Dense:
    """A linear layer that has its weights."""
    layer = keras.layers.Dense(outputs, use_bias=use_bias)
    layer.build((None, inputs))
    return layer


def _fill(recipe: Any, *weights: keras.Variable) -> None:
    """Give weights the numbers of a Keras initializer, drawn one weight after the other."""
    for weight in weights:
        weight.assign(keras.initializers.get(recipe)(weight.shape))


__all__ = ["Bias", "Chunks", "LowRank", "Scale"]
