"""Models combined with each other and with what a cache knows of the user; how much is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from companion.corpora import Corpus
from companion.settings import check_number

from .caches import UnigramCache
from .counts import known_users, log
from .scores import Model, predictions, target_log_probs, targets_of
from .stepping import Network, Stepping, as_model, as_stepping

MOST_POWER = 3
ROUNDING = 1e-6  # nats per token


def mix(
    model: Model | Network, other: Model | Network, weight: float | np.ndarray | GrowingWeight
) -> Mixture:
    """A model whose probabilities are ``(1 - weight) * model + weight * other``.

    It can be judged, mixed again, and typed with in a :class:`companion.keyboard.Keyboard`.

    Parameters
    ----------
    model, other : Model or Network
    weight : float, np.ndarray or GrowingWeight
        The share of `other`, from 0 to 1; or one for each user id, ``(n_users,)``: the mixture then
        refuses any other user. A :class:`GrowingWeight` as :func:`choose_growing_weight` gives it
        grows with the history that it was chosen with; call it with another for the weights there.
    """
    if isinstance(weight, GrowingWeight):
        weight = weight()
    weights = np.asarray(weight, dtype=float)
    if weights.ndim > 1 or not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"weight must lie in 0 to 1 (one, or one for each user), not {weight}")
    return Mixture(model, other, weights)


@dataclass(frozen=True, eq=False)
class Mixture:
    """What :func:`mix` gives: two models in given shares, a text at a time or word by word."""

    model: Model | Network
    other: Model | Network
    weights: np.ndarray

    def __call__(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``."""
        own, others = (as_model(part)(tokens, users) for part in (self.model, self.other))
        return self._mixed(own, others, users)

    def begin(self, batch: int, users: np.ndarray | None = None) -> Any:
        """The states of both parts before any token."""
        return tuple(part.begin(batch, users) for part in self._parts)

    def step(
        self, tokens: np.ndarray, state: Any, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Read one token per message; log-probabilities ``(batch, word)`` and the new states."""
        read = [
            part.step(tokens, before, users)
            for part, before in zip(self._parts, state, strict=True)
        ]
        (own, others), states = zip(*read, strict=True)
        return self._mixed(own, others, users), states

    @property
    def _parts(self) -> tuple[Stepping, Stepping]:
        return as_stepping(self.model), as_stepping(self.other)

    def _mixed(self, own: np.ndarray, others: np.ndarray, users: np.ndarray | None) -> np.ndarray:
        probability, others = np.exp(own), np.exp(others)
        share = self._share(users, probability.ndim)
        probability *= 1 - share  # in place: fresh memory costs as much as the arithmetic
        others *= share
        probability += others
        return log(probability)

    def _share(self, users: np.ndarray | None, ndim: int) -> float | np.ndarray:
        """The share of `other` in each message, of as many dimensions as the probabilities."""
        if not self.weights.ndim:
            return float(self.weights)
        if users is None:
            raise ValueError("users must be given: the weight of this mixture differs by user")
        own = self.weights[known_users(users, len(self.weights))].astype(np.float32)
        return own.reshape(-1, *(1,) * (ndim - 1))


def choose_weight(model: Model | Network, other: Model | Network, validation: Corpus) -> float:
    """The weight of :func:`mix` with the lowest loss on `validation`.

    The likelihood is concave in the weight, so the optimum found is the only one.
    """
    own, others = _probabilities(model, other, validation)
    return _best_weight(own, others, np.ones(len(own)))


def choose_strength(
    make: Callable[[float], Model],
    validation: Corpus,
    strengths: Sequence[float] = (10.0, 30.0, 100.0, 300.0, 1000.0),
) -> float:
    """The strength of a cache with the lowest loss on `validation`, of a few.

    Parameters
    ----------
    make : callable
        Gives the model to judge with a strength: ``lambda s: UnigramCache(train, strength=s)``, or
        a mixture with that cache.
    validation : Corpus
    strengths : sequence of float
        What to try; of equal ones, the first is chosen.
    """
    if not len(strengths):
        raise ValueError("strengths is empty: there is nothing to choose from")
    return min(strengths, key=lambda s: -target_log_probs(make(s), validation).mean())


@dataclass(frozen=True)
class GrowingWeight:
    """A weight that grows with what is known of a user: ``limit * n / (n + half)``.

    Parameters
    ----------
    limit : float
        Where it ends, from 0 to 1.
    half : float
        Tokens of history at which it is half way, at least 0.
    history : Corpus, optional
        What is known of each user, where no other is given.
    """

    limit: float
    half: float
    history: Corpus | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise ValueError(f"limit must lie in 0 to 1, not {self.limit}")
        check_number("half", self.half, at_least=0.0)

    def __call__(self, history: Corpus | None = None) -> np.ndarray:
        """The weight of each user id, ``(n_users,)``, for :func:`mix`; 0 without a history.

        Raises
        ------
        ValueError
            If there is no history, neither here nor its own.
        """
        history = self.history if history is None else history
        if history is None:
            raise ValueError("the weight grows with a history: call it with one, weight(history)")
        return self.limit * _growth(_history_tokens(history), self.half)


def choose_growing_weight(
    model: Model | Network, other: Model | Network, validation: Corpus, history: Corpus
) -> GrowingWeight:
    """The :class:`GrowingWeight` with the lowest loss on `validation`.

    Parameters
    ----------
    model, other : Model or Network
    validation : Corpus
    history : Corpus
        What `other` knows of each user, the same users as in `validation`.
    """
    if history.user_names != validation.user_names:
        raise ValueError(
            f"history must be of the users of validation: its ids stand for {history.n_users} "
            f"names, those of validation for {validation.n_users}, and they are not the same"
        )
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
    return GrowingWeight(limits[i], float(halves[i]), history)


def rescale(model: Model | Network, cache: UnigramCache, power: float = 0.75) -> Rescaled:
    """A model whose words are made likelier where this user writes them more than others do.

    ``p(word) ~ model(word) * (cache(word | user) / cache(word | everybody)) ** power``: unigram
    rescaling, or fast marginal adaptation [1]_. Unlike :func:`mix` it keeps to what can stand
    here: it moves probability from one friend's name to another, not from verbs to names.

    Parameters
    ----------
    model : Model or Network
    cache : UnigramCache
    power : float
        0 leaves the model as it is; 1 takes the cache at its word; 3 is the most allowed.

    References
    ----------
    .. [1] Kneser, R., Peters, J. and Klakow, D. Language model adaptation using dynamic
       marginals. Eurospeech, 1997.
    """
    if not 0 <= power <= MOST_POWER:
        raise ValueError(f"power must lie in 0 to {MOST_POWER}, not {power}")
    return Rescaled(model, cache, power)


@dataclass(frozen=True, eq=False)
class Rescaled:
    """What :func:`rescale` gives: a text at a time or word by word."""

    model: Model | Network
    cache: UnigramCache
    power: float

    def __call__(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``."""
        return self._rescaled(np.asarray(as_model(self.model)(tokens, users)), users)

    def begin(self, batch: int, users: np.ndarray | None = None) -> Any:
        """The state of the model before any token."""
        return as_stepping(self.model).begin(batch, users)

    def step(
        self, tokens: np.ndarray, state: Any, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Read one token per message; log-probabilities ``(batch, word)`` and the new state."""
        if users is None:
            raise ValueError("users must be given: the cache remembers each of them")
        log_probs, state = as_stepping(self.model).step(tokens, state, users)
        return self._rescaled(log_probs, users), state

    def _rescaled(self, log_probs: np.ndarray, users: np.ndarray) -> np.ndarray:
        shift = (self.power * self.cache.log_ratio(users)).astype(log_probs.dtype)
        log_probs = log_probs + shift.reshape(len(shift), *(1,) * (log_probs.ndim - 2), -1)
        # a smoothed cache and a bounded power: the shift is too small for an overflow
        log_probs -= np.log(np.exp(log_probs).sum(axis=-1, keepdims=True))
        return log_probs


def choose_power(model: Model | Network, cache: UnigramCache, validation: Corpus) -> float:
    """The power of :func:`rescale`, from 0 to 1.5, with the lowest loss on `validation`.

    0 where no power lowers the loss, as with a cache that knows nothing of these users.

    The loss is convex in the power; it is computed at eleven of them in one pass, and a parabola
    through the lowest and its neighbors finds the rest.
    """
    powers, losses = np.linspace(0, 1.5, 11), np.zeros(11)
    targets = targets_of(validation)
    for places, log_probs in predictions(as_model(model), validation):
        users, row = np.unique(targets["user"][places], return_inverse=True)
        ratio, own = cache.log_ratio(users), targets["token"][places]  # (users, words), (targets,)
        fit = log_probs[np.arange(len(own)), own].sum(dtype=float)
        losses -= fit + powers * ratio[row, own].sum(dtype=float)
        weights, step = np.exp(log_probs), np.exp(np.float32(powers[1]) * ratio)[row]
        for i in range(len(powers)):
            losses[i] += np.log(weights.sum(axis=1)).sum(dtype=float)
            weights *= step
    if losses[0] - losses.min() <= ROUNDING * len(targets["token"]):
        return 0.0
    i = int(np.clip(np.argmin(losses), 1, len(powers) - 2))
    curve = np.polynomial.Polynomial.fit(powers[i - 1 : i + 2], losses[i - 1 : i + 2], 2)
    return float(np.clip(curve.deriv().roots()[0].real, 0, powers[-1]))


def _probabilities(
    model: Model | Network, other: Model | Network, text: Corpus
) -> tuple[np.ndarray, np.ndarray]:
    own, others = (target_log_probs(as_model(part), text) for part in (model, other))
    return np.exp(own), np.exp(others)


def _mixed_loss(weights: np.ndarray, own: np.ndarray, others: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(-np.log((1 - weights) * own + weights * others).mean())


def _best_weight(own: np.ndarray, others: np.ndarray, growth: np.ndarray) -> float:
    def mixed(weight: float) -> float:
        return _mixed_loss(weight * growth, own, others)

    found = minimize_scalar(mixed, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-4})
    return min((0.0, float(found.x), 1.0), key=mixed)  # the search only comes near its bounds


def _growth(tokens: np.ndarray, half: float) -> np.ndarray:
    return np.where(tokens > 0, tokens / np.maximum(tokens + half, 1.0), 0.0)


def _history_tokens(history: Corpus) -> np.ndarray:
    return np.bincount(history.users, weights=history.lengths + 1, minlength=history.n_users)
