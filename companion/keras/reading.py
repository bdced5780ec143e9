"""A network in Keras that reads what a user wrote: pooled, counted, pointed at."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.settings import BaseModelConfig
from companion.users.cutting import Text
from companion.users.memories import Memory
from companion.users.methods import FIRST_COUNT_WEIGHT, UserMemoryConfig

from .base_model import BaseModel, State

GUIDES = "vector_film", "vector_bias"  # what reads the learned vector
TRUST = 32  # units of the network that says how much it trusts itself
TINY = 1e-30  # below any probability: what has none keeps a finite logarithm


class Read(NamedTuple):
    """Text as the network has read it, a row for each position where a word comes."""

    hidden: tf.Tensor  # (positions, hidden): the state that the word came in
    keys: tf.Tensor  # (positions, key)
    targets: tf.Tensor  # (positions,): the word
    message: tf.Tensor  # (positions,): in which message
    history: tf.Tensor  # (messages,): in which history
    lengths: tf.Tensor  # (messages,): positions
    bounds: tf.Tensor  # (histories + 1,): where each history begins


class Opened(NamedTuple):
    """One user's memory and vector, made ready to predict from."""

    keys: tf.Tensor  # (positions, key)
    tokens: tf.Tensor  # (positions,)
    pooled: tf.Tensor  # (size,): the sum of all values, float64
    counts: tf.Tensor  # (word,)
    film: tf.Tensor | None  # (2 * hidden,)
    bias: tf.Tensor | None  # (word,)
    vector: tf.Tensor | None  # (vector,)


