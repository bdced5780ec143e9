"""User embeddings in PyTorch: each user is a learned vector that the network reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from companion.corpora import Corpus, Split, Vocabulary, epoch_batches
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import states
from companion.users.lifecycle import Life, check_text
from companion.users.methods import (
    STORED,
    USER_EMBEDDING_TRAINING,
    VECTOR_SPREAD,
    FittingConfig,
    HypernetworkConfig,
    UserEmbeddingConfig,
)
from companion.users.states import (
    PersonalStates,
    check_table,
    first_vectors,
    known_ids,
    rows_of,
    table_of,
)

from . import base_model, conditioned
from . import training as training_loop
from .base_model import BaseModel, rows_among
from .conditioned import ConditionedNetwork
from .training import evaluating

Embedding = TypeVar("Embedding", bound="UserEmbedding")
FITTING_BATCH = 64


class UserEmbedding(nn.Module):
    """A network that reads a learned vector of whoever is typing.

    Parameters
    ----------
    network : companion.pytorch.conditioned.ConditionedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    vocabulary: Vocabulary | None = None
    user_names: tuple[str, ...] | None = None
    ids: Tensor

    def __init__(
        self, network: ConditionedNetwork, users: Sequence[int] | np.ndarray, vectors: np.ndarray
    ) -> None:
        super().__init__()
        self.network = network
        self.known_users = check_table(users, vectors, network.reading.size)
        self.vectors = nn.Embedding.from_pretrained(torch.tensor(vectors), freeze=False)
        self.dropout = nn.Dropout(network.reading.dropout)
        self.register_buffer("ids", torch.tensor(self.known_users), persistent=False)

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.network.vocabulary_size

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
        rows = self._rows(users, len(tokens))
        if self.training:
            anyone = torch.rand(len(rows), device=rows.device) < self.network.reading.user_dropout
            rows = rows.masked_fill(anyone, len(self.known_users))
        return self.network(tokens, self.dropout(self.vectors(rows)))

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``, without dropout.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.
        users : np.ndarray, optional
            Who wrote each message, ``(message,)``; anyone, where not given.

        Raises
        ------
        TypeError, ValueError
            If the ids are no integers, a token is outside the vocabulary, or a user is not known.
        """
        ids = self.network._tokens(tokens, ndim=2)
        with evaluating(self):
            return self(ids, self._known(users, len(ids))).log_softmax(-1).cpu().numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """The state before any token of messages by these users, their vectors included."""
        with evaluating(self):
            rows = self._rows(self._known(users, batch), batch)
            return self.network.begin_with(self.vectors(rows))

    def step(
        self, tokens: np.ndarray, state: tuple[Tensor, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Tensor, ...]]:
        """Read one token per message ``(batch,)``, going on from `state`.

        Whose vector is read was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state; the old one is not changed.
        """
        ids = self.network._tokens(tokens, ndim=1)
        with evaluating(self):
            logits, state = self.network.advance(ids, state)
            return logits.log_softmax(-1).cpu().numpy(), state

    def states(self) -> PersonalStates:
        """The vectors of all known users, ``{"vector": (users, size)}``, as they are kept."""
        vectors = self.vectors.weight.detach().cpu().numpy()[:-1].astype(STORED)
        return PersonalStates(fingerprint(self), self.known_users, {"vector": vectors})

    def with_states(self, states: PersonalStates) -> UserEmbedding:
        """The same network for the users of `states` instead; weights are shared, not copied.

        Raises
        ------
        ValueError
            If the states were made for another network, or by another method.
        """
        states.check_made_for(fingerprint(self))
        anyone = self.vectors.weight.detach().cpu().numpy()[-1:]
        vectors = table_of(states, anyone)
        other = type(self)(self.network, states.users, vectors).train(self.training)
        other.vocabulary = self.vocabulary
        return other.to(self.ids.device)

    def _rows(self, users: Tensor | None, messages: int) -> Tensor:
        """Rows of the table of vectors, ``(messages,)``; the last one is anyone's."""
        return rows_among(self.ids, users, messages)

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
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : UserEmbedding
        In evaluation mode.
    history : History
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


