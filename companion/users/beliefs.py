"""Beliefs about who is typing: evidence added up from message to message, by Bayes' rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from companion.corpora import Corpus
from companion.settings import check_number

from .methods import STORED
from .states import PersonalStates, check_ascending, check_known

FAINTEST = -1e4  # the smallest log-probability that is kept: smaller ones would be minus infinity
COLDEST, HOTTEST = 0.1, 100.0  # temperatures that are looked at


def followed(
    evidence: np.ndarray, prior: np.ndarray, stay: float = 1.0, doubt: float = 1.0
) -> np.ndarray:
    """Log-beliefs after each message of a sitting.

    Parameters
    ----------
    evidence : np.ndarray
        Log-likelihood of each message under each user, up to a constant,
        ``(..., message, user)``.
    prior : np.ndarray
        Log-probability of each user before the first message, ``(user,)``.
    stay : float
        How probable it is, from one message to the next, that nobody else has taken over; whoever
        takes over is drawn from the prior. At 1 the evidence only adds up. Below 1 old evidence is
        forgotten: this is the filter of a hidden Markov model [1]_.
    doubt : float
        What the evidence is divided by. Above 1 for typists who may be none of these users: the
        belief then spreads over those like them, instead of picking one wrongly [2]_.

    Returns
    -------
    np.ndarray
        ``(..., message, user)``; each row sums to one once exponentiated.

    Raises
    ------
    TypeError, ValueError
        If `stay` is not above 0 and at most 1, `doubt` not above 0, or the evidence rules out every
        user.

    References
    ----------
    .. [1] Rabiner, L. A tutorial on hidden Markov models and selected applications in speech
       recognition. Proceedings of the IEEE, 1989.
    .. [2] Grünwald, P. The safe Bayesian. ALT, 2012.
    """
    _check(stay, doubt)
    evidence = evidence / doubt
    prior = log_softmax(prior)
    beliefs = np.empty(evidence.shape)
    belief = np.broadcast_to(prior, evidence[..., 0, :].shape)
    for message in range(evidence.shape[-2]):
        if message:
            belief = _handed_on(belief, prior, stay)
        belief = belief + evidence[..., message, :]
        if not np.isfinite(belief.max(axis=-1)).all():
            raise ValueError(f"evidence rules out every user at message {message}")
        belief = log_softmax(belief, axis=-1)
        beliefs[..., message, :] = belief
    return beliefs


def by_typist(
    evidence: np.ndarray, corpus: Corpus, prior: np.ndarray, stay: float = 1.0, doubt: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Who has typed each history, as far as its messages tell.

    Parameters
    ----------
    evidence : np.ndarray
        Of each message of `corpus`, ``(message, user)``.
    corpus : Corpus
        What its user ids stand for is not looked at, only which messages have the same one.
    prior, stay, doubt
        As in :func:`followed`.

    Returns
    -------
    typists : np.ndarray
        The ids in `corpus`, ascending, ``(typist,)``.
    beliefs : np.ndarray
        Log-beliefs about the next message of each, ``(typist, user)``.
    """
    typists = corpus.active_users
    histories = (evidence[corpus.users == typist] for typist in typists)
    last = np.stack([followed(history, prior, stay, doubt)[-1] for history in histories])
    return typists, _handed_on(last, log_softmax(prior), stay)


def best_temperature(evidence: np.ndarray, corpus: Corpus, users: np.ndarray) -> float:
    """What to divide evidence by, so that the beliefs are as sure as they are right [1]_.

    Parameters
    ----------
    evidence : np.ndarray
        Of each message of `corpus`, which nothing was trained on, ``(message, user)``.
    corpus : Corpus
        Messages of some of these users.
    users : np.ndarray
        Ids of the columns of `evidence`, ascending, ``(user,)``.

    Returns
    -------
    float
        The temperature at which the beliefs after 1, 2, 3, ... messages of each history have the
        lowest loss. All users count alike, and each is as probable as any other at first.

    References
    ----------
    .. [1] Guo, C. et al. On calibration of modern neural networks. ICML, 2017.
    """
    check_known(corpus.active_users, users)
    rows = np.searchsorted(users, corpus.active_users)
    own = [evidence[corpus.users == user] for user in corpus.active_users]
    summed = [np.cumsum(messages, axis=0) for messages in own]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return -np.mean(
            [
                log_softmax(scale * sums, axis=-1)[:, row].mean()
                for row, sums in zip(rows, summed, strict=True)
            ]
        )

    found = minimize_scalar(
        loss, bounds=np.log([COLDEST, HOTTEST]), method="bounded", options={"xatol": 1e-3}
    )
    return float(np.exp(found.x))


def certain(prior: np.ndarray) -> np.ndarray:
    """Log-beliefs in one user each, ``(user, user)``: what is believed when the user is told."""
    beliefs = np.full((len(prior), len(prior)), -np.inf)
    np.fill_diagonal(beliefs, 0.0)
    return beliefs


def stored(beliefs: np.ndarray) -> np.ndarray:
    """Log-beliefs as they are kept: in half precision, none of them minus infinity."""
    return np.maximum(beliefs, FAINTEST).astype(STORED)


def table_of(states: PersonalStates, users: int) -> np.ndarray:
    """The log-beliefs in `states`, ``(typists, users)``.

    Raises
    ------
    ValueError
        If the states hold no beliefs over so many users: they are another method's.
    """
    found = states.arrays.get("belief")
    if found is None or found.shape[1:] != (users,):
        shapes = {name: array.shape for name, array in states.arrays.items()}
        raise ValueError(f"states hold {shapes}, no beliefs over {users} users")
    return log_softmax(found.astype(np.float64), axis=-1)


def check_table(
    users: Sequence[int] | np.ndarray, vectors: np.ndarray, prior: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Checked user ids, and their shares of the prior as given.

    Raises
    ------
    TypeError, ValueError
        If the ids do not ascend, or there is not one vector of this size, and one share of the
        prior above zero, for each user.
    """
    users = check_ascending(users)
    if np.shape(vectors) != (len(users), size):
        raise ValueError(
            f"vectors must have shape ({len(users)}, {size}), a row for each user, not "
            f"{np.shape(vectors)}"
        )
    prior = np.array(prior, dtype=float)
    if prior.shape != (len(users),) or not (prior > 0).all() or not np.isfinite(prior).all():
        raise ValueError(f"prior must give each of {len(users)} users a share above 0")
    return users, prior


def _handed_on(belief: np.ndarray, prior: np.ndarray, stay: float) -> np.ndarray:
    """What is believed of the next message, somebody else perhaps having taken over."""
    if stay == 1:
        return belief
    return np.logaddexp(np.log(stay) + belief, np.log1p(-stay) + prior)


def _check(stay: float, doubt: float) -> None:
    """Refuse what is no probability above zero, or no divisor."""
    check_number("stay", stay, above=0.0)
    if stay > 1:
        raise ValueError(f"stay must be at most 1, not {stay!r}")
    check_number("doubt", doubt, above=0.0)
