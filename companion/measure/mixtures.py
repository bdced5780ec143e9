"""Two models mixed, and how much of each is best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from companion.corpora import Corpus

from .counts import log
from .scores import Model, target_log_probs


def mix(model: Model, other: Model, weight: float | np.ndarray) -> Model:
    """A model whose probabilities are ``(1 - weight) * model + weight * other``.

    Parameters
    ----------
    model, other : Model
    weight : float or np.ndarray
        The share of `other`, from 0 to 1; or one for each user id, ``(n_users,)``.
    """
    weights = np.asarray(weight, dtype=float)
    if weights.ndim > 1 or not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"weight must lie in 0 to 1 (one, or one for each user), not {weight}")

    def mixture(tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        share = weights if weights.ndim == 0 else weights[users][:, None, None]
        share = share.astype(np.float32) if weights.ndim else float(share)
        probability = np.exp(model(tokens, users)) * (1 - share)
        probability += np.exp(other(tokens, users)) * share
        return log(probability)

    return mixture


def choose_weight(model: Model, other: Model, validation: Corpus) -> float:
    """The weight of :func:`mix` with the lowest loss on `validation`.

    The likelihood is concave in the weight, so the optimum found is the only one.
    """
    own, others = _probabilities(model, other, validation)
    return _best_weight(own, others, np.ones(len(own)))


@dataclass(frozen=True)
class GrowingWeight:
    """A weight that grows with what is known of a user: ``limit * n / (n + half)``.

    Parameters
    ----------
    limit : float
        Where it ends, from 0 to 1.
    half : float
        Tokens of history at which it is half way.
    """

    limit: float
    half: float

    def __call__(self, history: Corpus) -> np.ndarray:
        """The weight of each user id, ``(n_users,)``, for :func:`mix`; 0 without a history."""
        return self.limit * _growth(_history_tokens(history), self.half)


def choose_growing_weight(
    model: Model, other: Model, validation: Corpus, history: Corpus
) -> GrowingWeight:
    """The :class:`GrowingWeight` with the lowest loss on `validation`.

    Parameters
    ----------
    model, other : Model
    validation : Corpus
    history : Corpus
        What `other` knows of each user.
    """
    own, others = _probabilities(model, other, validation)
    tokens = np.repeat(_history_tokens(history)[validation.users], validation.lengths + 1)

    def best(half: float) -> tuple[float, float]:
        growth = _growth(tokens, half)
        limit = _best_weight(own, others, growth)
        return _mixed_loss(limit * growth, own, others), limit

    # not convex in `half`, but smooth: a fine grid in its logarithm suffices
    halves = np.r_[0.0, np.geomspace(1, max(10.0, 100 * tokens.max(initial=1)), 40)]
    losses, limits = zip(*(best(half) for half in halves), strict=True)
    i = int(np.argmin(losses))
    return GrowingWeight(limits[i], float(halves[i]))


def _probabilities(model: Model, other: Model, text: Corpus) -> tuple[np.ndarray, np.ndarray]:
    return np.exp(target_log_probs(model, text)), np.exp(target_log_probs(other, text))


def _mixed_loss(weights: np.ndarray, own: np.ndarray, others: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(-np.log((1 - weights) * own + weights * others).mean())


def _best_weight(own: np.ndarray, others: np.ndarray, growth: np.ndarray) -> float:
    found = minimize_scalar(
        lambda weight: _mixed_loss(weight * growth, own, others),
        bounds=(0.0, 1.0),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(found.x)


def _growth(tokens: np.ndarray, half: float) -> np.ndarray:
    return np.where(tokens > 0, tokens / np.maximum(tokens + half, 1.0), 0.0)


def _history_tokens(history: Corpus) -> np.ndarray:
    return np.bincount(history.users, weights=history.lengths + 1, minlength=history.n_users)
