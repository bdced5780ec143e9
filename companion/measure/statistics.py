"""Everything derived from the per-user tables of :func:`companion.measure.score`.

Losses are in nats per token; every share (accuracies, keystrokes saved, users helped, gain
captured) is in percent. ``by="token"`` pools all tokens, so that a user counts by how much they
write; ``by="user"`` counts each user once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Union

import numpy as np
import pandas as pd
from scipy import stats

By = Literal["token", "user"]
Scores = Union[pd.DataFrame, "_Drawn"]
"""A table of scores; or, inside :func:`interval`, users drawn from one, along the last axis."""

TOLERANCE = 1e-3  # nats per token: a tenth of a percent of perplexity is no change


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def loss(scores: Scores, by: By = "token") -> float:
    """Mean negative log-likelihood, nats per token."""
    return _ratio(scores, "nll", "tokens", by)


def perplexity(scores: Scores, by: By = "token") -> float:
    """Exponential of the loss."""
    return np.exp(loss(scores, by))


def top1(scores: Scores, by: By = "token") -> float:
    """Real words that were the first suggestion, percent."""
    return 100 * _ratio(scores, "top1", "words", by)


def top3(scores: Scores, by: By = "token") -> float:
    """Real words that were among the first three suggestions, percent."""
    return 100 * _ratio(scores, "top3", "words", by)


def keystrokes_saved(scores: Scores, by: By = "token") -> float:
    """Keystrokes that a keyboard with three suggestions saves, percent."""
    return 100 * _ratio(scores, "saved", "keystrokes", by)


def per_user_loss(scores: pd.DataFrame) -> pd.Series:
    """Loss of each user, nats per token, indexed by user."""
    return (scores["nll"] / scores["tokens"]).rename("loss")


def per_user_gain(scores: pd.DataFrame, base: pd.DataFrame) -> pd.Series:
    """Loss of each user under `base` minus that under the model, nats per token: more is better."""
    check_paired(scores, base)
    return (per_user_loss(base) - per_user_loss(scores)).rename("gain")


def gain(scores: Scores, base: Scores, by: By = "token") -> float:
    """Loss of `base` minus loss of the model, nats per token: more is better."""
    check_paired(scores, base)
    return loss(base, by) - loss(scores, by)


def helped(scores: Scores, base: Scores, tolerance: float = TOLERANCE) -> float:
    """Users whose loss is lower than under `base` by more than `tolerance` (nats), percent."""
    return 100 * np.mean(_user_gains(scores, base) > tolerance, axis=-1)


def hurt(scores: Scores, base: Scores, tolerance: float = TOLERANCE) -> float:
    """Users whose loss is higher than under `base` by more than `tolerance` (nats), percent."""
    return 100 * np.mean(_user_gains(scores, base) < -tolerance, axis=-1)


def worst_decile(scores: Scores, base: Scores | None = None, share: float = 0.1) -> float:
    """Mean over the users who fare worst, each counted once, nats per token.

    Parameters
    ----------
    scores : pandas.DataFrame
    base : pandas.DataFrame, optional
        With it, the mean *gain* over `base` of the users who gain least (a negative number where
        they lose); without it, the mean *loss* of the users with the highest.
    share : float
        The share of users averaged, rounded up to at least one.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0 and at most at 1, not {share}")
    values = -_user_losses(scores) if base is None else _user_gains(scores, base)
    n = int(np.ceil(share * values.shape[-1]))
    mean = np.sort(values, axis=-1)[..., :n].mean(axis=-1)
    return -mean if base is None else mean


def gain_captured(scores: Scores, blind: Scores, aware: Scores, by: By = "token") -> float:
    """The share of the attainable gain that a model captures, percent.

    0 is the user-blind bound (the best without knowing the user), 100 the user-aware bound.

    Raises
    ------
    ValueError
        If the tables are of different text, or the aware bound is not below the blind one.
    """
    check_paired(scores, blind, aware)
    attainable = loss(blind, by) - loss(aware, by)
    if np.ndim(attainable) == 0 and not attainable > 0:
        raise ValueError(
            f"the aware bound must have a lower loss than the blind one, not {-attainable:+.4f} "
            "nats per token from it: too little text, or the two are exchanged"
        )
    return 100 * (loss(blind, by) - loss(scores, by)) / attainable


