"""User embeddings in PyTorch: each user is a learned vector that the network reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from companion.corpora import Corpus, Split
from companion.history import History
from companion.settings import TrainingConfig
from companion.users.lifecycle import Life
from companion.users.methods import (
    STORED,
    USER_EMBEDDING_TRAINING,
    VECTOR_SPREAD,
    FittingConfig,
    HypernetworkConfig,
    UserEmbeddingConfig,
)
from companion.users.states import check_table, first_vectors, known_ids
from companion.users.vectors import VectorLife, VectorModel, fit, vector_life

from . import base_model, conditioned, fitting
from . import training as training_loop
from .base_model import BaseModel, rows_among
from .conditioned import ConditionedNetwork
from .fitting import fitted_vectors
from .training import evaluating

Embedding = TypeVar("Embedding", bound="UserEmbedding")


class UserEmbedding(VectorModel, nn.Module):
    """A network that reads a learned vector of whoever is typing.

    What it can do stands in :class:`companion.users.models.LanguageModel` and
    :class:`companion.users.vectors.VectorModel`.

    Parameters
    ----------
    network : companion.pytorch.conditioned.ConditionedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    ids: Tensor

    def __init__(
        self, network: ConditionedNetwork, users: Sequence[int] | np.ndarray, vectors: np.ndarray
    ) -> None:
        super().__init__()
        self.network, self.vocabulary_size = network, network.vocabulary_size
        self.known_users = check_table(users, vectors, network.reading.size)
        self.vectors = nn.Embedding.from_pretrained(torch.tensor(vectors), freeze=False)
        self.dropout = nn.Dropout(network.reading.dropout)
        self.register_buffer("ids", torch.tensor(self.known_users), persistent=False)

    def forward(self, tokens: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        tokens : Tensor
            Token ids, ``(batch, time)``.
        users : Tensor, optional
            Who wrote each message, ``(batch,)``. Whoever is not known, and everybody where no users
            are given, is read with the vector of anyone.
        """
        rows = rows_among(self.ids, users, len(tokens))
        if self.training:
            anyone = torch.rand(len(rows), device=rows.device) < self.network.reading.user_dropout
            rows = rows.masked_fill(anyone, len(self.known_users))
        return self.network(tokens, self.dropout(self.vectors(rows)))

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``."""
        ids = self.network._tokens(tokens, ndim=2)
        with evaluating(self):
            return self(ids, self._known(users, len(ids))).log_softmax(-1).cpu().numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """The state before any token of messages by these users, their vectors included."""
        with evaluating(self):
            rows = rows_among(self.ids, self._known(users, batch), batch)
            return self.network.begin_with(self.vectors(rows))

    def step(
        self, tokens: np.ndarray, state: tuple[Tensor, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Tensor, ...]]:
        """Read one token per message; :meth:`begin` has settled whose vector is read."""
        ids = self.network._tokens(tokens, ndim=1)
        with evaluating(self):
            logits, state = self.network.advance(ids, state)
            return logits.log_softmax(-1).cpu().numpy(), state

    def _table(self) -> np.ndarray:
        return self.vectors.weight.detach().cpu().numpy()

    def _like(self, users: np.ndarray, vectors: np.ndarray) -> Self:
        return type(self)(self.network, users, vectors).train(self.training).to(self.ids.device)

    def _fingerprint(self) -> str:
        return fingerprint(self)

    def _fitted(self, corpus: Corpus, config: FittingConfig) -> np.ndarray:
        return fitted_vectors(self, corpus, config)

    def _known(self, users: np.ndarray | None, messages: int) -> Tensor | None:
        """Checked ids of known users."""
        if users is None:
            return None
        return torch.from_numpy(known_ids(users, messages, self.known_users)).to(self.ids.device)


def trained(
    data: Split,
    base: BaseModel,
    config: UserEmbeddingConfig = UserEmbeddingConfig(),
    training: TrainingConfig = USER_EMBEDDING_TRAINING,
    progress: bool | None = None,
) -> tuple[UserEmbedding, History]:
    """User embeddings trained on `data` from a base model on, kept as base models are.

    Parameters
    ----------
    data : Split
    base : companion.pytorch.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : UserEmbeddingConfig
    training : TrainingConfig
        Its seed decides the first vectors too.
    progress : bool, optional
        As in :func:`companion.pytorch.base_model.trained`, whose results it has.
    """
    return trained_as(LIFE, from_base, data, base, config, training, progress)


def from_base(
    base: BaseModel,
    users: Sequence[int] | np.ndarray,
    config: UserEmbeddingConfig = UserEmbeddingConfig(),
    seed: int = 0,
) -> UserEmbedding:
    """Untrained user embeddings on top of a base model: at first, they predict as it does.

    The first vectors are drawn at random, since all that read them start at zero.
    """
    network = ConditionedNetwork(base.vocabulary_size, config, base.config, seed)
    return on_top(UserEmbedding, network, base, users, seed)


def fingerprint(model: UserEmbedding) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


def trained_as(
    life: Life[Embedding],
    make_untrained: Callable[..., Embedding],
    data: Split,
    base: BaseModel,
    config: UserEmbeddingConfig | HypernetworkConfig,
    training: TrainingConfig,
    progress: bool | None,
) -> tuple[Embedding, History]:
    """A model that reads vectors, of any kind, trained on `data` from a base model on and kept."""

    def make() -> tuple[Embedding, History]:
        model = make_untrained(base, data.known_users, config, training.seed)
        history = training_loop.train(model, data, training, progress)
        with torch.no_grad():  # as they are stored
            model.vectors.weight.copy_(model.vectors.weight.half())
        return model, history

    vectors = [VECTOR_SPREAD, STORED]  # not all of methods.py, where other methods stand too
    key = {"base": base_model.fingerprint(base), "config": config, "vectors": vectors}
    return life.trained(data, make, training=training, **key)


def on_top(
    kind: type[Embedding],
    network: ConditionedNetwork,
    base: BaseModel,
    users: Sequence[int] | np.ndarray,
    seed: int,
) -> Embedding:
    """A model of this kind whose network starts from the base model's weights."""
    with torch.no_grad():
        for name, weight in base.named_parameters():
            network.get_parameter(name)[..., : weight.shape[-1]] = weight
    vectors = first_vectors(len(users), network.reading.size, seed)
    model = kind(network, users, vectors).to(base.output.bias.device)
    model.vocabulary = base.vocabulary
    return model


def life_of(
    kind: type[Embedding],
    network: type[ConditionedNetwork],
    config: type[UserEmbeddingConfig | HypernetworkConfig],
    called: str,
    code: tuple[ModuleType, ...],
) -> VectorLife[Embedding]:
    """How models of this kind, `called` so, are kept: a network and the vectors of its users."""
    code = *code, sys.modules[__name__], conditioned, fitting, training_loop

    def made(*given: Any) -> Embedding:
        return kind(*given).eval()

    return vector_life(made, network, config, (called, "PyTorch"), (torch,), base_model, code)


LIFE = life_of(UserEmbedding, ConditionedNetwork, UserEmbeddingConfig, "user embedding", ())
fitted, save, load = LIFE.fitted_vectors, LIFE.save, LIFE.load


__all__ = ["UserEmbedding", "fingerprint", "fit", "fitted", "from_base", "load", "save", "trained"]
