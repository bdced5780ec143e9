"""A network in Keras that reads what a user wrote: pooled, counted, pointed at."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.settings import BaseModelConfig
from companion.users.cutting import Text
from companion.users.memories import Memory
from companion.users.methods import (
    FIRST_COUNT_WEIGHT,
    FIRST_SPREAD,
    FIRST_TRUST,
    STORED,
    UserMemoryConfig,
)

from .base_model import BaseModel, State

FARTHEST = 50.0  # squared distance: beyond, numbers become so small that processors slow down
TINY = 1e-30  # below any probability: what has none keeps a finite logarithm


class Read(NamedTuple):
    """Text as the network has read it, a row for each position where a word comes."""

    hidden: tf.Tensor  # (positions, hidden): the state that the word came in
    asked: tf.Tensor  # (positions, key + 1): what it asks of a memory
    keys: tf.Tensor  # (positions, key)
    targets: tf.Tensor  # (positions,): the word
    message: tf.Tensor  # (positions,): in which message
    history: tf.Tensor  # (messages,): in which history
    lengths: tf.Tensor  # (messages,): positions
    bounds: tf.Tensor  # (histories + 1,): where each history begins


class Sums(NamedTuple):
    """One user's memory, as far as a later message only adds to it."""

    keys: tf.Tensor  # (positions, key)
    squares: tf.Tensor  # (positions,): of the keys
    tokens: tf.Tensor  # (positions,)
    values: tf.Tensor  # (size,): the sum of what is pooled, float64
    counts: tf.Tensor  # (word,)


class Opened(NamedTuple):
    """One user's memory and vector, made ready to predict from."""

    sums: Sums
    scale: tf.Tensor  # (hidden,): times the last hidden state
    shift: tf.Tensor  # (hidden,): added to it
    bias: tf.Tensor  # (word,): added to the logits
    vector: tf.Tensor | None  # (vector,)