class MemoryNetwork(BaseModel):
    """The base model's network, which also reads what was remembered of whoever is typing.

    Of every remembered position *i* it knows the word ``y_i`` that came and a key
    ``k_i = W h_i``, of the hidden state that it came in.

    - *Pooled*: a small network makes a value of each key and word; their mean scales and shifts
      the last hidden state [1]_, as a user's vector does.
    - *Counts*: ``a_w * log(1 + c_w / s_w)`` is added to the logit of each word, where ``c_w`` says
      how often the user wrote it; ``a`` and ``s`` are learned.
    - *Pointer* [2]_ [3]_: ``n_i = exp(b - |W h - k_i|^2)`` says how near the present state is to
      each position, ``o = exp(g(h))`` how much the network trusts itself. A word has the
      probability ``(sum of n_i where y_i is the word + o * p) / (sum of n_i + o)``, where ``p`` is
      what the network expects: the more and the nearer the matches, the more they count.

    Beside the memory there may be a learned vector of the user, with a prediction of its own from
    the same recurrent layers; a gate ``sigmoid(u h)`` mixes the two.

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
            self._reader("key", hidden, _linear(reading.key, glorot))
        if "pooled" in reading.ways:
            size, inputs = reading.size, reading.key + self.config.embedding
            self._reader("value", inputs, *_units(size, glorot), *_units(size, glorot))
            dropout = keras.layers.Dropout(reading.dropout, seed=self.seed)
            self._reader("pool", size + 1, *_units(size, glorot), dropout)
            self._reader("film", size, _linear(2 * hidden))
        if "counts" in reading.ways:
            self._number("count_weight", self.vocabulary_size, FIRST_COUNT_WEIGHT)
            self._number("count_scale", self.vocabulary_size, 0.0)
        if "pointer" in reading.ways:
            self._number("level", 1, 0.0)
            trust = *_units(TRUST, glorot), keras.layers.Dense(1, kernel_initializer=glorot)
            self._reader("trust", hidden, *trust)
        if reading.embedding:
            for name, outputs in zip(GUIDES, (2 * hidden, self.vocabulary_size), strict=True):
                self._reader(name, reading.embedding, _linear(outputs))
            self._reader("gate", hidden, keras.layers.Dense(1, kernel_initializer="zeros"))

    def read(self, text: Text) -> Read:
        """Every message read once, as the base model reads it."""
        text = Text(*map(ops.convert_to_tensor, arrays_of(text)))
        hidden = tf.boolean_mask(self._states(text.inputs), text.inside)  # (positions, hidden)
        return Read(
            hidden,
            self.keys_of(hidden),
            text.targets,
            text.message,
            text.history,
            ops.sum(ops.cast(text.inside, "int64"), axis=1),
            text.bounds,
        )

    def log_likelihood(
        self, said: Read, known: Read, vectors: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Log-probability of each word said, where so much is known, ``(positions,)``.

        Parameters
        ----------
        said : Read
            What is predicted.
        known : Read
            What is remembered, as many histories. Where it is `said` itself, and the settings do
            not say otherwise, each message is left out of what may be read to predict it.
        vectors : tf.Tensor, optional
            Of the user of each message said, ``(messages, vector)``.
        """
        left_out = said is known and self.reading.leave_out
        film, bias = (
            None if each is None else tf.gather(each, said.message)
            for each in self._recalled(said, known, left_out)
        )
        found = log_prob(self.words(said.hidden, film, bias), said.targets)
        if "pointer" in self.reading.ways:
            found = self._pointed(found, said, known, left_out)
        if vectors is None:
            return found
        guided = log_prob(self._guided_by(said.hidden, vectors, said.message), said.targets)
        return self.mixed(said.hidden, found[:, None], guided[:, None])[:, 0]

    def keys_of(self, hidden: tf.Tensor) -> tf.Tensor:
        """What the pointer compares, ``(..., key)``, of hidden states ``(..., hidden)``."""
        return self.readers["key"](hidden) if self.reading.keeps_keys else hidden[..., :0]

    def values(self, keys: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """What is pooled of each remembered position, ``(positions, size)``."""
        return self.readers["value"](ops.concatenate([keys, self.embedding(tokens)], axis=-1))

    def film_of(self, summed: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """Scales and shifts ``(rows, 2 * hidden)`` from sums of values ``(rows, size)``."""
        mean = summed / ops.maximum(positions, 1)[:, None]
        amount = ops.log1p(positions)[:, None] / 5
        return self.readers["film"](self.readers["pool"](ops.concatenate([mean, amount], axis=-1)))

    def bias_of(self, counts: tf.Tensor) -> tf.Tensor:
        """What is added to the logits, ``(rows, word)``, for so many uses of each word."""
        scaled = counts * ops.exp(-self.numbers["count_scale"])
        return self.numbers["count_weight"] * ops.log1p(scaled)

    def nearness(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """How near states are to remembered positions, ``(queries, positions)``, above 0."""
        squares = [ops.sum(ops.square(each), axis=-1) for each in (queries, keys)]
        products = tf.matmul(queries, keys, transpose_b=True)
        distance = squares[0][:, None] + squares[1] - 2 * products
        return ops.exp(self.numbers["level"] - ops.maximum(distance, 0))

    def own_weight(self, hidden: tf.Tensor) -> tf.Tensor:
        """How much the network trusts itself, ``(...,)``, in units of nearness."""
        return ops.exp(self.readers["trust"](hidden)[..., 0])

    def words(self, hidden: tf.Tensor, film: tf.Tensor | None, bias: tf.Tensor | None) -> tf.Tensor:
        """Logits ``(positions, word)`` of states ``(positions, hidden)``; a row of `film` each."""
        if film is not None:
            scale, shift = ops.split(film, 2, axis=-1)
            hidden = hidden * (1 + scale) + shift
        logits = self._logits(self.dropouts[-1](hidden))
        return logits if bias is None else logits + bias

    def guided(self, hidden: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Logits ``(positions, word)`` of the side that reads vectors ``(positions, vector)``."""
        film, bias = (self.readers[name](vectors) for name in GUIDES)
        return self.words(hidden, film, bias)

    def mixed(self, hidden: tf.Tensor, memory: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of both sides ``(positions, ...)``, mixed position by position."""
        gate = self.readers["gate"](hidden)  # (positions, 1)
        return ops.logaddexp(ops.log_sigmoid(gate) + memory, ops.log_sigmoid(-gate) + vector)

    def open(self, memory: Memory, vector: tf.Tensor | None = None) -> Opened:
        """A user's memory made ready to predict from: one small pass over what is kept."""
        empty = Opened(
            keys=ops.zeros((0, memory.keys.shape[1])),
            tokens=ops.zeros(0, dtype="int64"),
            pooled=ops.zeros(self.reading.size, dtype="float64"),
            counts=ops.zeros(self.vocabulary_size),
            film=None,
            bias=None,
            vector=vector,
        )
        return self.opened_further(empty, memory)

    def opened_further(self, before: Opened, more: Memory) -> Opened:
        """What was opened before, and these later messages: what it costs depends on them only."""
        keys = ops.convert_to_tensor(more.keys.astype(np.float32))
        return self._opened_further(before, keys, ops.convert_to_tensor(more.tokens, "int64"))

    def prediction(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        """Log-probabilities ``(positions, word)`` of states ``(positions, hidden)`` of one user."""
        found = ops.log_softmax(self.words(hidden, opened.film, opened.bias))
        if "pointer" in self.reading.ways:
            near = self.nearness(self.keys_of(hidden), opened.keys)  # (positions, remembered)
            own = self.own_weight(hidden)[:, None]
            by_word = _sums(ops.transpose(near), opened.tokens, self.vocabulary_size)
            found = ops.log(ops.transpose(by_word) + ops.exp(found) * own + TINY)
            found -= ops.log(ops.sum(near, axis=1, keepdims=True) + own)
        if opened.vector is None:
            return found
        guided = ops.log_softmax(self.guided(hidden, opened.vector[None]))
        return self.mixed(hidden, found, guided)

    def attended(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        """Shares of the memory's prediction, ``(positions, remembered + 1)``; its own is last."""
        near = self.nearness(self.keys_of(hidden), opened.keys)
        weights = ops.concatenate([near, self.own_weight(hidden)[:, None]], axis=1)
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
    def _gradient(
        self, batch: Batch, typical: tf.Tensor, spread: tf.Tensor, offsets: tf.Tensor
    ) -> tf.Tensor:
        """Gradient of a batch's summed loss by the offsets ``(users, size)``, those only."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(offsets)
            loss = batch.loss(self, typical + spread * offsets)
        return tf.convert_to_tensor(tape.gradient(loss, offsets))

    @tf.function(reduce_retracing=True)
    def _hidden(self, tokens: tf.Tensor) -> tf.Tensor:
        return self._states(tokens)

    @tf.function(reduce_retracing=True)
    def _keys(self, tokens: tf.Tensor) -> tf.Tensor:
        return self.keys_of(self._states(tokens))

    @tf.function(reduce_retracing=True)
    def _advance_once(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        return self._advance(self.embedding(tokens), state)

    @tf.function(reduce_retracing=True)
    def _attended(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        return self.attended(hidden, opened)

    @tf.function(reduce_retracing=True)
    def _prediction(self, hidden: tf.Tensor, opened: Opened) -> tf.Tensor:
        return self.prediction(hidden, opened)

    @tf.function(reduce_retracing=True)
    def _opened_further(self, before: Opened, keys: tf.Tensor, tokens: tf.Tensor) -> Opened:
        pooled, counts, film, bias = before.pooled, before.counts, None, None
        if "pooled" in self.reading.ways:
            pooled += ops.sum(ops.cast(self.values(keys, tokens), "float64"), axis=0)
            positions = ops.cast(ops.shape(before.tokens)[0] + ops.shape(tokens)[0], "float32")
            film = self.film_of(ops.cast(pooled, "float32")[None], positions[None])[0]
        if "counts" in self.reading.ways:
            counts += _sums(ops.ones_like(tokens, "float32"), tokens, self.vocabulary_size)
            bias = self.bias_of(counts)
        keys, tokens = (
            ops.concatenate(both) for both in ((before.keys, keys), (before.tokens, tokens))
        )
        return Opened(keys, tokens, pooled, counts, film, bias, before.vector)

    def _states(self, tokens: tf.Tensor) -> tf.Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        hidden = self.embedding(tokens)  # (batch, time, embedding)
        for dropout, layer in zip(self.dropouts, self.recurrent, strict=False):
            hidden = layer(dropout(hidden))  # (batch, time, hidden)
        return hidden

    def _guided_by(self, hidden: tf.Tensor, vectors: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The same, where each position is read with one of a few vectors ``(rows, vector)``."""
        film, bias = (tf.gather(self.readers[name](vectors), rows) for name in GUIDES)
        return self.words(hidden, film, bias)

    def _recalled(
        self, said: Read, known: Read, left_out: bool
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Scales and shifts, and the bias of the words, for each message said."""
        messages, histories = (ops.shape(each)[0] for each in (known.lengths, known.bounds[1:]))
        film = bias = None

        def of_others(own: tf.Tensor) -> tf.Tensor:
            """Sums over the history of each message said, from those of each message known."""
            whole = tf.gather(_sums(own, known.history, histories), said.history)
            return whole - own if left_out else whole

        if "pooled" in self.reading.ways:
            values = self.values(known.keys, known.targets)
            summed = of_others(_sums(values, known.message, messages))
            film = self.film_of(summed, of_others(ops.cast(known.lengths, values.dtype)))
        if "counts" in self.reading.ways:
            places = ops.stack([known.message, known.targets], axis=1)
            ones = ops.ones_like(known.targets, "float32")
            own = tf.scatter_nd(places, ones, (messages, self.vocabulary_size))
            bias = self.bias_of(of_others(own))
        return film, bias

    def _pointed(self, log_probs: tf.Tensor, said: Read, known: Read, left_out: bool) -> tf.Tensor:
        """The network's own log-probabilities of the targets, mixed with what is pointed at."""

        def of_one(parts: tuple[Any, Any]) -> tf.Tensor:
            """Nearness of a history's positions, summed: of all, and of those of the same word."""
            (queries, words, message), (keys, known_words, known_message) = parts
            nearness = self.nearness(queries, keys)  # (said, known)
            if left_out:
                others = ops.not_equal(message[:, None], known_message)
                nearness *= ops.cast(others, nearness.dtype)
            same = ops.cast(ops.equal(words[:, None], known_words), nearness.dtype)
            return ops.stack([ops.sum(nearness, axis=1), ops.sum(nearness * same, axis=1)], axis=1)

        parts = [
            tuple(
                tf.RaggedTensor.from_row_splits(part, read.bounds, validate=False)
                for part in (read.keys, read.targets, read.message)
            )
            for read in (said, known)
        ]
        sums = tf.map_fn(
            of_one, tuple(parts), fn_output_signature=tf.RaggedTensorSpec((None, 2), ragged_rank=0)
        )
        total, match = ops.unstack(sums.values, 2, axis=1)
        own = self.own_weight(said.hidden)
        return ops.log(match + own * ops.exp(log_probs) + TINY) - ops.log(total + own)

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


class Batch(NamedTuple):
    """Some words to predict, and what the memory says of them."""

    hidden: tf.Tensor  # (positions, hidden)
    targets: tf.Tensor  # (positions,)
    rows: tf.Tensor  # (positions,): of the user
    memory: tf.Tensor  # (positions,): log-probabilities

    def loss(self, network: MemoryNetwork, vectors: tf.Tensor) -> tf.Tensor:
        """Summed loss, nats, with these vectors ``(users, size)``."""
        logits = network._guided_by(self.hidden, vectors, self.rows)
        guided = log_prob(logits, self.targets)
        return -ops.sum(network.mixed(self.hidden, self.memory[:, None], guided[:, None]))


def arrays_of(text: Text) -> tuple[Any, ...]:
    """What a text holds, to be handed to TensorFlow: ``Text(*arrays)`` is the same text."""
    return tuple(getattr(text, field.name) for field in fields(Text))


def log_prob(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Log-probability of each target, ``(positions,)``, from logits ``(positions, word)``."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)


def _sums(rows: tf.Tensor, groups: tf.Tensor, count: int) -> tf.Tensor:
    """Sums of the rows of each group, ``(count, ...)``."""
    return tf.math.unsorted_segment_sum(rows, groups, count)


def _linear(outputs: int, recipe: Any = "zeros") -> keras.layers.Dense:
    """A layer without bias; zero, to change nothing at first, where no recipe is given."""
    return keras.layers.Dense(outputs, use_bias=False, kernel_initializer=recipe)


def _units(outputs: int, recipe: Any) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """A layer and its tanh."""
    dense = keras.layers.Dense(outputs, kernel_initializer=recipe)
    return dense, keras.layers.Activation("tanh")


__all__ = ["MemoryNetwork", "Opened", "Read"]
