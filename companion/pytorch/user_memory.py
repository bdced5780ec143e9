"""User memory in PyTorch: a network that reads what each user wrote, with nothing to fit."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from companion.corpora import Corpus, Split
from companion.corpora.vocabulary import BEGIN, END
from companion.history import History
from companion.settings import TrainingConfig
from companion.users import cutting
from companion.users.cutting import Text
from companion.users.memories import Memories, Memory, as_kept
from companion.users.methods import (
    USER_MEMORY_TRAINING,
    FittingConfig,
    UserMemoryConfig,
)
from companion.users.remembering import MemoryModel, alike, fit, memory_life

from . import base_model, practice, reading
from . import training as training_loop
from .base_model import BaseModel
from .reading import MemoryNetwork, Opened, Sums
from .training import evaluating


class UserMemory(MemoryModel, nn.Module):
    """A network, and what it remembers of each user.

    What it can do stands in :class:`companion.users.models.LanguageModel` and
    :class:`companion.users.remembering.MemoryModel`.

    Parameters
    ----------
    network : companion.pytorch.reading.MemoryNetwork
    memories : companion.users.memories.Memories
        Of the users it knows.
    """

    def __init__(self, network: MemoryNetwork, memories: Memories) -> None:
        super().__init__()
        self.network, self.vocabulary_size = network, network.vocabulary_size
        self._remember_of(memories)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``."""
        ids, network = self.network._tokens(tokens, ndim=2), self.network
        rows = self._opened_for(users, len(ids))
        with self._still():
            hidden = network.recurrent(network.embedding(ids))[0]  # (message, step, hidden)
            found = hidden.new_empty(*ids.shape, self.vocabulary_size)
            for opened, messages in alike(rows):
                flat = hidden[messages].flatten(0, 1)
                predicted = network.prediction(flat, opened)
                found[messages] = predicted.unflatten(0, (len(messages), -1))
            return found.cpu().numpy()

    def step(
        self, tokens: np.ndarray, state: tuple[Any, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Read one token per message; `begin` has settled whose memory is read."""
        ids, (*before, rows) = self.network._tokens(tokens, ndim=1), state
        with self._still():
            after = self.network._advance(self.network.embedding(ids), tuple(before))
            hidden = after[0][-1]  # (batch, hidden)
            found = [self.network.prediction(hidden[i : i + 1], row) for i, row in enumerate(rows)]
            both = found[0] if len(found) == 1 else torch.cat(found)  # (batch, word)
            return both.cpu().numpy(), (*after, rows)

    def _still(self) -> AbstractContextManager[object]:
        """Evaluation mode without gradients; quick, where it is in that mode already."""
        return evaluating(self) if self.training else torch.inference_mode()

    def _keys(self, text: Text) -> np.ndarray:
        with self._still():
            return self.network.read(text).keys.half().cpu().numpy()

    def _read_one(self, words: np.ndarray, before: Sums | None) -> tuple[Memory, Sums | None]:
        ids = self.network._tensor(np.concatenate([[BEGIN], words])[None])  # checked before
        tokens = as_kept(np.concatenate([words, [END]]), self.vocabulary_size)
        with self._still():
            hidden = self.network.recurrent(self.network.embedding(ids))[0][0]  # (step, hidden)
            keys = self.network.asked(hidden)[:, :-1].half().cpu().numpy()
            memory = Memory(tokens, np.array([len(tokens)], np.int32), keys)
            return memory, None if before is None else self.network.summed(memory, before)

    def _ready(self, memory: Memory, sums: Sums | None) -> tuple[Sums, Opened]:
        with self._still():
            sums = self.network.summed(memory) if sums is None else sums
            return sums, self.network.opened(sums, memory.vector)

    def _attended(self, ids: Tensor, opened: Opened) -> np.ndarray:
        with self._still():
            hidden = self.network.recurrent(self.network.embedding(ids))[0][0]  # (step, hidden)
            return self.network.attended(hidden, opened).cpu().numpy()

    def _like(self, memories: Memories) -> UserMemory:
        return UserMemory(self.network, memories).train(self.training)

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
    base : companion.pytorch.base_model.BaseModel
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
        In evaluation mode; it remembers the training text of all known users.
    history : History
    """

    def make() -> tuple[UserMemory, History]:
        network = from_base(base, data.train, config, training.seed)
        learner = practice.Learner(network, len(data.known_users), training.seed)
        history = practice.train(learner, data, training, progress)
        model = UserMemory(network, Memories("", {})).eval()
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
    base : companion.pytorch.base_model.BaseModel
    text : Corpus
        How frequent its words are decides how much a use of each counts at first.
    config : UserMemoryConfig
    seed : int
    """
    network = MemoryNetwork(base.vocabulary_size, config, base.config, seed)
    with torch.no_grad():
        for name, weight in base.named_parameters():
            network.get_parameter(name).copy_(weight)
        if "counts" in config.ways:
            network.count_scale.copy_(torch.from_numpy(cutting.first_scale(text)))
    return network.to(base.output.bias.device)


def fingerprint(model: UserMemory) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


LIFE = memory_life(
    lambda network, memories: UserMemory(network, memories).eval(),
    MemoryNetwork,
    "PyTorch",
    (torch,),
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