class MemoryNetwork(BaseModel):
    """The base model's network, which also reads what was remembered of whoever is typing.

    Of every remembered position *i* it knows the word ``y_i`` that came and a key ``k_i = W h_i``
    of the hidden state that it came in.

    - *Pooled*: a small network makes a value of each key and word; a vector made of their mean
      scales and shifts the last hidden state [1]_ and adds a bias to the words, as a user's vector
      does.
    - *Counts*: ``a_w * log(1 + c_w / s_w)`` is added to the logit of each word, where ``c_w`` says
      how often the user wrote it; ``a`` and ``s`` are learned.
    - *Pointer* [2]_ [3]_: ``n_i = exp(-|W h - k_i|^2 - g h)`` says how near the present state is to
      each position, in units of how much the network trusts itself. A word has the probability
      ``(sum of n_i where y_i is the word + p) / (sum of n_i + 1)``, where ``p`` is what the network
      expects: the more and the nearer the matches, the more they count.

    Beside the memory there may be a learned vector of the user, with a prediction of its own from
    the same recurrent layers. The two are mixed in fixed shares, and each has its own loss in
    training: a vector has seen every message that it is trained on, while the memory must do
    without the one that it predicts. What mixed them by their success there would trust the vector
    alone.

    Parameters
    ----------
    vocabulary_size : int
    config : UserMemoryConfig
    base : BaseModelConfig
    seed : int

    References
    ----------
    .. [1] Perez, E. et al. FiLM: Visual reasoning with a general conditioning layer. AAAI, 2018.
    .. [2] Grave, E. et al. Improving neural language models with a continuous cache. ICLR, 2017.
    .. [3] Merity, S. et al. Pointer sentinel mixture models. ICLR, 2017.
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: UserMemoryConfig = UserMemoryConfig(),
        base: BaseModelConfig = BaseModelConfig(),
        seed: int = 0,
    ) -> None:
        self.reading, self.seed = config, seed
        super().__init__(vocabulary_size, base, seed)

    def build(self, input_shape: Any = None) -> None:
        """The base model's weights, and those of each way of reading."""
        super().build()
        reading, hidden = self.reading, self.config.hidden
        self.readers: dict[str, keras.layers.Layer] = {}
        self.numbers: dict[str, keras.Variable] = {}
        glorot = keras.initializers.GlorotUniform(keras.random.SeedGenerator(self.seed))
        if reading.keeps_keys:
            ask = keras.layers.Dense(reading.key + 1, kernel_initializer=glorot)
            self._reader("ask", hidden, ask)
            kernel, bias = self.readers["ask"].weights
            kernel.assign(FIRST_SPREAD * kernel)
            bias.assign(np.r_[np.zeros(reading.key), FIRST_TRUST])
        if "pooled" in reading.ways:
            size, inputs = reading.size, reading.key + self.config.embedding
            self._reader("value", inputs, *_units(size, glorot), *_units(size, glorot))
            dropout = keras.layers.Dropout(reading.dropout, seed=self.seed)
            self._reader("pool", size + 1, *_units(size, glorot), dropout)
            self._reader("film", size, _linear(2 * hidden))
            self._reader("guide_bias", size, _linear(self.vocabulary_size))
        if "counts" in reading.ways:
            self._number("count_weight", self.vocabulary_size, FIRST_COUNT_WEIGHT)
            self._number("count_scale", self.vocabulary_size, 0.0)
        if reading.embedding:
            self._reader("vector_film", reading.embedding, _linear(2 * hidden))
            self._reader("vector_bias", reading.embedding, _linear(self.vocabulary_size))

    def read(self, text: Text) -> Read:
        """Every message read once, as the base model reads it."""
        text = Text(*map(ops.convert_to_tensor, arrays_of(text)))
        hidden = tf.boolean_mask(self._states(text.inputs), text.inside)  # (positions, hidden)
        asked = self.asked(hidden)
        return Read(
            hidden,
            asked,
            asked[:, :-1],
            text.targets,
            text.message,
            text.history,
            ops.sum(ops.cast(text.inside, "int64"), axis=1),
            text.bounds,
        )

    def log_likelihood(self, said: Read, known: Read) -> tf.Tensor:
        """Log-probability of each word said, where so much is known, ``(positions,)``.

        Parameters
        ----------
        said : Read
            What is predicted.
        known : Read
            What is remembered, as many histories. Where it is `said` itself, and the settings do
            not say otherwise, each message is left out of what may be read to predict it.
        """
        left_out = said is known and self.reading.leave_out
        film, bias = (
            None if each is None else tf.gather(each, said.message)
            for each in self._recalled(said, known, left_out)
        )
        found = log_prob(self.words(said.hidden, film, bias), said.targets)
        return self._pointed(found, said, known, left_out) if self.points else found

    def guided_likelihood(
        self, hidden: tf.Tensor, vectors: tf.Tensor, targets: tf.Tensor
    ) -> tf.Tensor:
        """Log-probability of each target by the side that reads vectors, ``(positions,)``."""
        return log_prob(self.guided(hidden, vectors), targets)

    def asked(self, hidden: tf.Tensor) -> tf.Tensor:
        """What states ask of a memory, ``(..., key + 1)``: a key, and their trust in themselves.

        Nothing, where nobody looks at keys: a single zero.
        """
        if self.reading.keeps_keys:
            return self.readers["ask"](hidden)
        return ops.zeros_like(hidden[..., :1])

    def values(self, keys: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """What is pooled of each remembered position, ``(positions, size)``."""
        return self.readers["value"](ops.concatenate([keys, self.embedding(tokens)], axis=-1))

    def guide_of(self, summed: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """The pooled vector ``(rows, size)`` from sums of values ``(rows, size)``."""
        mean = summed / ops.maximum(positions, 1)[:, None]
        amount = ops.log1p(positions)[:, None] / 5
        return self.readers["pool"](ops.concatenate([mean, amount], axis=-1))

    def bias_of(self, counts: tf.Tensor) -> tf.Tensor:
        """What is added to the logits, ``(rows, word)``, for so many uses of each word."""
        scaled = counts * ops.exp(-self.numbers["count_scale"])
        return self.numbers["count_weight"] * ops.log1p(scaled)

    def nearness(
        self, asked: tf.Tensor, keys: tf.Tensor, squares: tf.Tensor | None = None
    ) -> tf.Tensor:
        """How near states are to remembered positions, ``(states, positions)``, above 0.

        Parameters
        ----------
        asked : tf.Tensor
            What :meth:`asked` gives for the states, ``(states, key + 1)``.
        keys : tf.Tensor
            Of the positions, ``(positions, key)``.
        squares : tf.Tensor, optional
            What :func:`squares_of` gives for `keys`, where it is known already.
        """
        squares = squares_of(keys) if squares is None else squares
        queries, trust = asked[:, :-1], asked[:, -1:]
        products = tf.matmul(2 * queries, keys, transpose_b=True)
        exponent = products - squares - (squares_of(queries)[:, None] + trust)
        return ops.exp(ops.maximum(exponent, -FARTHEST))

    def words(self, hidden: tf.Tensor, film: tf.Tensor | None, bias: tf.Tensor | None) -> tf.Tensor:
        """Logits ``(positions, word)`` of states ``(positions, hidden)``; a row of `film` each."""
        if film is not None:
            scale, shift = ops.split(film, 2, axis=-1)
            hidden = hidden * (1 + scale) + shift
        logits = self._logits(self.dropouts[-1](hidden))
        return logits if bias is None else logits + bias

    def guided(self, hidden: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Logits ``(positions, word)`` of the side that reads vectors ``(positions, vector)``."""
        film, bias = (self.readers[name](vectors) for name in ("vector_film", "vector_bias"))
        return self.words(hidden, film, bias)

    def mixed(self, memory: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of both sides, mixed."""
        share = self.reading.share
        return ops.logaddexp(memory + math.log1p(-share), vector + math.log(share))

    @property
    def points(self) -> bool:
        """Whether there is a pointer."""
        return "pointer" in self.reading.ways

    def summed(self, memory: Memory, before: Sums | None = None) -> Sums:
        """Sums over a memory, and over what came before it: they cost what `memory` is long."""
        keys, tokens = memory.keys.astype(np.float32), memory.tokens.astype(np.int64)
        return self._summed(keys, tokens, before)

    def opened(self, sums: Sums, vector: np.ndarray | None = None) -> Opened:
        """What sums say of their user, made ready to predict from; beside them their vector."""
        own = None
        if vector is not None and self.reading.embedding:
            own = ops.convert_to_tensor(vector, "float32")
        scale, shift, bias = self._said_of(sums)
        return Opened(sums, scale, shift, bias, own)

    def prediction(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        """Log-probabilities ``(positions, word)`` of states ``(positions, hidden)`` of one user.

        Dropout has no part in it.
        """
        logits = self._logits(hidden * opened.scale + opened.shift) + opened.bias
        if self.points:
            near = self.nearness(self.asked(hidden), opened.sums.keys, opened.sums.squares)
            by_word = _grouped(ops.transpose(near), opened.sums.tokens, self.vocabulary_size)
            found = ops.log(ops.softmax(logits) + ops.transpose(by_word) + TINY)
            found -= ops.log1p(ops.sum(near, axis=1, keepdims=True))
        else:
            found = ops.log_softmax(logits)
        if opened.vector is None:
            return found
        return self.mixed(found, ops.log_softmax(self.guided(hidden, opened.vector[None])))

    def attended(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        """Shares of the memory's prediction, ``(positions, remembered + 1)``; its own is last."""
        near = self.nearness(self.asked(hidden), opened.sums.keys, opened.sums.squares)
        weights = ops.pad(near, ((0, 0), (0, 1)), constant_values=1.0)
        return weights / ops.sum(weights, axis=1, keepdims=True)

    # Compiled here and not in UserMemory: with_memories gives many of those on one network

    @tf.function(reduce_retracing=True)
    def _read(self, text: tuple[tf.Tensor, ...]) -> Read:
        return self.read(Text(*text))

    @tf.function(reduce_retracing=True)
    def _read_alone(self, text: tuple[tf.Tensor, ...]) -> tuple[Read, tf.Tensor]:
        """A text, and the log-probability of each word in it, the other messages being known."""
        read = self.read(Text(*text))
        return read, self.log_likelihood(read, read)

    @tf.function(reduce_retracing=True)
    def _hidden(self, tokens: tf.Tensor) -> tf.Tensor:
        return self._states(tokens)

    @tf.function(reduce_retracing=True)
    def _remembered(self, tokens: tf.Tensor, before: Sums | None) -> tuple[tf.Tensor, Sums | None]:
        """Keys of a message ``(1, time)``, its end among the tokens, and sums that have it."""
        asked = self.asked(self._states(tokens[:, :-1]))[0]  # (positions, key + 1)
        keys = ops.cast(asked[:, :-1], STORED)
        if before is None:
            return keys, None
        words = ops.cast(tokens[0, 1:], "int64")
        return keys, self._with_sums(ops.cast(keys, "float32"), words, before)

    @tf.function(reduce_retracing=True)
    def _advance_once(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        return self._advance(self.embedding(tokens), state)

    @tf.function(reduce_retracing=True)
    def _step_opened(
        self, tokens: tf.Tensor, state: State, opened: Opened
    ) -> tuple[tf.Tensor, State]:
        hidden, state = self._advance(self.embedding(tokens), state)
        return self.prediction(hidden, opened), state

    @tf.function(reduce_retracing=True)
    def _attended(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        return self.attended(hidden, opened)

    @tf.function(reduce_retracing=True)
    def _prediction(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        return self.prediction(hidden, opened)

    @tf.function(reduce_retracing=True)
    def _summed(self, keys: tf.Tensor, tokens: tf.Tensor, before: Sums | None) -> Sums:
        return self._with_sums(keys, tokens, before)

    def _with_sums(self, keys: tf.Tensor, tokens: tf.Tensor, before: Sums | None) -> Sums:
        """Sums over some positions, and over what came before them."""
        values = ops.zeros(self.reading.size, "float64")
        counts = ops.zeros(self.vocabulary_size)
        if "pooled" in self.reading.ways:
            values = ops.sum(ops.cast(self.values(keys, tokens), "float64"), axis=0)
        if "counts" in self.reading.ways:
            counts = _grouped(ops.ones_like(tokens, "float32"), tokens, self.vocabulary_size)
        found = Sums(keys, squares_of(keys), tokens, values, counts)
        if before is None:
            return found
        rows = zip(before[:3], found[:3], strict=True)
        keys, squares, tokens = (ops.concatenate(both) for both in rows)
        return Sums(keys, squares, tokens, before.values + values, before.counts + counts)

    @tf.function(reduce_retracing=True)
    def _said_of(self, sums: Sums) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scale and shift of the last hidden state, and what is added to the logits."""
        scale, shift, bias = ops.ones(1), ops.zeros(1), ops.zeros(self.vocabulary_size)
        if "pooled" in self.reading.ways:
            positions = ops.cast(ops.shape(sums.tokens)[:1], "float32")
            guide = self.guide_of(ops.cast(sums.values, "float32")[None], positions)
            scale, shift = ops.split(self.readers["film"](guide)[0], 2)
            scale, bias = 1 + scale, self.readers["guide_bias"](guide)[0]
        if "counts" in self.reading.ways:
            bias += self.bias_of(sums.counts)
        return scale, shift, bias

    def _states(self, tokens: tf.Tensor) -> tf.Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        hidden = self.embedding(tokens)  # (batch, time, embedding)
        for dropout, layer in zip(self.dropouts, self.recurrent, strict=False):
            hidden = layer(dropout(hidden))  # (batch, time, hidden)
        return hidden

    def _recalled(
        self, said: Read, known: Read, left_out: bool
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Scales and shifts, and the bias of the words, for each message said."""
        messages, histories = (ops.shape(each)[0] for each in (known.lengths, known.bounds[1:]))
        film = bias = None

        def of_others(own: tf.Tensor) -> tf.Tensor:
            """Sums over the history of each message said, from those of each message known."""
            whole = tf.gather(_grouped(own, known.history, histories), said.history)
            return whole - own if left_out else whole

        if "pooled" in self.reading.ways:
            values = self.values(known.keys, known.targets)
            summed = of_others(_grouped(values, known.message, messages))
            guide = self.guide_of(summed, of_others(ops.cast(known.lengths, values.dtype)))
            film, bias = self.readers["film"](guide), self.readers["guide_bias"](guide)
        if "counts" in self.reading.ways:
            places = ops.stack([known.message, known.targets], axis=1)
            ones = ops.ones_like(known.targets, "float32")
            own = tf.scatter_nd(places, ones, (messages, self.vocabulary_size))
            counted = self.bias_of(of_others(own))
            bias = counted if bias is None else bias + counted
        return film, bias

    def _pointed(self, log_probs: tf.Tensor, said: Read, known: Read, left_out: bool) -> tf.Tensor:
        """The network's own log-probabilities of the targets, mixed with what is pointed at."""

        def of_one(parts: tuple[Any, Any]) -> tf.Tensor:
            """Nearness of a history's positions, summed: of all, and of those of the same word."""
            (asked, words, message), (keys, known_words, known_message) = parts
            nearness = self.nearness(asked, keys)  # (said, known)
            if left_out:
                others = ops.not_equal(message[:, None], known_message)
                nearness *= ops.cast(others, nearness.dtype)
            same = ops.cast(ops.equal(words[:, None], known_words), nearness.dtype)
            return ops.stack([ops.sum(nearness, axis=1), ops.sum(nearness * same, axis=1)], axis=1)

        parts = tuple(
            tuple(tf.RaggedTensor.from_row_splits(row, read.bounds, validate=False) for row in rows)
            for read, rows in (
                (said, (said.asked, said.targets, said.message)),
                (known, (known.keys, known.targets, known.message)),
            )
        )
        sums = tf.map_fn(
            of_one, parts, fn_output_signature=tf.RaggedTensorSpec((None, 2), ragged_rank=0)
        )
        total, match = ops.unstack(sums.values, 2, axis=1)
        return ops.log(match + ops.exp(log_probs) + TINY) - ops.log1p(total)

    def _reader(self, name: str, inputs: int, *layers: keras.layers.Layer) -> None:
        """Make layers that read, one after the other, with their weights."""
        self.readers[name] = keras.Sequential(layers) if len(layers) > 1 else layers[0]
        self.readers[name].build((None, inputs))

    def _number(self, name: str, size: int, first: float) -> None:
        """Make numbers that are learned."""
        constant = keras.initializers.Constant(first)
        self.numbers[name] = self.add_weight(name=name, shape=(size,), initializer=constant)

    def _named(self) -> dict[str, keras.Variable]:
        named = super()._named()
        for name, reader in self.readers.items():
            layers = [(name, reader)]
            if isinstance(reader, keras.Sequential):
                layers = [(f"{name}/{place}", layer) for place, layer in enumerate(reader.layers)]
            named |= {
                f"{path}/{w.name}": w
                for path, layer in layers
                for w in layer.weights
                if w.trainable
            }
        return named | self.numbers


def squares_of(keys: tf.Tensor) -> tf.Tensor:
    """Squared length of each key, ``(positions,)``."""
    return ops.sum(ops.square(keys), axis=-1)


def arrays_of(text: Text) -> tuple[Any, ...]:
    """What a text holds, to be handed to TensorFlow: ``Text(*arrays)`` is the same text."""
    return tuple(getattr(text, field.name) for field in fields(Text))


def log_prob(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Log-probability of each target, ``(positions,)``, from logits ``(positions, word)``."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)


def _grouped(rows: tf.Tensor, groups: tf.Tensor, count: int) -> tf.Tensor:
    """Sums of the rows of each group, ``(count, ...)``."""
    return tf.math.unsorted_segment_sum(rows, groups, count)


def _linear(outputs: int, recipe: Any = "zeros") -> keras.layers.Dense:
    """A layer without bias; zero, to change nothing at first, where no recipe is given."""
    return keras.layers.Dense(outputs, use_bias=False, kernel_initializer=recipe)


def _units(outputs: int, recipe: Any) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """A layer and its tanh."""
    dense = keras.layers.Dense(outputs, kernel_initializer=recipe)
    return dense, keras.layers.Activation("tanh")


__all__ = ["MemoryNetwork", "Opened", "Read", "Sums"]
