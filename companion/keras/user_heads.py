"""User heads in Keras: a network that asks itself who is typing, and is guided by the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import BEGIN, PADDING, Corpus, Split, Vocabulary, epoch_batches
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import beliefs, states
from companion.users.lifecycle import Life, check_text
from companion.users.methods import STORED, USER_HEADS_TRAINING, VECTOR_SPREAD, UserHeadsConfig
from companion.users.states import PersonalStates, first_vectors, known_ids

from . import base_model, conditioned, user_embeddings
from . import training as training_loop
from .base_model import BaseModel, rows_among
from .conditioned import ConditionedNetwork

READING_BATCH = 256
_TOKENS = tf.TensorSpec((None, None), tf.int32)
_TABLE = tf.TensorSpec((None, None), tf.float32)
_NUMBER = tf.TensorSpec((), tf.float32)


class UserHeads(keras.Model):
    """One recurrent network with two heads: one predicts the next word, one who is typing.

    Every word typed is evidence for some users and against others; the belief over users is the sum
    of it. The users' vectors, weighed by the belief, guide the next word.

    Parameters
    ----------
    network : companion.keras.conditioned.ConditionedNetwork
        Reads the words, and predicts the next one with a user's vector.
    config : UserHeadsConfig
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user, ``(users, size)``.
    prior : np.ndarray
        How probable each user is before any word, ``(users,)``.
    temperature : float
        What the evidence is divided by, so that the belief is as sure as it is right.
    """

    vocabulary: Vocabulary | None = None
    user_names: tuple[str, ...] | None = None

    def __init__(
        self,
        network: ConditionedNetwork,
        config: UserHeadsConfig,
        users: Sequence[int] | np.ndarray,
        vectors: np.ndarray,
        prior: np.ndarray,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.reading = network if isinstance(network, _Reading) else _Reading(network, config)
        self.config = config
        self.known_users, self.shares = beliefs.check_table(users, vectors, prior, config.size)
        self.vectors = self.add_weight(name="vectors", shape=np.shape(vectors))
        self.vectors.assign(vectors)
        self._divisor = self.add_weight(name="temperature", shape=(), trainable=False)
        self.temperature = temperature
        self.dropout = keras.layers.Dropout(config.dropout, seed=0)
        self.seeds = keras.random.SeedGenerator(0)
        self.prior = ops.convert_to_tensor(np.log(self.shares / self.shares.sum()), "float32")
        self._begin_with(self.known_users, beliefs.certain(self.shares))
        self.built = True

    @property
    def network(self) -> ConditionedNetwork:
        """Reads the words, and predicts the next one with a user's vector."""
        return self.reading.network

    @property
    def evidence_of(self) -> dict[str, keras.layers.Layer]:
        """The weights of the user head, for each of what it reads."""
        return self.reading.evidence_of

    @property
    def temperature(self) -> float:
        """What the evidence is divided by: a variable, so that compiled functions see it change."""
        return float(self._divisor.numpy())

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        self._divisor.assign(temperature)

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.network.vocabulary_size

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        inputs : tuple of (tokens, users), or tokens alone
            Token ids ``(batch, time)`` int32, and who wrote each message, ``(batch,)`` int32.
            Whoever is not known, and everybody where no users are given, is asked about: the belief
            begins with the prior and follows the message.
        training : bool
            Whether dropout is on, and the loss of the user head, times its weight, is added.

        Notes
        -----
        In training all users must be known. Now and then a batch is read as if nobody had said who
        wrote it.
        """
        tokens, users = inputs if isinstance(inputs, tuple | list) else (inputs, None)
        rows = self._rows(users, ops.shape(tokens)[0])
        if not training:
            begins = tf.gather(self.begins, rows)  # (batch, user)
            return self.reading.logits(tokens, begins, self.vectors, self._divisor)
        hidden = self.network.hidden(tokens, self.vectors)  # (batch, time, hidden)
        evidence = self.reading.evidence(tokens, hidden, self.vectors, self._divisor)
        self.add_loss(self._user_loss(tokens, evidence, rows))
        guide = self.dropout(self._guide(evidence, rows), training=True)
        return self.network.words(hidden, guide)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``, without dropout.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.
        users : np.ndarray, optional
            Who wrote each message, ``(message,)``: a known user, or, after :meth:`with_states`, one
            of the typists. Where not given, the network finds out from the message alone.

        Raises
        ------
        TypeError, ValueError
            If the ids are no integers, a token is outside the vocabulary, or a user is not known.
        """
        ids = self.network._tokens(tokens, ndim=2)
        begins = self._begins_of(users, len(ids))
        return self.reading._log_probs(ids, begins, self.vectors, self._divisor).numpy()

    def evidence(self, tokens: np.ndarray) -> np.ndarray:
        """Log-likelihood of each message so far under each user, up to a constant.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.

        Returns
        -------
        np.ndarray
            After each token, ``(message, step, user)``; the users are ``known_users``.
        """
        ids = self.network._tokens(tokens, ndim=2)
        return self.reading._evidence(ids, self.vectors, self._divisor).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Any, ...]:
        """The state before any token of messages by these users: its last part is the belief."""
        return *self.network.begin(batch), self._begins_of(users, batch)

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message ``(batch,)``, going on from `state`.

        What is believed at first was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state, whose last part are the log-beliefs ``(batch, user)``
        after the token; the old one is not changed.
        """
        ids = ops.convert_to_tensor(self.network._tokens(tokens, ndim=1))
        vectors, temperature = self.vectors.value, self._divisor.value
        log_probs, state = self.reading._step(ids, state, vectors, temperature)
        return log_probs.numpy(), state

    def states(self) -> PersonalStates:
        """The vectors of all known users, ``{"vector": (users, size)}``, as they are kept."""
        vectors = self.vectors.numpy().astype(STORED)
        return PersonalStates(fingerprint(self), self.known_users, {"vector": vectors})

    def with_states(self, states: PersonalStates) -> UserHeads:
        """The same network for other typists, of whom it believes what `states` say.

        Parameters
        ----------
        states : PersonalStates
            What :func:`believed` gives: ``{"belief": (typists, users)}``. Weights are shared with
            this model, not copied.

        Raises
        ------
        ValueError
            If the states were made for another network or other users, or by another method.
        """
        states.check_made_for(fingerprint(self))
        other = self._with(slice(None))
        other._begin_with(states.users, beliefs.table_of(states, len(self.known_users)))
        return other

    def among(self, users: Sequence[int] | np.ndarray) -> UserHeads:
        """The same network, knowing these users only: the others' vectors are gone.

        Raises
        ------
        ValueError
            If no user is named, or one is not known.
        """
        kept = self.states().of(users).users
        return self._with(np.searchsorted(self.known_users, kept))

    def _with(self, rows: slice | np.ndarray) -> UserHeads:
        """The same weights with these rows of the table of users."""
        users, shares = self.known_users[rows], self.shares[rows]
        vectors = self.vectors.numpy()[rows]
        other = UserHeads(self.reading, self.config, users, vectors, shares, self.temperature)
        other.vocabulary = self.vocabulary
        return other

    def _begin_with(self, typists: np.ndarray, table: np.ndarray) -> None:
        """What to believe at first: log-beliefs ``(typists, users)``; the prior, of anyone else."""
        self.typists = typists
        table = ops.convert_to_tensor(table, "float32")
        self.begins = ops.concatenate([table, self.prior[None]])

    def _guide(self, evidence: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """What guides the words in training, ``(batch, time or 1, size)``."""
        told = keras.random.uniform((), seed=self.seeds) >= self.config.untold
        return ops.cond(
            told,
            lambda: tf.gather(self.vectors, rows)[:, None],  # one a message: much less to compute
            lambda: ops.softmax(self.prior + evidence) @ self.vectors,
        )

    def _user_loss(self, tokens: tf.Tensor, evidence: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Mean cross-entropy of who wrote the messages, after every token of them; weighted."""
        asked = self.prior + evidence  # (batch, time, user)
        right = tf.gather(asked, rows, axis=2, batch_dims=1)  # (batch, time)
        loss = ops.logsumexp(asked, axis=-1) - right
        counts = ops.cast(ops.not_equal(tokens, PADDING), loss.dtype)
        return self.config.weight * ops.sum(loss * counts) / ops.sum(counts)

    def _rows(self, users: tf.Tensor | None, messages: int) -> tf.Tensor:
        """Rows of the table of first beliefs, ``(messages,)``; the last one is anyone's."""
        return rows_among(self.typists, users, messages)

    def _begins_of(self, users: np.ndarray | None, messages: int) -> tf.Tensor:
        """First beliefs of typists, checked, ``(messages, user)``; the prior, where none are."""
        if users is not None:
            users = known_ids(users, messages, self.typists)
        return tf.gather(self.begins, self._rows(users, messages))

    def _named(self) -> dict[str, keras.Variable]:
        network = {f"network/{name}": w for name, w in self.network._named().items()}
        heads = {
            f"evidence_of/{of}/{weight.name}": weight
            for of, layer in self.evidence_of.items()
            for weight in layer.weights
        }
        return {**network, **heads, "vectors": self.vectors}


