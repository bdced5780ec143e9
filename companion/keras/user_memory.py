"""User memory in Keras: a network that reads what each user wrote, with nothing to fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from companion.checks import check_ids
from companion.corpora import Corpus, Split, Vocabulary
from companion.corpora.vocabulary import BEGIN, END
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import cutting, stacks, states
from companion.users import memories as kept_memories
from companion.users.cutting import Text
from companion.users.lifecycle import Life, check_text
from companion.users.memories import Memories, Memory
from companion.users.methods import (
    STORED,
    USER_MEMORY_TRAINING,
    FittingConfig,
    UserMemoryConfig,
)
from companion.users.states import check_known, known_ids

from . import base_model, practice, reading
from . import training as training_loop
from .base_model import BaseModel
from .reading import MemoryNetwork, Opened, Sums, arrays_of

OPEN = 1024  # users whose memories stay open at once


class UserMemory(keras.Model):
    """A network, and what it remembers of each user.

    Parameters
    ----------
    network : companion.keras.reading.MemoryNetwork
    memories : companion.users.memories.Memories
        Of the users it knows.
    """

    vocabulary: Vocabulary | None = None
    user_names: tuple[str, ...] | None = None

    def __init__(self, network: MemoryNetwork, memories: Memories) -> None:
        super().__init__()
        self.network = network
        self.memories = memories
        self._sums: dict[int | None, Sums] = {}
        self._opened: dict[int | None, Opened] = {}
        self.built = True

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.network.vocabulary_size

    @property
    def known_users(self) -> np.ndarray:
        """Ids of the users of whom it remembers something, ascending."""
        return self.memories.users

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``, without dropout.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.
        users : np.ndarray, optional
            Who wrote each message, ``(message,)``; where not given, nothing is remembered.

        Raises
        ------
        TypeError, ValueError
            If the ids are no integers, a token is outside the vocabulary, or a user is not known.
        """
        ids = self.network._tokens(tokens, ndim=2)
        rows = self._opened_for(users, len(ids))
        hidden = self.network._hidden(ids).numpy()  # (message, step, hidden)
        found = np.empty((*ids.shape, self.vocabulary_size), np.float32)
        for opened, messages in _alike(rows):
            flat = hidden[messages].reshape(-1, hidden.shape[-1])
            predicted = self.network._prediction(flat, opened).numpy()
            found[messages] = predicted.reshape(len(messages), -1, self.vocabulary_size)
        return found

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Any, ...]:
        """The state before any token of messages by these users, their opened memories included."""
        return *self.network.begin(batch), self._opened_for(users, batch)

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message ``(batch,)``, going on from `state`.

        Whose memory is read was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state; the old one is not changed.
        """
        ids, (*before, rows) = self.network._tokens(tokens, ndim=1), state
        if all(row is rows[0] for row in rows):  # one person types: all in one go
            log_probs, after = self.network._step_opened(ids, tuple(before), rows[0])
            return log_probs.numpy(), (*after, rows)
        hidden, after = self.network._advance_once(ids, tuple(before))
        found = [self.network._prediction(hidden[i : i + 1], row) for i, row in enumerate(rows)]
        return np.concatenate([each.numpy() for each in found]), (*after, rows)

    def attention(self, tokens: np.ndarray, user: int) -> np.ndarray:
        """Where the pointer looks as a message is read, ``(step, remembered + 1)``.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids of one message as it is read, ``(step,)``.
        user : int
            A known user: each column is a position of their memory, oldest first; the last is what
            the network expects by itself. A row sums to one.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`log_probs`, and if the network has no pointer.
        """
        if "pointer" not in self.network.reading.ways:
            raise ValueError(f"the network reads {self.network.reading.ways}: it has no pointer")
        ids = self.network._tokens(np.asarray(tokens)[None], ndim=2)
        (opened,) = self._opened_for(np.array([user]), 1)
        return self.network._attended(self.network._hidden(ids)[0], opened).numpy()

    def read(self, corpus: Corpus) -> Memories:
        """What is to be remembered of every user who has a message in `corpus`: nothing is fitted.

        Raises
        ------
        ValueError
            If the corpus is empty or has another vocabulary than the model.
        """
        check_text(self.vocabulary, self.vocabulary_size, corpus)
        found: dict[int, Memory] = {}
        for histories in cutting.together(corpus):
            text = Text.of(corpus, histories)
            keys = self.network._read(arrays_of(text)).keys.numpy().astype(STORED)
            found |= kept_memories.split(text, keys, self.vocabulary_size)
        return Memories(fingerprint(self), found).last(self.network.reading.last)

    def states(self) -> Memories:
        """What is kept of all known users."""
        return self.memories

    def with_memories(self, memories: Memories) -> UserMemory:
        """The same network with these memories instead; weights are shared, not copied.

        Raises
        ------
        ValueError
            If another network read them.
        """
        memories.check_made_for(fingerprint(self))
        other = UserMemory(self.network, memories)
        other.vocabulary = self.vocabulary
        return other

    def remember(self, user: int, message: Sequence[int] | np.ndarray) -> None:
        """Add a message that a user has sent: one pass over it, and it counts from now on.

        Parameters
        ----------
        user : int
            Whoever is not known yet is from now on.
        message : sequence of int
            Token ids of its words.

        Raises
        ------
        TypeError, ValueError
            If the user or a word is no id.
        """
        user = int(check_ids("user", [user], None, ndim=1)[0])
        words = kept_memories.check_message(message, self.vocabulary_size)
        before, last = self.memories.of_users.get(user), self.network.reading.last
        more, sums = self._read_one(words, self._close(user))
        after = more if before is None else before.joined(more)
        if sums is not None and (last is None or len(after.tokens) <= last):
            self._sums[user] = sums
        self.memories = self.memories.with_user(user, after.last(last))

    def forget(self, user: int, message: Sequence[int] | np.ndarray) -> None:
        """Take a message out: what is left is the model that never saw it.

        Parameters
        ----------
        user : int
        message : sequence of int
            Token ids of its words. Where the same was sent twice, the later one is forgotten.

        Raises
        ------
        TypeError, ValueError
            If the user is not known, or no such message is remembered.
        """
        user = int(check_ids("user", [user], None, ndim=1)[0])
        check_known(np.array([user]), self.known_users)
        memory = self.memories.of_users[user]
        place = memory.place_of(kept_memories.check_message(message, self.vocabulary_size))
        self._close(user)  # summed anew from what is left: no rest of it stays behind
        self.memories = self.memories.with_user(user, memory.without(place))

    def _read_one(self, words: np.ndarray, before: Sums | None) -> tuple[Memory, Sums | None]:
        """A memory of one message, and what was summed before with it added."""
        ids = np.concatenate([[BEGIN], words, [END]])[None].astype(np.int32)  # checked before
        keys, sums = self.network._remembered(ids, before)
        tokens = kept_memories.as_kept(ids[0, 1:], self.vocabulary_size)
        return Memory(tokens, np.array([len(tokens)], np.int32), keys.numpy()), sums

    def _opened_for(self, users: np.ndarray | None, messages: int) -> list[Opened]:
        """The opened memory of each message's user; nobody's, where no users are given."""
        if users is None:
            return [self._open(None)] * messages
        ids = known_ids(users, messages, self.known_users)
        return [self._open(int(user)) for user in ids]

    def _open(self, user: int | None) -> Opened:
        """A user's memory, opened once."""
        if user not in self._opened:
            memory = self._empty if user is None else self.memories.of_users[user]
            if len(self._opened) >= OPEN:
                self._close(next(iter(self._opened)))  # the one opened first
            if user not in self._sums:
                self._sums[user] = self.network.summed(memory)
            self._opened[user] = self.network.opened(self._sums[user], memory.vector)
        return self._opened[user]

    def _close(self, user: int | None) -> Sums | None:
        """Forget that a memory was opened; what was summed for it, if anything."""
        self._opened.pop(user, None)
        return self._sums.pop(user, None)

    @property
    def _empty(self) -> Memory:
        """A memory of nothing."""
        width = self.network.reading.key if self.network.reading.keeps_keys else 0
        return kept_memories.empty(width, self.vocabulary_size)


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


