"""The base model in Keras: one recurrent network for everybody."""

from __future__ import annotations

import sys
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.checks import check_ids, check_users
from companion.corpora import Split
from companion.history import History
from companion.keeping import files
from companion.settings import EMBEDDING_RANGE, BaseModelConfig, TrainingConfig
from companion.users.lifecycle import Life
from companion.users.models import LanguageModel

from . import training as training_loop

State = tuple[tuple[tf.Tensor, ...], ...]


class BaseModel(LanguageModel, keras.Model):
    """Next-word prediction that knows no user: embedding, LSTM or GRU, output layer.

    What its methods take and give stands in :class:`companion.users.models.LanguageModel`.

    Parameters
    ----------
    vocabulary_size : int
        Words the model reads and predicts, special tokens included.
    config : BaseModelConfig
    seed : int
        Decides the initial weights; the random state of Keras is left alone.

    Notes
    -----
    A Keras LSTM has one bias vector where PyTorch has two that are only ever added. A Keras GRU
    has two, as PyTorch's, as long as ``reset_after`` is true (the default).
    """

    def __init__(
        self, vocabulary_size: int, config: BaseModelConfig = BaseModelConfig(), seed: int = 0
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.config = config
        seeds = keras.random.SeedGenerator(seed)
        self.embedding = _embedding(vocabulary_size, config, seeds)
        self.recurrent = [_recurrent_layer(config, seeds) for _ in range(config.layers)]
        self.dropouts = [
            keras.layers.Dropout(config.dropout, seed=seed + place)
            for place in range(config.layers + 1)
        ]
        self.projection = None
        if config.tied and config.embedding != config.hidden:
            glorot = keras.initializers.GlorotUniform(seeds)
            self.projection = keras.layers.Dense(
                config.embedding, use_bias=False, kernel_initializer=glorot
            )
        self.to_words = _output(self.embedding, config, seeds)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Make the weights at once: they depend on no batch."""
        config = self.config
        self.embedding.build((None, None))
        for place, layer in enumerate(self.recurrent):
            layer.build((None, None, config.hidden if place else self._input_size()))
        if self.projection is not None:
            self.projection.build((None, None, config.hidden))
        self.to_words.build((None, None, config.embedding if config.tied else config.hidden))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits of the next token at every step; no softmax inside.

        Parameters
        ----------
        inputs : tuple of (tokens, users), or tokens alone
            Token ids ``(batch, time)`` int32, and who wrote each message, ``(batch,)`` int32. The
            base model does not look at the users.
        training : bool
            Whether dropout is on.

        Returns
        -------
        tf.Tensor
            ``(batch, time, word)``
        """
        tokens = inputs[0] if isinstance(inputs, tuple | list) else inputs
        hidden = self.embedding(tokens)  # (batch, time, embedding)
        for dropout, layer in zip(self.dropouts, self.recurrent, strict=False):
            hidden = layer(dropout(hidden, training=training))  # (batch, time, hidden)
        return self._logits(self.dropouts[-1](hidden, training=training))

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``."""
        ids = self._tokens(tokens, ndim=2)
        _check_users(users, len(ids))
        return self._log_probs(ids).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> State:
        """The state before any token: zeros, for every layer each ``(batch, hidden)``."""
        zeros = ops.zeros((batch, self.config.hidden))
        parts = 2 if self.config.cell == "lstm" else 1
        return ((zeros,) * parts,) * self.config.layers

    def step(
        self, tokens: np.ndarray, state: State, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Read one token per message, going on from `state`, which is not changed."""
        ids = self._tokens(tokens, ndim=1)
        _check_users(users, len(ids))
        log_probs, state = self._step(ops.convert_to_tensor(ids), state)
        return log_probs.numpy(), state

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def _log_probs(self, tokens: tf.Tensor) -> tf.Tensor:
        return ops.log_softmax(self(tokens, training=False))  # (message, step, word)

    @tf.function(reduce_retracing=True)
    def _step(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        hidden, state = self._advance(self.embedding(tokens), state)  # (batch, hidden)
        return ops.log_softmax(self._logits(hidden)), state  # (batch, word)

    def _advance(self, inputs: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """The last layer's hidden state and all states after one more input, ``(batch, size)``."""
        after = []
        for layer, carried in zip(self.recurrent, state, strict=True):
            inputs, carried = layer.cell(inputs, list(carried))  # (batch, hidden)
            after.append(tuple(carried))
        return inputs, tuple(after)

    def _logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """From the state to every word."""
        if self.projection is not None:
            hidden = self.projection(hidden)  # (..., embedding)
        return self.to_words(hidden)  # (..., word)

    def _input_size(self) -> int:
        """Numbers that the first recurrent layer reads at every step."""
        return self.config.embedding

    def _named(self) -> dict[str, keras.Variable]:
        """Every weight by a name that is the same in every process; a shared one once."""
        weights = {"embedding": self.embedding.embeddings, "output/bias": self.to_words.bias}
        for place, layer in enumerate(self.recurrent):
            weights |= {f"recurrent/{place}/{weight.name}": weight for weight in layer.weights}
        if self.projection is not None:
            weights["projection/kernel"] = self.projection.kernel
        if not self.config.tied:
            weights["output/kernel"] = self.to_words.kernel
        return weights

    def _tokens(self, tokens: np.ndarray, ndim: int) -> np.ndarray:
        """Checked token ids."""
        return check_ids("token", tokens, self.vocabulary_size, ndim).astype(np.int32)


class TiedOutput(keras.layers.Layer):
    """The output layer that uses the embedding matrix again, with a bias of its own."""

    def __init__(self, embedding: keras.layers.Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def build(self, input_shape: Any) -> None:
        """Make the bias."""
        self.bias = self.add_weight(
            name="bias", shape=(self.embedding.input_dim,), initializer="zeros"
        )

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """Logits of every word, ``(..., word)``."""
        return ops.matmul(hidden, ops.transpose(self.embedding.embeddings)) + self.bias


def trained(
    data: Split,
    config: BaseModelConfig = BaseModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    progress: bool | None = None,
) -> tuple[BaseModel, History]:
    """A base model trained on `data`, from the cache folder where it was trained before.

    Parameters
    ----------
    data : Split
    config : BaseModelConfig
    training : TrainingConfig
        Its seed decides the initial weights too.
    progress : bool, optional
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : BaseModel
    history : History
        Of the training, also where that was long ago. An interrupted training is not kept.
    """

    def make() -> tuple[BaseModel, History]:
        model = BaseModel(len(data.vocabulary), config, seed=training.seed)
        return model, training_loop.train(model, data, training, progress)

    name = f"base model keras {config.cell}"
    return LIFE.trained(data, make, name=name, config=config, training=training)


def fingerprint(model: BaseModel) -> str:
    """Sixteen hexadecimal digits that change with any weight."""
    return files.fingerprint(weights_of(model))


def rows_among(known: np.ndarray, users: tf.Tensor | None, messages: int) -> tf.Tensor:
    """Rows of a table of the users `known`, ``(messages,)``; the row after the last is anyone's.

    Whoever is not among them, and everybody where no users are given, is anyone.
    """
    if users is None:
        return ops.full((messages,), len(known), dtype="int32")
    known, users = np.asarray(known, np.int64), tf.cast(users, tf.int64)
    rows = ops.minimum(tf.searchsorted(known, users), len(known) - 1)
    return ops.where(ops.equal(tf.gather(known, rows), users), rows, len(known))


def weights_of(model: BaseModel) -> dict[str, np.ndarray]:
    """Every weight by its name; a shared one once."""
    return {name: weight.numpy() for name, weight in model._named().items()}


def assign(model: BaseModel, arrays: dict[str, np.ndarray], path: str | PathLike[str]) -> None:
    """Give a model the weights that were read from a file."""
    weights = model._named()
    if {n: tuple(w.shape) for n, w in weights.items()} != {n: a.shape for n, a in arrays.items()}:
        raise files.CorruptedFileError(f"{path} holds other weights than its configuration says")
    for name, weight in weights.items():
        weight.assign(arrays[name])


def _check_users(users: np.ndarray | None, messages: int) -> None:
    """Refuse wrong user ids, though the base model makes no use of them."""
    if users is not None:
        check_users(users, messages)


def _embedding(
    words: int, config: BaseModelConfig, seeds: keras.random.SeedGenerator
) -> keras.layers.Embedding:
    """One vector for every word; no masking, since what follows a message reaches no word of it."""
    uniform = keras.initializers.RandomUniform(-EMBEDDING_RANGE, EMBEDDING_RANGE, seed=seeds)
    return keras.layers.Embedding(words, config.embedding, embeddings_initializer=uniform)


def _recurrent_layer(
    config: BaseModelConfig, seeds: keras.random.SeedGenerator
) -> keras.layers.LSTM | keras.layers.GRU:
    """One recurrent layer. The recipe for its weights is written out: the twins share it."""
    recipe = {
        "kernel_initializer": keras.initializers.GlorotUniform(seeds),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=seeds),
        "bias_initializer": "zeros",
        "return_sequences": True,
    }
    if config.cell == "lstm":
        return keras.layers.LSTM(config.hidden, unit_forget_bias=True, **recipe)
    return keras.layers.GRU(config.hidden, reset_after=True, **recipe)


def _output(
    embedding: keras.layers.Embedding, config: BaseModelConfig, seeds: keras.random.SeedGenerator
) -> keras.layers.Layer:
    """The layer that gives a logit to every word."""
    if config.tied:
        return TiedOutput(embedding)
    return keras.layers.Dense(
        embedding.input_dim, kernel_initializer=keras.initializers.GlorotUniform(seeds)
    )


def _settings(model: BaseModel) -> dict[str, Any]:
    """What decides a model besides its weights."""
    return {"vocabulary_size": model.vocabulary_size, "config": asdict(model.config)}


def _make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> BaseModel:
    """The model with these weights, that were read from a file."""
    model = BaseModel(settings["vocabulary_size"], BaseModelConfig(**settings["config"]))
    assign(model, arrays, path)
    return model


LIFE = Life(
    kind="base model in Keras",
    name="base model keras",
    framework=(keras, tf),
    code=(sys.modules[__name__], training_loop),
    arrays=weights_of,
    settings=_settings,
    make=_make,
)
save, load = LIFE.save, LIFE.load


__all__ = ["BaseModel", "fingerprint", "load", "save", "trained"]