def interval(
    statistic: Callable[..., float],
    *scores: pd.DataFrame,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Literal["BCa", "percentile", "basic"] = "BCa",
    **options: Any,
) -> Interval:
    """Confidence interval of a statistic by a paired bootstrap over users [1]_.

    Users are drawn with replacement, the same ones from every table: what is uncertain is which
    users the method would meet, and differences between users cancel in a difference of models.

    Parameters
    ----------
    statistic : callable
        A function of this module: ``interval(loss, scores)``, ``interval(gain, scores, base)``,
        ``interval(gain_captured, scores, blind, aware, by="user")``.
    *scores : pandas.DataFrame
        Its tables, in its order.
    level : float
        Coverage, between 0 and 1.
    **options
        Its other arguments.

    Returns
    -------
    Interval
        ``(low, high)``, in the unit of the statistic.

    References
    ----------
    .. [1] Efron, B. and Tibshirani, R. J. An Introduction to the Bootstrap. Chapman & Hall, 1993.
    """
    check_paired(*scores)
    users = np.arange(len(scores[0]))

    def of_resampled(places: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(statistic(*(_Drawn(table, places) for table in scores), **options))

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95, not {level}")
    if len(users) < 2:
        raise ValueError("scores has one user: an interval over users needs at least two")
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (users,),
            of_resampled,
            confidence_level=level,
            n_resamples=resamples,
            batch=max(1, 1_000_000 // len(users)),
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if np.isnan([low, high]).any():  # BCa needs a statistic that varies; percentiles do not
        tail = (1 - level) / 2
        low, high = np.quantile(result.bootstrap_distribution, [tail, 1 - tail])
    return Interval(float(low), float(high))


def check_paired(*scores: Scores) -> None:
    """Refuse tables that cannot be compared user by user.

    Raises
    ------
    ValueError
        If a table is empty, or two are over different users or different text.
    """
    tables = [table for table in scores if isinstance(table, pd.DataFrame)]
    for table in tables:
        if table.empty:
            raise ValueError("scores is empty: no user was measured")
        differing = tables[0].index.symmetric_difference(table.index)
        if len(differing):
            raise ValueError(f"scores are over different users: only one has user {differing[0]}")
        if not table.index.equals(tables[0].index):
            raise ValueError("scores list their users in different orders: sort them by user")
        other = table.index[table["tokens"].to_numpy() != tables[0]["tokens"].to_numpy()]
        if len(other):
            counts = tables[0].at[other[0], "tokens"], table.at[other[0], "tokens"]
            raise ValueError(
                f"scores are over different text: user {other[0]} has {counts[0]} tokens in one "
                f"table and {counts[1]} in another"
            )


class _Drawn:
    """Users drawn from a table, ``(..., users)``; only the columns asked for are."""

    def __init__(self, table: pd.DataFrame, places: np.ndarray) -> None:
        self._table, self._places = table, places

    def __getitem__(self, column: str) -> np.ndarray:
        return self._table[column].to_numpy(float)[self._places]


def _ratio(scores: Scores, part: str, whole: str, by: By) -> float:
    """Sum of one column over sum of another, or the mean over users of their quotients."""
    if by not in ("token", "user"):
        raise ValueError(f'by must be "token" or "user", not {by!r}')
    parts, wholes = np.asarray(scores[part]), np.asarray(scores[whole])  # (..., users)
    if not parts.size:
        raise ValueError("scores is empty: no user was measured")
    with np.errstate(invalid="ignore"):  # a user without a real word has no accuracy
        if by == "token":
            return parts.sum(axis=-1) / wholes.sum(axis=-1)
        return np.nanmean(parts / wholes, axis=-1)


def _user_losses(scores: Scores) -> np.ndarray:
    return np.asarray(scores["nll"]) / np.asarray(scores["tokens"])  # (..., users)


def _user_gains(scores: Scores, base: Scores) -> np.ndarray:
    check_paired(scores, base)
    return _user_losses(base) - _user_losses(scores)  # (..., users)
