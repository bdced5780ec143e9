"""Models that remember what users wrote: opening, learning, forgetting, saving and loading."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from companion.checks import check_ids
from companion.corpora import Corpus
from companion.keeping import files
from companion.settings import BaseModelConfig

from . import cutting, models, stacks, states
from . import memories as kept_memories
from .cutting import Text
from .lifecycle import Life, check_text
from .memories import Memories, Memory
from .methods import FittingConfig, UserMemoryConfig
from .models import LanguageModel
from .states import check_known, known_ids
from .vectors import settings_of

M = TypeVar("M", bound="MemoryModel")
OPEN = 1024  # users whose memories stay open at once


class MemoryModel(LanguageModel):
    """A network, and what it remembers of each user.

    A twin says how it predicts (``log_probs``, ``step``), and how text is read and made ready to
    predict from: ``_keys``, ``_read_one``, ``_ready``, ``_attended``, ``_like``, ``_fingerprint``
    and ``_fitted``.
    """

    network: Any
    memories: Memories

    def _remember_of(self, memories: Memories) -> None:
        """Begin with these memories, none of which is open."""
        self.memories = memories
        self._sums: dict[int | None, Any] = {}
        self._opened: dict[int | None, Any] = {}

    @property
    def known_users(self) -> np.ndarray:  # type: ignore[override]  # never set
        """Ids of the users of whom it remembers something, ascending."""
        return self.memories.users

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Any, ...]:
        """The state before any token of messages by these users, their opened memories included."""
        return *self.network.begin(batch), self._opened_for(users, batch)

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
            As in `log_probs`, and if the network has no pointer.
        """
        if not self.network.reading.points:
            raise ValueError(f"the network reads {self.network.reading.ways}: it has no pointer")
        ids = self.network._tokens(np.asarray(tokens)[None], ndim=2)
        (opened,) = self._opened_for(np.array([user]), 1)
        return self._attended(ids, opened)

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
            found |= kept_memories.split(text, self._keys(text), self.vocabulary_size)
        return Memories(self._fingerprint(), found).last(self.network.reading.last)

    def states(self) -> Memories:
        """What is kept of all known users."""
        return self.memories

    def with_memories(self, memories: Memories) -> Any:
        """The same network with these memories instead; weights are shared, not copied.

        Users whom this model knows keep their names.

        Raises
        ------
        ValueError
            If another network read them.
        """
        memories.check_made_for(self._fingerprint())
        other = self._like(memories)
        other.vocabulary, other.user_names = self.vocabulary, self._names_of(memories.users)
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
        memories = self.memories.with_user(user, after.last(last))
        self.user_names, self.memories = self._names_of(memories.users), memories

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

    def _opened_for(self, users: np.ndarray | None, messages: int) -> list[Any]:
        """The opened memory of each message's user; nobody's, where no users are given."""
        if users is None:
            return [self._open(None)] * messages
        ids = known_ids(users, messages, self.known_users)
        return [self._open(int(user)) for user in ids]

    def _open(self, user: int | None) -> Any:
        """A user's memory, opened once."""
        if user not in self._opened:
            memory = self._empty if user is None else self.memories.of_users[user]
            if len(self._opened) >= OPEN:
                self._close(next(iter(self._opened)))  # the one opened first
            ready = self._ready(memory, self._sums.get(user))
            self._sums[user], self._opened[user] = ready
        return self._opened[user]

    def _close(self, user: int | None) -> Any:
        """Forget that a memory was opened; what was summed for it, if anything."""
        self._opened.pop(user, None)
        return self._sums.pop(user, None)

    @property
    def _empty(self) -> Memory:
        """A memory of nothing."""
        width = self.network.reading.key if self.network.reading.keeps_keys else 0
        return kept_memories.empty(width, self.vocabulary_size)

    def _keys(self, text: Text) -> np.ndarray:
        """The key of every position of a text, ``(positions, key)`` float16."""
        raise NotImplementedError

    def _read_one(self, words: np.ndarray, before: Any) -> tuple[Memory, Any]:
        """A memory of one message; what was summed before, if anything, with it added."""
        raise NotImplementedError

    def _ready(self, memory: Memory, sums: Any) -> tuple[Any, Any]:
        """Sums over a memory, made where there are none yet, and the memory opened."""
        raise NotImplementedError

    def _attended(self, ids: Any, opened: Any) -> np.ndarray:
        """Shares of the vote at each step of a message ``(1, step)``."""
        raise NotImplementedError

    def _like(self, memories: Memories) -> Any:
        """A model on the same network with other memories."""
        raise NotImplementedError

    def _fingerprint(self) -> str:
        """Of the network that the memories are made for."""
        raise NotImplementedError

    def _fitted(self, corpus: Corpus, known: np.ndarray, config: FittingConfig) -> np.ndarray:
        """Vectors of everybody who has a message in `corpus`, ``(users, size)``."""
        raise NotImplementedError


