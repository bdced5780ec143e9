"""User heads in PyTorch: a network that asks itself who is typing, and is guided by the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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
from .training import evaluating

READING_BATCH = 256
IGNORED = -100  # what cross_entropy leaves out


class UserHeads(nn.Module):
    """One recurrent network with two heads: one predicts the next word, one who is typing.

    Every word typed is evidence for some users and against others; the belief over users is the sum
    of it. The users' vectors, weighed by the belief, guide the next word.

    Parameters
    ----------
    network : companion.pytorch.conditioned.ConditionedNetwork
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
    prior: Tensor
    begins: Tensor
    ids: Tensor

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
        self.network, self.config, self.temperature = network, config, temperature
        self.known_users, self.shares = beliefs.check_table(users, vectors, prior, config.size)
        self.vectors = nn.Parameter(torch.tensor(vectors, dtype=torch.float32))
        self.evidence_of = nn.ModuleDict()
        if "word" in config.evidence:
            self.evidence_of["word"] = nn.Embedding(network.vocabulary_size, config.size)
        if "state" in config.evidence:
            self.evidence_of["state"] = nn.Linear(network.config.hidden, config.size)
        for head in self.evidence_of.parameters():
            nn.init.zeros_(head)
        self.dropout = nn.Dropout(config.dropout)
        log_shares = np.log(self.shares / self.shares.sum())
        first = torch.tensor(log_shares, dtype=torch.float32)
        self.register_buffer("prior", first, persistent=False)
        self._begin_with(self.known_users, beliefs.certain(self.shares))

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
            are given, is asked about: the belief begins with the prior and follows the message.

        Notes
        -----
        In training all users must be known. Now and then a batch is read as if nobody had said who
        wrote it. Each call leaves ``added_loss`` behind: that of the user head, times its weight.
        """
        hidden = self.network.hidden(tokens, self.vectors)  # (batch, time, hidden)
        evidence = self._evidence(tokens, hidden)  # (batch, time, user)
        rows = self._rows(users, len(tokens))
        self.added_loss: Tensor | float = 0.0
        if self.training:
            self.added_loss = self._user_loss(tokens, evidence, rows)
            if torch.rand(()) >= self.config.untold:  # one vector a message: much less to compute
                return self.network.words(hidden, self.dropout(self.vectors[rows])[:, None])
            rows = torch.full_like(rows, len(self.begins) - 1)
        belief = (self.begins[rows][:, None] + evidence).softmax(-1)
        return self.network.words(hidden, self.dropout(belief @ self.vectors))

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
        with evaluating(self):
            return self(ids, self._known(users, len(ids))).log_softmax(-1).cpu().numpy()

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
        with evaluating(self):
            return self._evidence(ids, self.network.hidden(ids, self.vectors)).cpu().numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """The state before any token of messages by these users: its last part is the belief."""
        with evaluating(self):
            rows = self._rows(self._known(users, batch), batch)
            return *self.network.begin(batch), self.begins[rows]

    def step(
        self, tokens: np.ndarray, state: tuple[Tensor, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Tensor, ...]]:
        """Read one token per message ``(batch,)``, going on from `state`.

        What is believed at first was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state, whose last part are the log-beliefs ``(batch, user)``
        after the token; the old one is not changed.
        """
        ids = self.network._tokens(tokens, ndim=1)
        with evaluating(self):
            *before, belief = state
            after = self.network._advance(self.network.embedding(ids), tuple(before))
            hidden = after[0][-1]  # (batch, hidden)
            belief = belief + self._evidence(ids[:, None], hidden[:, None])[:, 0]
            logits = self.network.words(hidden, belief.softmax(-1) @ self.vectors)
            return logits.log_softmax(-1).cpu().numpy(), (*after, belief.log_softmax(-1))

    def states(self) -> PersonalStates:
        """The vectors of all known users, ``{"vector": (users, size)}``, as they are kept."""
        vectors = self.vectors.detach().cpu().numpy().astype(STORED)
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
        vectors = self.vectors.detach().cpu().numpy()[rows]
        other = UserHeads(self.network, self.config, users, vectors, shares, self.temperature)
        other.vocabulary = self.vocabulary
        other.evidence_of = self.evidence_of
        return other.to(self.prior.device).train(self.training)

    def _begin_with(self, typists: np.ndarray, table: np.ndarray) -> None:
        """What to believe at first: log-beliefs ``(typists, users)``; the prior, of anyone else."""
        self.typists = typists
        told = torch.tensor(table, dtype=torch.float32, device=self.prior.device)
        self.register_buffer("begins", torch.cat([told, self.prior[None]]), persistent=False)
        ids = torch.tensor(typists, device=self.prior.device)
        self.register_buffer("ids", ids, persistent=False)

    def _evidence(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Summed over the words so far, ``(batch, time, user)``; the begin of a message is none."""
        asked = hidden.new_zeros(*tokens.shape, self.config.size)
        if "word" in self.evidence_of:
            asked = self.evidence_of["word"](tokens)
        if "state" in self.evidence_of:
            asked = asked + self.evidence_of["state"](self.dropout(hidden))
        says = ((tokens != PADDING) & (tokens != BEGIN))[..., None]  # (batch, time, 1)
        return (asked * says).cumsum(1) @ self.vectors.T / self.temperature

    def _user_loss(self, tokens: Tensor, evidence: Tensor, rows: Tensor) -> Tensor:
        """Mean cross-entropy of who wrote the messages, after every token of them; weighted."""
        right = rows[:, None].expand_as(tokens).masked_fill(tokens == PADDING, IGNORED)
        asked = (self.prior + evidence).flatten(0, 1)  # (batch * time, user)
        return self.config.weight * functional.cross_entropy(asked, right.flatten())

    def _rows(self, users: Tensor | None, messages: int) -> Tensor:
        """Rows of the table of first beliefs, ``(messages,)``; the last one is anyone's."""
        return rows_among(self.ids, users, messages)

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
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : UserHeads
        In evaluation mode.
    history : History
        Its training losses are those of both heads together.
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
    evidence, prior = message_evidence(model, corpus), model.prior.cpu().numpy()
    typists, table = beliefs.by_typist(evidence, corpus, prior, stay, doubt)
    return PersonalStates(fingerprint(model), typists, {"belief": beliefs.stored(table)})


def save(model: UserHeads, path: str | PathLike[str]) -> None:
    """Write a model, with the vectors of its users, to a safetensors file."""
    LIFE.save(model, path)


def load(path: str | PathLike[str]) -> UserHeads:
    """Read a model that :func:`save` wrote, in evaluation mode.

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
    return model.eval()


LIFE = Life(
    kind="user heads in PyTorch",
    name="user heads pytorch",
    framework=(torch,),
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