def fit(
    model: UserEmbedding, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> PersonalStates:
    """Vectors of new users, fitted to their messages, the network being frozen.

    Parameters
    ----------
    model : companion.pytorch.user_embeddings.UserEmbedding
    corpus : Corpus
        The messages, of one user or of many; all users are fitted at once.
    config : FittingConfig

    Returns
    -------
    PersonalStates
        Of every user who has a message in `corpus`: ``{"vector": (users, size)}``.

    Raises
    ------
    ValueError
        If the corpus is empty or has another vocabulary than the model, if the model knows fewer
        than two users, whose vectors then have no spread, or if a fitted number is not finite.

    Notes
    -----
    Where no vector enters the recurrent layers, all hidden states are kept: 512 bytes a token by
    default.
    """
    check_text(model.vocabulary, model.vocabulary_size, corpus)
    if len(model.known_users) < 2:
        raise ValueError(f"model must know at least 2 users, not {len(model.known_users)}")
    users = corpus.active_users
    spread, typical = torch.std_mean(model.vectors.weight.detach()[:-1], dim=0)  # (size,) each
    offsets = typical.new_zeros(len(users), len(typical)).requires_grad_()  # in units of the spread
    adam = torch.optim.Adam([offsets], lr=config.learning_rate)
    fall = LinearLR(adam, 1.0, 0.0, config.steps)
    with _without_dropout(model.network) as network:
        batches = _read_once(network, corpus)
        for _ in range(config.steps):
            offsets.grad = config.pull * offsets.detach()
            for batch in batches:
                loss = batch.loss(network, typical + spread * offsets[batch.rows])
                offsets.grad += torch.autograd.grad(loss, offsets)[0]  # the network needs none
            adam.step()
            fall.step()
    vectors = (typical + spread * offsets).detach().cpu().numpy()
    return PersonalStates(fingerprint(model), users, {"vector": vectors.astype(STORED)})


def fitted(
    model: UserEmbedding, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> PersonalStates:
    """What :func:`fit` gives, from the cache folder if it was fitted before."""
    return fitted_as(LIFE, model, corpus, config)


def save(model: UserEmbedding, path: str | PathLike[str]) -> None:
    """Write a model, with the vectors of its users, to a safetensors file."""
    LIFE.save(model, path)


def load(path: str | PathLike[str]) -> UserEmbedding:
    """Read a model that :func:`save` wrote, in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    companion.keeping.files.CorruptedFileError
        If the file is truncated or was altered.
    """
    return LIFE.load(path)


def fingerprint(model: UserEmbedding) -> str:
    """Sixteen hexadecimal digits that change with any weight of the network, not with its users."""
    return base_model.fingerprint(model.network)


@contextmanager
def _without_dropout(network: ConditionedNetwork) -> Iterator[ConditionedNetwork]:
    """The network in evaluation mode, but with gradients; its mode comes back after it."""
    was_training = network.training
    try:
        yield network.eval()
    finally:
        network.train(was_training)


class _Batch(NamedTuple):
    """Some messages, as far as the network can read them before it knows the vectors."""

    tokens: Tensor
    targets: Tensor
    rows: Tensor
    hidden: Tensor | None

    def loss(self, network: ConditionedNetwork, vectors: Tensor) -> Tensor:
        """Summed loss of the batch, nats, read with these vectors ``(batch, size)``."""
        hidden = network.hidden(self.tokens, vectors) if self.hidden is None else self.hidden
        logits = network.words(hidden, vectors[:, None])  # (batch, time, word)
        return training_loop.masked_loss(logits, self.targets) * self.targets.count_nonzero()


def _read_once(network: ConditionedNetwork, corpus: Corpus) -> list[_Batch]:
    """All messages in batches; where no vector enters the recurrent layers, they read them now."""
    batches, nobody = [], network.output.bias.new_zeros(1, network.reading.size)
    for messages in epoch_batches(corpus.lengths, FITTING_BATCH, seed=0, epoch=0, pool=len(corpus)):
        rows = rows_of(corpus.active_users, corpus.users[messages])
        inputs, *arrays = (*corpus.padded(messages), rows)
        tokens = network._tokens(inputs, ndim=2)
        targets, own = (torch.from_numpy(a).to(nobody.device) for a in arrays)
        with torch.no_grad():
            vectors = nobody.expand(len(tokens), -1)
            hidden = None if network.reads_early else network.hidden(tokens, vectors)
        batches.append(_Batch(tokens, targets, own, hidden))
    return batches


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


def fitted_as(
    life: Life[Embedding], model: Embedding, corpus: Corpus, config: FittingConfig
) -> PersonalStates:
    """What :func:`fit` gives for a model of any kind, from the cache folder if it is there."""
    users = files.fingerprint({"vectors": model.vectors.weight.detach().cpu().numpy()})
    key = {"model": fingerprint(model), "users": users, "config": config}
    return life.fitted(corpus, lambda: fit(model, corpus, config), **key)


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
) -> Life[Embedding]:
    """How models of this kind, `called` so, are kept: a network and the vectors of its users."""

    def make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> Embedding:
        users, vectors = arrays.pop("users"), arrays.pop("vectors").astype(np.float32)
        base = BaseModelConfig(**settings["base"])
        made = network(settings["vocabulary_size"], config(**settings["config"]), base)
        named = {name.removeprefix("network."): array for name, array in arrays.items()}
        base_model.assign(made, named, path)
        return kind(made, users, vectors).eval()

    code = *code, sys.modules[__name__], conditioned, base_model, training_loop, states
    framework = (torch,)
    return Life(
        f"{called} in PyTorch", f"{called} pytorch", framework, code, _arrays, _settings, make
    )


def _arrays(model: UserEmbedding) -> dict[str, np.ndarray]:
    """Weights of the network, the vectors as they are stored, and whose they are."""
    weights = base_model.weights_of(model.network)
    vectors = model.vectors.weight.detach().cpu().numpy().astype(STORED)
    named = {f"network.{name}": weight for name, weight in weights.items()}
    return {**named, "vectors": vectors, "users": model.known_users}


def _settings(model: UserEmbedding) -> dict[str, Any]:
    """What decides a model besides its arrays."""
    return {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.network.reading),
        "base": asdict(model.network.config),
    }


LIFE = life_of(UserEmbedding, ConditionedNetwork, UserEmbeddingConfig, "user embedding", ())


__all__ = [
    "UserEmbedding",
    "fingerprint",
    "fit",
    "fitted",
    "from_base",
    "load",
    "save",
    "trained",
]