class _Reading(keras.layers.Layer):
    """A network and its user head, whoever the users are.

    Compiled here and not in UserHeads: with_states and among give many of those on one of these.
    """

    def __init__(self, network: ConditionedNetwork, config: UserHeadsConfig) -> None:
        super().__init__()
        self.network, self.size = network, config.size
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

    def logits(
        self, tokens: tf.Tensor, begins: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tf.Tensor:
        """Logits ``(batch, time, word)``, the belief following the messages from `begins` on."""
        hidden = self.network.hidden(tokens, vectors)  # (batch, time, hidden)
        evidence = self.evidence(tokens, hidden, vectors, temperature)  # (batch, time, user)
        belief = ops.softmax(begins[:, None] + evidence)
        return self.network.words(hidden, belief @ vectors)

    @tf.function(input_signature=[_TOKENS, _TABLE, _TABLE, _NUMBER])
    def _log_probs(
        self, tokens: tf.Tensor, begins: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tf.Tensor:
        vectors = tf.ensure_shape(vectors, (None, self.size))
        return ops.log_softmax(self.logits(tokens, begins, vectors, temperature))

    @tf.function(input_signature=[_TOKENS, _TABLE, _NUMBER])
    def _evidence(self, tokens: tf.Tensor, vectors: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        hidden = self.network.hidden(tokens, vectors)
        return self.evidence(tokens, hidden, vectors, temperature)

    @tf.function(reduce_retracing=True)
    def _step(
        self, tokens: tf.Tensor, state: tuple[Any, ...], vectors: tf.Tensor, temperature: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[Any, ...]]:
        *before, belief = state
        hidden, after = self.network._advance(self.network.embedding(tokens), tuple(before))
        evidence = self.evidence(tokens[:, None], hidden[:, None], vectors, temperature)
        belief = ops.log_softmax(belief + evidence[:, 0])  # (batch, user)
        logits = self.network.words(hidden, ops.exp(belief) @ vectors)
        return ops.log_softmax(logits), (*after, belief)


def trained(
    data: Split,
    base: BaseModel,
    config: UserHeadsConfig = UserHeadsConfig(),
    training: TrainingConfig = USER_HEADS_TRAINING,
    progress: bool | None = None,
) -> tuple[UserHeads, History]:
    """Two heads trained on `data` from a base model on, kept as base models are.

    Parameters
    ----------
    data : Split
        Its validation text settles the temperature, too.
    base : companion.keras.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : UserHeadsConfig
    training : TrainingConfig
        Its seed decides the first vectors too.
    progress : bool, optional
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : UserHeads
    history : History
        Its training losses are those of both heads together.
    """

    def make() -> tuple[UserHeads, History]:
        known = data.known_users
        prior = data.train.message_counts[known]
        model = from_base(base, known, prior, config, training.seed)
        history = training_loop.train(model, data, training, progress)
        model.vectors.assign(model.vectors.numpy().astype(STORED))  # as they are stored
        evidence = message_evidence(model, data.validation)
        model.temperature = beliefs.best_temperature(evidence, data.validation, known)
        return model, history

    vectors = [VECTOR_SPREAD, STORED]
    key = {"base": base_model.fingerprint(base), "config": config, "vectors": vectors}
    return LIFE.trained(data, make, training=training, **key)


def from_base(
    base: BaseModel,
    users: Sequence[int] | np.ndarray,
    prior: np.ndarray,
    config: UserHeadsConfig = UserHeadsConfig(),
    seed: int = 0,
) -> UserHeads:
    """Untrained heads on top of a base model: at first, they predict as it does and know nobody.

    The first vectors are drawn at random, since all that read them start at zero.
    """
    reading = user_embeddings.from_base(base, users, config.reading, seed)
    vectors = first_vectors(len(users), config.size, seed)[:-1]
    model = UserHeads(reading.network, config, users, vectors, prior)
    model.vocabulary = base.vocabulary
    return model


def message_evidence(model: UserHeads, corpus: Corpus) -> np.ndarray:
    """Log-likelihood of each whole message under each known user, up to a constant.

    Parameters
    ----------
    model : UserHeads
    corpus : Corpus
        Who wrote its messages is not looked at.

    Returns
    -------
    np.ndarray
        ``(message, user)``

    Raises
    ------
    ValueError
        If the corpus is empty, or has another vocabulary than the model.
    """
    check_text(model.vocabulary, model.vocabulary_size, corpus)
    evidence = np.empty((len(corpus), len(model.known_users)), dtype=np.float32)
    for messages in epoch_batches(corpus.lengths, READING_BATCH, seed=0, epoch=0, pool=len(corpus)):
        tokens, _ = corpus.padded(messages)
        evidence[messages] = model.evidence(tokens)[:, -1]  # padding is no evidence
    return evidence


def believed(
    model: UserHeads, corpus: Corpus, stay: float = 1.0, doubt: float = 1.0
) -> PersonalStates:
    """What the network believes of the typists of some messages, having read them in order.

    Parameters
    ----------
    model : UserHeads
    corpus : Corpus
        Messages of typists, who may or may not be users that the model knows. Their ids only say
        which messages one typist wrote.
    stay, doubt : float
        See :func:`companion.users.beliefs.followed`.

    Returns
    -------
    PersonalStates
        Of every typist, ``{"belief": (typists, users)}``: the log-probability of each known user.
        Nothing was trained for it.

    Raises
    ------
    ValueError
        If the corpus is empty, has words that the model lacks, or a number is out of range.
    """
    evidence, prior = message_evidence(model, corpus), model.prior.numpy()
    typists, table = beliefs.by_typist(evidence, corpus, prior, stay, doubt)
    return PersonalStates(fingerprint(model), typists, {"belief": beliefs.stored(table)})


def save(model: UserHeads, path: str | PathLike[str]) -> None:
    """Write a model, with the vectors of its users, to a safetensors file."""
    LIFE.save(model, path)


def load(path: str | PathLike[str]) -> UserHeads:
    """Read a model that :func:`save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    companion.keeping.files.CorruptedFileError
        If the file is truncated or was altered.
    """
    return LIFE.load(path)


def fingerprint(model: UserHeads) -> str:
    """Sixteen hexadecimal digits that change with any weight, and with the users it knows."""
    return files.fingerprint(_arrays(model))


def _arrays(model: UserHeads) -> dict[str, np.ndarray]:
    """All that decides the predictions but the temperature, by name."""
    return {
        **base_model.weights_of(model),
        "users": model.known_users,
        "prior": model.shares,
    }


def _settings(model: UserHeads) -> dict[str, Any]:
    """What decides a model besides its arrays."""
    return {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.config),
        "base": asdict(model.network.config),
        "temperature": model.temperature,
    }


def _make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> UserHeads:
    """The model with these arrays, that were read from a file."""
    users, prior = arrays.pop("users"), arrays.pop("prior")
    config, base = UserHeadsConfig(**settings["config"]), BaseModelConfig(**settings["base"])
    network = ConditionedNetwork(settings["vocabulary_size"], config.reading, base)
    vectors, temperature = arrays["vectors"], settings["temperature"]
    model = UserHeads(network, config, users, vectors, prior, temperature)
    base_model.assign(model, arrays, path)
    return model


LIFE = Life(
    kind="user heads in Keras",
    name="user heads keras",
    framework=(keras, tf),
    code=(
        *(sys.modules[__name__], user_embeddings, conditioned, base_model, training_loop),
        *(states, beliefs),
    ),
    arrays=_arrays,
    settings=_settings,
    make=_make,
)


__all__ = [
    "UserHeads",
    "believed",
    "fingerprint",
    "from_base",
    "load",
    "message_evidence",
    "save",
    "trained",
]
