"""User heads in PyTorch: a network that asks itself who is typing, and is guided by the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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
from .training import evaluating

IGNORED = -100  # what cross_entropy leaves out


class UserHeads(BelievingModel, nn.Module):
    """One recurrent network with two heads: one predicts the next word, one who is typing.

    What it can do stands in :class:`companion.users.models.LanguageModel` and
    :class:`companion.users.believing.BelievingModel`.

    Parameters
    ----------
    network : companion.pytorch.conditioned.ConditionedNetwork
        Reads the words, and predicts the next one with a user's vector. What another model has
        made of it, a companion.pytorch.guided.GuidedNetwork, is shared.
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

    prior: Tensor
    begins: Tensor
    ids: Tensor

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
        self.config, self.temperature = config, temperature
        self.known_users, self.shares = beliefs.check_table(users, vectors, prior, config.size)
        self.vectors = nn.Parameter(torch.tensor(vectors, dtype=torch.float32))
        first = torch.from_numpy(log_shares(self.shares))
        self.register_buffer("prior", first, persistent=False)
        self._begin_with(self.known_users, beliefs.certain(self.shares))

    @property
    def network(self) -> ConditionedNetwork:
        """Reads the words, and predicts the next one with a user's vector."""
        return self.guided.network

    @property
    def evidence_of(self) -> nn.ModuleDict:
        """The weights of the user head, for each of what it reads."""
        return self.guided.evidence_of

    def forward(self, tokens: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        tokens : Tensor
            Token ids, ``(batch, time)``.
        users : Tensor, optional
            Who wrote each message, ``(batch,)``. Whoever is not known, and everybody where no users
            are given, is asked about: the belief begins with the prior and follows the message.

        Notes
        -----
        In training all users must be known. Now and then a batch is read as if nobody had said who
        wrote it. Each call leaves ``added_loss`` behind: that of the user head, times its weight.
        """
        hidden = self.network.hidden(tokens, self.vectors)  # (batch, time, hidden)
        evidence = self._evidence(tokens, hidden)  # (batch, time, user)
        rows = rows_among(self.ids, users, len(tokens))
        self.added_loss: Tensor | float = 0.0
        if self.training:
            self.added_loss = self._user_loss(tokens, evidence, rows)
            if torch.rand(()) >= self.config.untold:  # one vector a message: much less to compute
                told = self.guided.dropout(self.vectors[rows])
                return self.network.words(hidden, told[:, None])
            rows = torch.full_like(rows, len(self.begins) - 1)
        belief = (self.begins[rows][:, None] + evidence).softmax(-1)
        return self.guided.words(hidden, belief, self.vectors)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``.

        Where no users are given, the network finds out from the message alone.
        """
        ids = self.network._tokens(tokens, ndim=2)
        with evaluating(self):
            return self(ids, self._known(users, len(ids))).log_softmax(-1).cpu().numpy()

    def evidence(self, tokens: np.ndarray) -> np.ndarray:
        """Log-likelihood of each message so far under each user, ``(message, step, user)``."""
        ids = self.network._tokens(tokens, ndim=2)
        with evaluating(self):
            return self._evidence(ids, self.network.hidden(ids, self.vectors)).cpu().numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """The state before any token of messages by these users: its last part is the belief."""
        with evaluating(self):
            rows = rows_among(self.ids, self._known(users, batch), batch)
            return *self.network.begin(batch), self.begins[rows]

    def step(
        self, tokens: np.ndarray, state: tuple[Tensor, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Tensor, ...]]:
        """Read one token per message; :meth:`begin` has settled what is believed at first.

        The last part of the state are the log-beliefs ``(batch, user)`` after the token.
        """
        ids = self.network._tokens(tokens, ndim=1)
        with evaluating(self):
            log_probs, state = self.guided._step(ids, state, self.vectors, self.temperature)
            return log_probs.cpu().numpy(), state

    def _table(self) -> np.ndarray:
        return self.vectors.detach().cpu().numpy()

    def _like(self, users: np.ndarray, vectors: np.ndarray, shares: np.ndarray) -> UserHeads:
        other = UserHeads(self.guided, self.config, users, vectors, shares, self.temperature)
        return other.to(self.prior.device).train(self.training)

    def _fingerprint(self) -> str:
        return fingerprint(self)

    def _begin_with(self, typists: np.ndarray, table: np.ndarray) -> None:
        self.typists = typists
        told = torch.tensor(table, dtype=torch.float32, device=self.prior.device)
        self.register_buffer("begins", torch.cat([told, self.prior[None]]), persistent=False)
        ids = torch.tensor(typists, device=self.prior.device)
        self.register_buffer("ids", ids, persistent=False)

    def _evidence(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Summed over the words so far, ``(batch, time, user)``."""
        return self.guided.evidence(tokens, hidden, self.vectors, self.temperature)

    def _user_loss(self, tokens: Tensor, evidence: Tensor, rows: Tensor) -> Tensor:
        """Mean cross-entropy of who wrote the messages, after every token of them; weighted."""
        right = rows[:, None].expand_as(tokens).masked_fill(tokens == PADDING, IGNORED)
        asked = (self.prior + evidence).flatten(0, 1)  # (batch * time, user)
        return self.config.weight * functional.cross_entropy(asked, right.flatten())

    def _known(self, users: np.ndarray | None, messages: int) -> Tensor | None:
        """Checked ids of typists."""
        if users is None:
            return None
        return torch.from_numpy(known_ids(users, messages, self.typists)).to(self.ids.device)


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
    base : companion.pytorch.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : UserHeadsConfig
    training : TrainingConfig
        Its seed decides the first vectors too.
    progress : bool, optional
        As in :func:`companion.pytorch.base_model.trained`, whose results it has;
        training losses are those of both heads together.
    """

    def make() -> tuple[UserHeads, History]:
        known = data.known_users
        prior = data.train.message_counts[known]
        model = from_base(base, known, prior, config, training.seed)
        history = training_loop.train(model, data, training, progress)
        with torch.no_grad():  # as they are stored
            model.vectors.copy_(model.vectors.half())
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
    return model.to(base.output.bias.device)


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
    return model.eval()


LIFE = Life(
    kind="user heads in PyTorch",
    name="user heads pytorch",
    framework=(torch,),
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
