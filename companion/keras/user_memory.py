"""User memory in Keras: a network that reads what each user wrote, with nothing to fit."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from companion.corpora import Corpus, Split
from companion.corpora.vocabulary import BEGIN, END
from companion.history import History
from companion.settings import TrainingConfig
from companion.users import cutting
from companion.users.cutting import Text
from companion.users.memories import Memories, Memory, as_kept
from companion.users.methods import (
    STORED,
    USER_MEMORY_TRAINING,
    FittingConfig,
    UserMemoryConfig,
)
from companion.users.remembering import MemoryModel, alike, fit, memory_life

from . import base_model, practice, reading
from . import training as training_loop
from .base_model import BaseModel
from .reading import MemoryNetwork, Opened, Sums, arrays_of


class UserMemory(MemoryModel, keras.Model):
    """A network, and what it remembers of each user.

    What it can do stands in :class:`companion.users.models.LanguageModel` and
    :class:`companion.users.remembering.MemoryModel`.

    Parameters
    ----------
    network : companion.keras.reading.MemoryNetwork
    memories : companion.users.memories.Memories
        Of the users it knows.
    """

    def __init__(self, network: MemoryNetwork, memories: Memories) -> None:
        super().__init__()
        self.network, self.vocabulary_size = network, network.vocabulary_size
        self._remember_of(memories)
        self.built = True

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``."""
        ids = self.network._tokens(tokens, ndim=2)
        rows = self._opened_for(users, len(ids))
        hidden = self.network._hidden(ids).numpy()  # (message, step, hidden)
        found = np.empty((*ids.shape, self.vocabulary_size), np.float32)
        for opened, messages in alike(rows):
            flat = hidden[messages].reshape(-1, hidden.shape[-1])
            predicted = self.network._prediction(flat, opened).numpy()
            found[messages] = predicted.reshape(len(messages), -1, self.vocabulary_size)
        return found

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message; `begin` has settled whose memory is read."""
        ids, (*before, rows) = self.network._tokens(tokens, ndim=1), state
        if all(row is rows[0] for row in rows):  # one person types: all in one go
            log_probs, after = self.network._step_opened(ids, tuple(before), rows[0])
            return log_probs.numpy(), (*after, rows)
        hidden, after = self.network._advance_once(ids, tuple(before))
        found = [self.network._prediction(hidden[i : i + 1], row) for i, row in enumerate(rows)]
        return np.concatenate([each.numpy() for each in found]), (*after, rows)

    def _keys(self, text: Text) -> np.ndarray:
        return self.network._read(arrays_of(text)).keys.numpy().astype(STORED)

    def _read_one(self, words: np.ndarray, before: Sums | None) -> tuple[Memory, Sums | None]:
        ids = np.concatenate([[BEGIN], words, [END]])[None].astype(np.int32)  # checked before
        keys, sums = self.network._remembered(ids, before)
        tokens = as_kept(ids[0, 1:], self.vocabulary_size)
        return Memory(tokens, np.array([len(tokens)], np.int32), keys.numpy()), sums

    def _ready(self, memory: Memory, sums: Sums | None) -> tuple[Sums, Opened]:
        sums = self.network.summed(memory) if sums is None else sums
        return sums, self.network.opened(sums, memory.vector)

    def _attended(self, ids: np.ndarray, opened: Opened) -> np.ndarray:
        return self.network._attended(self.network._hidden(ids)[0], opened).numpy()

    def _like(self, memories: Memories) -> UserMemory:
        return UserMemory(self.network, memories)

    def _fingerprint(self) -> str:
        return fingerprint(self)

    def _fitted(self, corpus: Corpus, known: np.ndarray, config: FittingConfig) -> np.ndarray:
        return practice.fit(self.network, corpus, known, config)


def trained(
    data: Split,
    base: BaseModel,
    config: UserMemoryConfig = UserMemoryConfig(),
    training: TrainingConfig = USER_MEMORY_TRAINING,
    progress: bool | None = None,
) -> tuple[UserMemory, History]:
    """A network that learned to read on `data`, from a base model on, kept as base models are.

    Parameters
    ----------
    data : Split
    base : companion.keras.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : UserMemoryConfig
    training : TrainingConfig
        Its `batch_size` is about how many messages of whole histories share a step; its seed
        decides the first weights, too, and how histories are cut.
    progress : bool, optional
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : UserMemory
        It remembers the training text of all known users.
    history : History
    """

    def make() -> tuple[UserMemory, History]:
        network = from_base(base, data.train, config, training.seed)
        learner = practice.Learner(network, len(data.known_users), training.seed)
        history = practice.train(learner, data, training, progress)
        model = UserMemory(network, Memories("", {}))
        model.vocabulary = data.vocabulary
        memories = model.read(data.train)
        if config.embedding:
            memories = memories.with_vectors(learner.kept_vectors)
        return model.with_memories(memories), history

    key = {"base": base_model.fingerprint(base), "config": config}
    return LIFE.trained(data, make, training=training, **key)


def from_base(
    base: BaseModel, text: Corpus, config: UserMemoryConfig = UserMemoryConfig(), seed: int = 0
) -> MemoryNetwork:
    """An untrained network on top of a base model: of whom it remembers nothing, it predicts alike.

    Parameters
    ----------
    base : companion.keras.base_model.BaseModel
    text : Corpus
        How frequent its words are decides how much a use of each counts at first.
    config : UserMemoryConfig
    seed : int
    """
    network = MemoryNetwork(base.vocabulary_size, config, base.config, seed)
    weights = network._named()
    for name, weight in base_model.weights_of(base).items():
        weights[name].assign(weight)
    if "counts" in config.ways:
        network.numbers["count_scale"].assign(cutting.first_scale(text))
    return network


def fingerprint(model: UserMemory) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


LIFE = memory_life(
    UserMemory,
    MemoryNetwork,
    "Keras",
    (keras, tf),
    base_model,
    (sys.modules[__name__], reading, practice, training_loop),
)
fitted, save, load = LIFE.fitted_memories, LIFE.save, LIFE.load


__all__ = [
    "UserMemory",
    "fingerprint",
    "fit",
    "fitted",
    "from_base",
    "load",
    "save",
    "trained",
]
