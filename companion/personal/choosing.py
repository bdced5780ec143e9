"""Which method: decided by how many users and how much text there is, then checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from companion import measure
from companion.corpora import Split

from .settings import RECOMMENDED, Method
from .study import Candidate, Study

MANY_USERS = 20  # from here on, vectors of users learn from each other
LONG_HISTORY = 2000  # tokens with which a user's own weights can be told from chance


@dataclass(frozen=True)
class Choice:
    """The model that serves, and why.

    Parameters
    ----------
    candidate : Candidate
    reasons : tuple of str
        In the order in which they decided.
    """

    candidate: Candidate
    reasons: tuple[str, ...]


def suited(data: Split) -> tuple[Method, str]:
    """The method that suits this many users with this much text each, and the reason."""
    tokens = np.bincount(data.train.users, data.train.lengths + 1)[data.known_users]
    users, median = len(tokens), int(np.median(tokens))
    there = f"{users:,} user{'s' * (users > 1)} with {median:,} training tokens each (median)"
    if users >= MANY_USERS:
        return Method("user_embedding", cache=True), (
            f"{there}: enough users for vectors that learn from each other"
        )
    if median >= LONG_HISTORY:
        return Method("adapter", cache=True), (
            f"{there}: few users, but enough text of each for weights of their own"
        )
    return Method(cache=True), (
        f"{there}: too few users for vectors that learn from each other, and too little text of "
        "each for weights of their own; counting needs neither"
    )


def choose(study: Study, name: str) -> Choice:
    """The model of a method by its name; the recommended one is checked on validation text."""
    if name != RECOMMENDED:
        return _as_asked(study, Method.named(name))
    method, reason = suited(study.data)
    reasons = [reason]
    serving = study.candidate(Method())
    for rival, what in ((Method(cache=True), "counting"), (method, method.title)):
        if rival == serving.method:
            continue
        better, told = compared(study, study.candidate(rival), serving, what)
        reasons.append(told)
        if better:
            serving = study.candidate(rival)
    reasons.append(f"so the {serving.method.title} serves")
    return Choice(serving, tuple(reasons))


def best(study: Study, candidates: Sequence[Candidate]) -> Choice:
    """Of models tried, the one that gains most and beyond doubt on validation text."""
    serving, reasons = study.candidate(Method()), []
    losses = {str(one.method): measure.loss(study.losses(one)) for one in candidates}
    counting = [one for one in candidates if one.method == Method(cache=True)]
    personal = [one for one in candidates if one.method.network]
    for rival in counting + sorted(personal, key=lambda one: losses[str(one.method)]):
        better, told = compared(study, rival, serving, rival.method.title)
        reasons.append(told)
        if better:
            serving = rival
            if rival.method.network:
                break  # the others gain less
    reasons.append(f"so the {serving.method.title} is recommended")
    return Choice(serving, tuple(reasons))


def compared(study: Study, rival: Candidate, serving: Candidate, what: str) -> tuple[bool, str]:
    """Whether a model is better on validation text beyond doubt, and how that is put."""
    ours, theirs = study.losses(rival), study.losses(serving)
    gain, low, high = with_interval(ours, theirs)
    versus = "the best model of everybody" if not serving.method.cache else "the best that counts"
    told = f"{what} gains {gain:+.3f} nats per token over {versus} on validation text"
    if not np.isnan(low):
        told += f" ({low:+.3f} to {high:+.3f})"
    better = low > 0 if not np.isnan(low) else gain > 0
    return bool(better), told if better else f"{told}: not enough"


def with_interval(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[float, float, float]:
    """Gain over all tokens, nats per token, with its interval over users; NaN for one user."""
    gain = float(measure.gain(ours, theirs))
    if len(ours) < 2:
        return gain, float("nan"), float("nan")
    interval = measure.interval(measure.gain, ours, theirs)
    return gain, *interval


def _as_asked(study: Study, method: Method) -> Choice:
    """A method asked for by name serves, whatever it gains."""
    serving = study.candidate(method)
    reasons = [f"{method} was asked for"]
    for rival in (Method(), Method(cache=True)):
        if rival != method and (method.network or not rival.cache):
            reasons.append(compared(study, serving, study.candidate(rival), method.title)[1])
    return Choice(serving, tuple(reasons))


__all__ = ["Choice", "choose", "compared", "suited", "with_interval"]
