"""Models that believe in their users more or less: what they believe, of whom, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from companion.corpora import Corpus
from companion.corpora.batches import similar_batches

from . import beliefs
from .lifecycle import check_text
from .methods import STORED, UserHeadsConfig
from .models import LanguageModel
from .states import PersonalStates

READING_BATCH = 256


class BelievingModel(LanguageModel):
    """A model that asks itself who is typing, and believes in its known users more or less.

    A twin says what its table of vectors holds, how a model on the same network is made for some
    of the users, what to believe of typists at first, and what the states are made for: ``_table``,
    ``_like``, ``_begin_with`` and ``_fingerprint``.

    Attributes
    ----------
    shares : np.ndarray
        How probable each known user is before any word, as given, ``(users,)``.
    temperature : float
        What the evidence is divided by, so that the belief is as sure as it is right.
    """

    config: UserHeadsConfig
    shares: np.ndarray
    temperature: float

    def states(self) -> PersonalStates:
        """The vectors of all known users, ``{"vector": (users, size)}``, as they are kept."""
        vectors = self._table().astype(STORED)
        return PersonalStates(self._fingerprint(), self.known_users, {"vector": vectors})

    def with_states(self, states: PersonalStates) -> Any:
        """The same network for other typists, of whom it believes what `states` say.

        Parameters
        ----------
        states : PersonalStates
            What :func:`believed` gives: ``{"belief": (typists, users)}``.
            Weights are shared with this model, not copied.

        Raises
        ------
        ValueError
            If the states were made for another network or other users, or by another method.
        """
        states.check_made_for(self._fingerprint())
        other = self._of(slice(None))
        other._begin_with(states.users, beliefs.table_of(states, len(self.known_users)))
        return other

    def among(self, users: Sequence[int] | np.ndarray) -> Any:
        """The same network, knowing these users only: the others' vectors are gone.

        Raises
        ------
        ValueError
            If no user is named, or one is not known.
        """
        kept = self.states().of(users).users
        return self._of(np.searchsorted(self.known_users, kept))

    def evidence(self, tokens: np.ndarray) -> np.ndarray:
        """Log-likelihood of each message so far under each known user, up to a constant.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.

        Returns
        -------
        np.ndarray
            After each token, ``(message, step, user)``; the users are ``known_users``.
        """
        raise NotImplementedError

    def _of(self, rows: slice | np.ndarray) -> Any:
        """The same weights with these rows of the table of users."""
        users = self.known_users[rows]
        other = self._like(users, self._table()[rows], self.shares[rows])
        other.vocabulary, other.user_names = self.vocabulary, self._names_of(users)
        return other

    def _table(self) -> np.ndarray:
        """One row a user, ``(users, size)`` float32."""
        raise NotImplementedError

    def _like(self, users: np.ndarray, vectors: np.ndarray, shares: np.ndarray) -> Any:
        """A model on the same network for these users."""
        raise NotImplementedError

    def _begin_with(self, typists: np.ndarray, table: np.ndarray) -> None:
        """What to believe at first: log-beliefs ``(typists, users)``; the prior, of anyone else."""
        raise NotImplementedError

    def _fingerprint(self) -> str:
        """Of the network and the users that the states are made for."""
        raise NotImplementedError


def message_evidence(model: BelievingModel, corpus: Corpus) -> np.ndarray:
    """Log-likelihood of each whole message under each known user, up to a constant.

    Parameters
    ----------
    model : BelievingModel
        User heads.
    corpus : Corpus
        Who wrote its messages is not looked at.

    Returns
    -------
    np.ndarray
        ``(message, user)`` float32.

    Raises
    ------
    ValueError
        If the corpus is empty, or has another vocabulary than the model.
    """
    check_text(model.vocabulary, model.vocabulary_size, corpus)
    evidence = np.empty((len(corpus), len(model.known_users)), dtype=np.float32)
    for messages in similar_batches(corpus.lengths, READING_BATCH):
        tokens, _ = corpus.padded(messages)
        evidence[messages] = model.evidence(tokens)[:, -1]  # padding is no evidence
    return evidence


def believed(
    model: BelievingModel, corpus: Corpus, stay: float = 1.0, doubt: float = 1.0
) -> PersonalStates:
    """What a model believes of the typists of some messages, having read them in order.

    Parameters
    ----------
    model : BelievingModel
        User heads.
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
    evidence, prior = message_evidence(model, corpus), log_shares(model.shares)
    typists, table = beliefs.by_typist(evidence, corpus, prior, stay, doubt)
    return PersonalStates(model._fingerprint(), typists, {"belief": beliefs.stored(table)})


def log_shares(shares: np.ndarray) -> np.ndarray:
    """Log-probability of each user before any word, ``(users,)`` float32."""
    return np.log(shares / shares.sum()).astype(np.float32)
