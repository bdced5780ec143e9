"""User embeddings in PyTorch: each user is a learned vector that the network reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from companion.corpora import Corpus, Split, epoch_batches
from companion.history import History
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import states
from companion.users.lifecycle import kept_states, kept_training
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

from . import base_model
from . import training as training_loop
from .base_model import BaseModel, recurrent_layers
from .training import evaluating

KIND = "user embedding in PyTorch"
FITTING_BATCH = 256


class ConditionedNetwork(BaseModel):
    """The base model's network, which also reads a vector with every message.

    Where `config` says so, the vector stands beside every input embedding, makes the first
    recurrent state, scales and shifts the last hidden state [1]_, or adds a bias to the words [2]_.
    All weights that read it start at zero: at first the vector changes nothing.

    Parameters
    ----------
    vocabulary_size : int
    config : UserEmbeddingConfig or HypernetworkConfig
        The size of the vector, and its placements.
    base : BaseModelConfig
    seed : int

    References
    ----------
    .. [1] Perez, E. et al. FiLM: Visual reasoning with a general conditioning layer. AAAI, 2018.
    .. [2] Jaech, A. and Ostendorf, M. Low-rank RNN adaptation for context-aware language modeling.
       TACL, 2018.
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: UserEmbeddingConfig | HypernetworkConfig = UserEmbeddingConfig(),
        base: BaseModelConfig = BaseModelConfig(),
        seed: int = 0,
    ) -> None:
        self.reading = config
        super().__init__(vocabulary_size, base, seed)

    def forward(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Logits ``(batch, time, word)`` of tokens ``(batch, time)``, vectors ``(batch, size)``."""
        return self.words(self.hidden(tokens, vectors), vectors[:, None])

    def hidden(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        inputs = self._beside(self.dropout(self.embedding(tokens)), vectors)
        return self.recurrent(inputs, self._first_state(vectors))[0]

    def words(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        """Logits ``(..., word)`` from states ``(..., hidden)`` and vectors ``(..., size)``."""
        if "film" in self.paths:
            scale, shift = self.paths["film"](vectors).chunk(2, dim=-1)
            hidden = hidden * (1 + scale) + shift
        logits = self._logits(hidden)
        return logits + self.paths["output"](vectors) if "output" in self.paths else logits

    def begin_with(self, vectors: Tensor) -> tuple[Tensor, ...]:
        """The state before any token, the vectors ``(batch, size)`` being its last part."""
        state = self._first_state(vectors)
        if state is None:
            return *self.begin(len(vectors)), vectors
        return *(state if isinstance(state, tuple) else (state,)), vectors

    def advance(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple]:
        """Logits ``(batch, word)`` after one more token ``(batch,)``, and the state then."""
        *state, vectors = state
        state = self._advance(self._beside(self.embedding(tokens), vectors), tuple(state))
        return self.words(state[0][-1], vectors), (*state, vectors)

    @property
    def reads_early(self) -> bool:
        """Whether a vector enters the recurrent layers."""
        return not {"input", "state"}.isdisjoint(self.reading.placements)

    def _beside(self, embedded: Tensor, vectors: Tensor) -> Tensor:
        """The vector behind each input embedding, the same at every step."""
        if "input" not in self.reading.placements:
            return embedded
        if embedded.ndim == 3:
            vectors = vectors[:, None].expand(-1, embedded.shape[1], -1)  # (batch, time, size)
        return torch.cat([embedded, vectors], dim=-1)  # (batch, time, embedding + size)

    def _first_state(self, vectors: Tensor) -> Tensor | tuple[Tensor, ...] | None:
        """Each part ``(layer, batch, hidden)``; None, which is zeros, where no vector makes it."""
        if "state" not in self.paths:
            return None
        parts = self.paths["state"](vectors).unflatten(
            -1, (-1, self.config.layers, self.config.hidden)
        )
        parts = parts.permute(1, 2, 0, 3).contiguous().unbind()  # (layer, batch, hidden) each
        return parts if self.config.cell == "lstm" else parts[0]

    def _build(self, config: BaseModelConfig) -> None:
        """The base model's layers, a wider input where the vector stands there, and its paths."""
        super()._build(config)
        size, parts = self.reading.size, 2 if config.cell == "lstm" else 1
        if "input" in self.reading.placements:
            self.recurrent = recurrent_layers(config, config.embedding + size)
        widths = {
            "state": parts * config.layers * config.hidden,
            "film": 2 * config.hidden,
            "output": self.vocabulary_size,
        }
        self.paths = nn.ModuleDict(
            {
                place: nn.Linear(size, width, bias=False)
                for place, width in widths.items()
                if place in self.reading.placements
            }
        )

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        super()._initialize(generator)
        if "input" in self.reading.placements:
            self.recurrent.weight_ih_l0[:, self.config.embedding :] = 0.0
        for path in self.paths.values():
            nn.init.zeros_(path.weight)


class UserEmbedding(nn.Module):
    """A network that reads a learned vector of whoever is typing.

    Parameters
    ----------
    network : ConditionedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    def __init__(
        self, network: ConditionedNetwork, users: Sequence[int] | np.ndarray, vectors: np.ndarray
    ) -> None:
        super().__init__()
        self.network = network
        self.known_users = check_table(users, vectors, network.reading.size)
        self.vectors = nn.Embedding.from_pretrained(torch.tensor(vectors), freeze=False)
        self.dropout = nn.Dropout(network.reading.dropout)
        self.register_buffer("rows", torch.tensor(rows_of(self.known_users)), persistent=False)

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
        return other.to(self.rows.device)

    def _rows(self, users: Tensor | None, messages: int) -> Tensor:
        """Rows of the table of vectors, ``(messages,)``; the last one is anyone's."""
        anyone = len(self.known_users)
        if users is None:
            return self.rows.new_full((messages,), anyone)
        last = len(self.rows) - 1  # an id beyond the known ones has anyone's row, as the last has
        return self.rows[users.long().clamp(-1, last)]

    def _known(self, users: np.ndarray | None, messages: int) -> Tensor | None:
        """Checked ids of known users."""
        if users is None:
            return None
        return torch.from_numpy(known_ids(users, messages, self.known_users)).to(self.rows.device)


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

    def make() -> tuple[UserEmbedding, History]:
        model = from_base(base, data.known_users, config, training.seed)
        history = training_loop.train(model, data, training, progress)
        with torch.no_grad():  # as they are stored
            model.vectors.weight.copy_(model.vectors.weight.half())
        return model, history

    key = {
        "name": "user embedding pytorch",
        "base": base_model.fingerprint(base),
        "config": config,
        "training": training,
        "vectors": [VECTOR_SPREAD, STORED],  # not all of methods.py, where other methods stand too
        "framework": torch.__version__,
    }
    code = sys.modules[__name__], base_model, training_loop, states
    return kept_training(key, data, code, make, _save, _load)


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
    with torch.no_grad():
        for name, weight in base.named_parameters():
            network.get_parameter(name)[..., : weight.shape[-1]] = weight
    vectors = first_vectors(len(users), config.size, seed)
    return UserEmbedding(network, users, vectors).to(base.output.bias.device)


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
        If the corpus is empty or has words that the model lacks, if the model knows fewer than two
        users, whose vectors then have no spread, or if a fitted number is not finite.

    Notes
    -----
    The words must have the ids of the model's vocabulary; that they have cannot be seen here. Where
    no vector enters the recurrent layers, all hidden states are kept: 512 bytes a token by default.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: a user's vector needs at least one message")
    if len(model.known_users) < 2:
        raise ValueError(f"model must know at least 2 users, not {len(model.known_users)}")
    users, rows = corpus.active_users, rows_of(corpus.active_users)
    spread, typical = torch.std_mean(model.vectors.weight.detach()[:-1], dim=0)  # (size,) each
    offsets = typical.new_zeros(len(users), len(typical)).requires_grad_()  # in units of the spread
    adam = torch.optim.Adam([offsets], lr=config.learning_rate)
    fall = LinearLR(adam, 1.0, 0.0, config.steps)
    with _without_dropout(model.network) as network:
        batches = _read_once(network, corpus, rows)
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
    key = {
        "name": "user vectors pytorch",
        "model": fingerprint(model),
        "users": files.fingerprint({"vectors": model.vectors.weight.detach().cpu().numpy()}),
        "config": config,
        "framework": torch.__version__,
    }
    code = sys.modules[__name__], base_model, training_loop
    return kept_states(key, corpus, code, lambda: fit(model, corpus, config))


def save(model: UserEmbedding, path: str | PathLike[str]) -> None:
    """Write a model, with the vectors of its users, to a safetensors file."""
    _save(model, path)


def load(path: str | PathLike[str]) -> UserEmbedding:
    """Read a model that :func:`save` wrote, in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    companion.keeping.files.CorruptedFileError
        If the file is truncated or was altered.
    """
    return _load(path)[0]


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


def _read_once(network: ConditionedNetwork, corpus: Corpus, rows: np.ndarray) -> list[_Batch]:
    """All messages in batches; where no vector enters the recurrent layers, they read them now."""
    batches, nobody = [], network.output.bias.new_zeros(1, network.reading.size)
    for messages in epoch_batches(corpus.lengths, FITTING_BATCH, seed=0, epoch=0, pool=len(corpus)):
        inputs, *arrays = (*corpus.padded(messages), rows[corpus.users[messages]])
        tokens = network._tokens(inputs, ndim=2)
        targets, own = (torch.from_numpy(a).to(nobody.device) for a in arrays)
        with torch.no_grad():
            vectors = nobody.expand(len(tokens), -1)
            hidden = None if network.reads_early else network.hidden(tokens, vectors)
        batches.append(_Batch(tokens, targets, own, hidden))
    return batches


def save_as(kind: str, model: UserEmbedding, path: str | PathLike[str], **more: Any) -> None:
    """Write network, vectors, configurations and more to one file of this kind."""
    arrays = {f"network.{n}": w for n, w in base_model.weights_of(model.network).items()}
    arrays |= {"vectors": model.vectors.weight.detach().cpu().numpy().astype(STORED)}
    metadata = {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.network.reading),
        "base": asdict(model.network.config),
    }
    files.save_arrays(path, arrays | {"users": model.known_users}, kind, {**metadata, **more})


