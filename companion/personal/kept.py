"""All that a personalizer keeps between two calls: networks, counts and everybody's text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from companion.measure import Model, Network

from .counting import Counts, Numbers
from .networks import PersonalNetwork, Trial
from .reporting import Report
from .settings import Method, PersonalizerSettings
from .texts import Texts
from .words import without_writers


@dataclass
class Kept:
    """What was fitted, and what has come since.

    Parameters
    ----------
    framework : {"pytorch", "keras"}
    asked : str
        The method asked for.
    settings : PersonalizerSettings
    method : Method
        The one that serves.
    numbers : Numbers
    trial : Trial or None
        How the personal network was trained.
    network : PersonalNetwork
    texts : Texts
    report : companion.personal.reporting.Report
        Its users are ids.
    refitted : dict of int to int
        For each user whose state was made anew, how many messages it was made of.
    """

    framework: str
    asked: str
    settings: PersonalizerSettings
    method: Method
    numbers: Numbers
    trial: Trial | None
    network: PersonalNetwork
    texts: Texts
    report: Report
    refitted: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stale = False  # whether everybody's counts still hold a user who was forgotten
        self._count()

    def model_of(self, user: int | None) -> Model | Network:
        """What serves one user; somebody who is not known is served what is everybody's."""
        if self.counts is None:
            return self.network
        if user is None or not self.method.cache:
            return self.counts.everybody(self.network)
        known = self.counts.unigrams.totals[user]
        return self.counts.personal(self.network, float(self.numbers.pair_weight.at(known)))

    def learn(self, user: str, words: list[str]) -> int:
        """Count one more message; the user's id."""
        number, tokens = self.texts.add(user, words)
        if self.counts is not None:
            self.counts.add(number, tokens)
        return number

    def waiting(self) -> list[int]:
        """Users who have written since their state was made, ascending; none without states."""
        if self.trial is None:
            return []
        since: dict[int, int] = {}
        for user, _ in self.texts.learned:
            since[user] = since.get(user, 0) + 1
        return sorted(user for user, count in since.items() if count > self.refitted.get(user, 0))

    def refit(self, users: list[int]) -> None:
        """Make the states of these users anew from all of their text.

        Raises
        ------
        ValueError
            If the method keeps no state, or one of them has written nothing.
        """
        if self.trial is None:
            raise ValueError(f"the method {self.method} keeps no state to be made anew")
        made = self.network.fitted(self.texts.corpus(users), self.settings, self.trial)
        old = self.network.states
        others = np.setdiff1d(self.network.known_users, made.users)
        if old is not None and len(others):
            made = old.of(others).joined(made)
        self.network = self.network.with_states(made)
        learned = [user for user, _ in self.texts.learned]
        self.refitted |= {user: learned.count(user) for user in users}

    def forget(self, user: str) -> None:
        """Forget one user; everybody's counts follow in :meth:`tidy`."""
        number = self.texts.remove(user)
        self.network = self.network.without(number)
        self.refitted.pop(number, None)
        left = self.report.users.drop(index=number, errors="ignore")
        self.report = replace(self.report, users=left)
        if self.counts is not None:
            self.counts.remove(number)
        self.stale = True

    def tidy(self) -> None:
        """Count everybody's text anew where somebody in it was forgotten; drop their words."""
        if not self.stale:
            return
        vocabulary = without_writers(self.texts.vocabulary, self.texts.written())
        self.texts.rename(vocabulary)
        self.network.rename(vocabulary)
        self._count()
        self.stale = False

    def _count(self) -> None:
        """The n-gram and all caches, from the text that is kept."""
        self.counts: Counts | None = None
        if len(self.texts.fitted):
            self.counts = Counts(self.texts.fitted, self.numbers)
            for user, tokens in self.texts.learned:
                self.counts.add(user, tokens)


__all__ = ["Kept"]