def fit(model: UserMemory, corpus: Corpus, config: FittingConfig = FittingConfig()) -> Memories:
    """Memories of new users with a vector fitted beside each, the network being frozen.

    Parameters
    ----------
    model : companion.keras.user_memory.UserMemory
        With an embedding.
    corpus : Corpus
        The messages, of one user or of many; all users are fitted at once, each message being read
        with the memory of the user's others.
    config : FittingConfig

    Returns
    -------
    Memories
        Of every user who has a message in `corpus`.

    Raises
    ------
    ValueError
        If the corpus is empty or has another vocabulary than the model, or if the model has no
        embedding or fewer than two users with a vector.
    """
    known = [each.vector for each in model.memories.of_users.values() if each.vector is not None]
    if not model.network.reading.embedding or len(known) < 2:
        raise ValueError(
            f"model has {len(known)} vectors of users: fitting needs a network with an embedding, "
            "and the vectors of at least 2 known users"
        )
    memories = model.read(corpus)
    vectors = practice.fit(model.network, corpus, np.stack(known), config)
    return memories.with_vectors(vectors)


def fitted(model: UserMemory, corpus: Corpus, config: FittingConfig = FittingConfig()) -> Memories:
    """What :func:`fit` gives, from the cache folder if it was fitted before."""
    users = files.fingerprint(model.memories.packed())
    key = {"model": fingerprint(model), "users": users, "config": config}
    return LIFE.remembered(corpus, lambda: fit(model, corpus, config), **key)


