"""User heads in Keras: a network that asks itself who is typing, and is guided by the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import PADDING, Split
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import beliefs, believing, states
from companion.users.believing import BelievingModel, believed, log_shares, message_evidence
from companion.users.lifecycle import Life
from companion.users.methods import STORED, USER_HEADS_TRAINING, VECTOR_SPREAD, UserHeadsConfig
from companion.users.states import first_vectors, known_ids
from companion.users.vectors import settings_of

from . import base_model, conditioned, guided, user_embeddings
from . import training as training_loop
from .base_model import BaseModel, rows_among
from .conditioned import ConditionedNetwork
from .guided import GuidedNetwork


class UserHeads(BelievingModel, keras.Model):
    """One recurrent network with two heads: one predicts the next word, one who is typing.

    What it can do stands in :class:`companion.users.models.LanguageModel` and
    :class:`companion.users.believing.BelievingModel`.

    Parameters
    ----------
    network : companion.keras.conditioned.ConditionedNetwork
        Reads the words, and predicts the next one with a user's vector. What another model has
        made of it, a companion.keras.guided.GuidedNetwork, is shared.
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

    def __init__(
        self,
        network: ConditionedNetwork | GuidedNetwork,
        config: UserHeadsConfig,
        users: Sequence[int] | np.ndarray,
        vectors: np.ndarray,
        prior: np.ndarray,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(network, GuidedNetwork):
            network = GuidedNetwork(network, config)
        self.guided = network
        self.vocabulary_size = network.vocabulary_size
        self.config = config
        self.known_users, self.shares = beliefs.check_table(users, vectors, prior, config.size)
        self.vectors = self.add_weight(name="vectors", shape=np.shape(vectors))
        self.vectors.assign(vectors)
        self._divisor = self.add_weight(name="temperature", shape=(), trainable=False)
        self.temperature = temperature
        self.dropout = keras.layers.Dropout(config.dropout, seed=0)
        self.seeds = keras.random.SeedGenerator(0)
        self.prior = ops.convert_to_tensor(log_shares(self.shares))
        self._begin_with(self.known_users, beliefs.certain(self.shares))
        self.built = True

    @property
    def network(self) -> ConditionedNetwork:
        """Reads the words, and predicts the next one with a user's vector."""
        return self.guided.network

    @property
    def evidence_of(self) -> dict[str, keras.layers.Layer]:
        """The weights of the user head, for each of what it reads."""
        return self.guided.evidence_of

    @property
    def temperature(self) -> float:
        """What the evidence is divided by: a variable, so that compiled functions see it change."""
        return float(self._divisor.numpy())

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        self._divisor.assign(temperature)

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
        rows = rows_among(self.typists, users, ops.shape(tokens)[0])
        if not training:
            begins = tf.gather(self.begins, rows)  # (batch, user)
            return self.guided._logits(tokens, begins, self.vectors, self._divisor)
        hidden = self.network.hidden(tokens, self.vectors)  # (batch, time, hidden)
        evidence = self.guided.evidence(tokens, hidden, self.vectors, self._divisor)
        self.add_loss(self._user_loss(tokens, evidence, rows))
        guide = self.dropout(self._guide(evidence, rows), training=True)
        return self.network.words(hidden, guide)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``.

        Where no users are given, the network finds out from the message alone.
        """
        ids = self.network._tokens(tokens, ndim=2)
        begins = self._begins_of(users, len(ids))
        return self.guided._log_probs(ids, begins, self.vectors, self._divisor).numpy()

    def evidence(self, tokens: np.ndarray) -> np.ndarray:
        """Log-likelihood of each message so far under each user, ``(message, step, user)``."""
        ids = self.network._tokens(tokens, ndim=2)
        return self.guided._evidence(ids, self.vectors, self._divisor).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Any, ...]:
        """The state before any token of messages by these users: its last part is the belief."""
        return *self.network.begin(batch), self._begins_of(users, batch)

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message; :meth:`begin` has settled what is believed at first.

        The last part of the state are the log-beliefs ``(batch, user)`` after the token.
        """
        ids = ops.convert_to_tensor(self.network._tokens(tokens, ndim=1))
        vectors, temperature = self.vectors.value, self._divisor.value
        log_probs, state = self.guided._step(ids, state, vectors, temperature)
        return log_probs.numpy(), state

    def _table(self) -> np.ndarray:
        return self.vectors.numpy()

    def _like(self, users: np.ndarray, vectors: np.ndarray, shares: np.ndarray) -> UserHeads:
        return UserHeads(self.guided, self.config, users, vectors, shares, self.temperature)

    def _fingerprint(self) -> str:
        return fingerprint(self)

    def _begin_with(self, typists: np.ndarray, table: np.ndarray) -> None:
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

    def _begins_of(self, users: np.ndarray | None, messages: int) -> tf.Tensor:
        """First beliefs of typists, checked, ``(messages, user)``; the prior, where none are."""
        if users is not None:
            users = known_ids(users, messages, self.typists)
        return tf.gather(self.begins, rows_among(self.typists, users, messages))

    def _named(self) -> dict[str, keras.Variable]:
        network = {f"network/{name}": w for name, w in self.network._named().items()}
        heads = {
            f"evidence_of/{of}/{weight.name}": weight
            for of, layer in self.evidence_of.items()
            for weight in layer.weights
        }
        return {**network, **heads, "vectors": self.vectors}


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
        As in :func:`companion.keras.base_model.trained`, whose results it has;
        training losses are those of both heads together.
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


def fingerprint(model: UserHeads) -> str:
    """Sixteen hexadecimal digits that change with any weight, and with the users it knows."""
    return files.fingerprint(_arrays(model))


def _arrays(model: UserHeads) -> dict[str, np.ndarray]:
    """All that decides the predictions but the temperature, by name."""
    return {**base_model.weights_of(model), "users": model.known_users, "prior": model.shares}


def _settings(model: UserHeads) -> dict[str, Any]:
    """What decides a model besides its arrays."""
    both = {"config": asdict(model.config), "temperature": model.temperature}
    return {**settings_of(model), **both}


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
        *(sys.modules[__name__], guided, user_embeddings, conditioned, base_model),
        *(training_loop, states, beliefs, believing),
    ),
    arrays=_arrays,
    settings=_settings,
    make=_make,
)
save, load = LIFE.save, LIFE.load


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