def load_as(
    kind: str, path: str | PathLike[str], make_network: Callable[..., ConditionedNetwork]
) -> tuple[ConditionedNetwork, np.ndarray, np.ndarray, dict[str, Any]]:
    """What :func:`save_as` wrote: the network, its users, their vectors, and all metadata."""
    arrays, metadata = files.load_arrays(path, kind)
    users, vectors = arrays.pop("users"), arrays.pop("vectors")
    base = BaseModelConfig(**metadata["base"])
    network = make_network(metadata["vocabulary_size"], metadata["config"], base)
    base_model.assign(network, {n.removeprefix("network."): a for n, a in arrays.items()}, path)
    return network, users, vectors.astype(np.float32), metadata


def _save(model: UserEmbedding, path: str | PathLike[str], **more: Any) -> None:
    save_as(KIND, model, path, **more)


def _load(path: str | PathLike[str]) -> tuple[UserEmbedding, dict[str, Any]]:
    """The model in a file, and what else its metadata holds."""

    def make(words: int, config: dict[str, Any], base: BaseModelConfig) -> ConditionedNetwork:
        return ConditionedNetwork(words, UserEmbeddingConfig(**config), base)

    network, users, vectors, metadata = load_as(KIND, path, make)
    return UserEmbedding(network, users, vectors).eval(), metadata


__all__ = [
    "ConditionedNetwork",
    "UserEmbedding",
    "fingerprint",
    "fit",
    "fitted",
    "from_base",
    "load",
    "save",
    "trained",
]