def save(model: UserMemory, path: str | PathLike[str]) -> None:
    """Write a model, with the memories of its users, to a safetensors file."""
    LIFE.save(model, path)


def load(path: str | PathLike[str]) -> UserMemory:
    """Read a model that :func:`save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    companion.keeping.files.CorruptedFileError
        If the file is truncated or was altered.
    """
    return LIFE.load(path)


def fingerprint(model: UserMemory) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


def _alike(rows: list[Opened]) -> Iterator[tuple[Opened, list[int]]]:
    """Each opened memory, and the places of the messages that are read with it."""
    places: dict[int, list[int]] = {}
    for place, opened in enumerate(rows):
        places.setdefault(id(opened), []).append(place)
    for messages in places.values():
        yield rows[messages[0]], messages


def _arrays(model: UserMemory) -> dict[str, np.ndarray]:
    """Weights of the network, and all that is remembered."""
    weights = base_model.weights_of(model.network)
    kept = {f"memory/{name}": array for name, array in model.memories.packed().items()}
    named = {f"network/{name}": weight for name, weight in weights.items()}
    return {**named, **kept}


def _settings(model: UserMemory) -> dict[str, Any]:
    """What decides a model besides its arrays."""
    return {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.network.reading),
        "base": asdict(model.network.config),
    }


def _make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> UserMemory:
    """The model with these weights and memories, that were read from a file."""
    config, base = UserMemoryConfig(**settings["config"]), BaseModelConfig(**settings["base"])
    network = MemoryNetwork(settings["vocabulary_size"], config, base)
    parts: dict[str, dict[str, np.ndarray]] = {"network": {}, "memory": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = array
    base_model.assign(network, parts["network"], path)
    memories = Memories.unpacked(base_model.fingerprint(network), parts["memory"])
    return UserMemory(network, memories)


LIFE = Life(
    kind="user memory in Keras",
    name="user memory keras",
    framework=(keras, tf),
    code=(
        sys.modules[__name__],
        reading,
        practice,
        base_model,
        training_loop,
        kept_memories,
        cutting,
        stacks,
        states,
    ),
    arrays=_arrays,
    settings=_settings,
    make=_make,
)


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