def alike(rows: list[Any]) -> Iterator[tuple[Any, list[int]]]:
    """Each opened memory, and the places of the messages that are read with it."""
    places: dict[int, list[int]] = {}
    for place, opened in enumerate(rows):
        places.setdefault(id(opened), []).append(place)
    for messages in places.values():
        yield rows[messages[0]], messages


def fit(model: MemoryModel, corpus: Corpus, config: FittingConfig = FittingConfig()) -> Memories:
    """Memories of new users with a vector fitted beside each, the network being frozen.

    Parameters
    ----------
    model : MemoryModel
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
    return model.read(corpus).with_vectors(model._fitted(corpus, np.stack(known), config))


@dataclass(frozen=True)
class MemoryLife(Life[M]):
    """The life of models that keep memories; see :func:`memory_life`."""

    def fitted_memories(
        self, model: M, corpus: Corpus, config: FittingConfig = FittingConfig()
    ) -> Memories:
        """What :func:`fit` gives, from the cache folder if it was fitted before."""
        users = files.fingerprint(model.memories.packed())
        key = {"model": model._fingerprint(), "users": users, "config": config}
        return self.remembered(corpus, lambda: fit(model, corpus, config), **key)


def memory_life(
    kind: Callable[..., M],
    network: Callable[..., Any],
    twin: str,
    framework: tuple[ModuleType, ...],
    base_model: ModuleType,
    code: tuple[ModuleType, ...],
) -> MemoryLife[M]:
    """How models with memories are kept: a network, and what it remembers.

    Parameters
    ----------
    kind : callable
        Made as ``kind(network, memories)``.
    network : callable
        Made as ``network(vocabulary_size, config, base_config)``.
    twin : str
        The framework's name.
    framework, code : tuple of modules
        As in :class:`companion.users.lifecycle.Life`.
    base_model : module
        The twin's, which reads and assigns weights.
    """

    def arrays(model: M) -> dict[str, np.ndarray]:
        parts = {"memory": model.memories.packed(), "network": base_model.weights_of(model.network)}
        return {f"{part}/{name}": a for part, named in parts.items() for name, a in named.items()}

    def make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> M:
        config, base = UserMemoryConfig(**settings["config"]), BaseModelConfig(**settings["base"])
        made = network(settings["vocabulary_size"], config, base)
        parts: dict[str, dict[str, np.ndarray]] = {"network": {}, "memory": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = array
        base_model.assign(made, parts["network"], path)
        return kind(made, Memories.unpacked(base_model.fingerprint(made), parts["memory"]))

    shared = kept_memories, cutting, stacks, states, models, sys.modules[__name__]
    return MemoryLife(
        f"user memory in {twin}",
        f"user memory {twin.lower()}",
        framework,
        (*code, base_model, *shared),
        arrays,
        settings_of,
        make,
    )
