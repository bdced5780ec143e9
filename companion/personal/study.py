"""Models to choose from: each trained and tuned, and judged on validation text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import pandas as pd

from companion.corpora import Corpus, Split
from companion.measure import Model, Network, NGram, choose_weight, mix, score, target_log_probs
from companion.measure.scores import targets_of
from companion.measure.stepping import as_model

from .counting import Counts, Numbers, choose, some_of
from .networks import PersonalNetwork, Trial, own_rate, train_base, train_personal
from .settings import Method, PersonalizerSettings


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that could serve, with all that was chosen for it.

    Parameters
    ----------
    method : Method
    network : PersonalNetwork
    counts : Counts
        Of the training text, with the numbers chosen for this network.
    trial : Trial, optional
        How the personal network was trained, where it is one.
    trials : tuple of Trial
        Everything that was tried for it.
    seconds : float
        What training and tuning took, on top of everybody's model.
    """

    method: Method
    network: PersonalNetwork
    counts: Counts
    trial: Trial | None = None
    trials: tuple[Trial, ...] = ()
    seconds: float = 0.0

    @property
    def numbers(self) -> Numbers:
        """How much of what is counted is mixed in."""
        return self.counts.numbers

    def model(self, history: Corpus) -> Model:
        """What it predicts, where `history` is what was counted."""
        if not self.method.cache:
            return as_model(self.counts.everybody(self.network))
        weight = self.numbers.pair_weight(history)
        return as_model(self.counts.personal(self.network, weight))


@dataclass(eq=False)
class Study:
    """One text, and the models that are tried on it; the base network is trained at once.

    Parameters
    ----------
    data : Split
    framework : {"pytorch", "keras"}
    settings : PersonalizerSettings
    progress : bool, optional
    """

    data: Split
    framework: str
    settings: PersonalizerSettings
    progress: bool | None = None
    seconds: float = 0.0
    _known: dict[str, Candidate] = field(default_factory=dict)
    _scored: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        began, self.seconds_to_score = time.perf_counter(), 0.0
        self.validation = some_of(self.data.validation, self.settings.targets)
        self.ngram = NGram(self.data.train, self.settings.order)
        self.base, self.history = train_base(
            self.framework, self.data, self.settings, self.progress
        )
        self.seconds = time.perf_counter() - began

    def candidate(self, method: Method) -> Candidate:
        """The model of a method: trained and tuned now, unless it has been."""
        if str(method) not in self._known:
            self._try(method.network)
        return self._known[str(method)]

    def losses(self, candidate: Candidate) -> pd.DataFrame:
        """Tokens and loss of each user on validation text, as :func:`measure.gain` takes them."""
        return losses(candidate.model(self.data.train), self.validation)

    def score(self, candidate: Candidate) -> pd.DataFrame:
        """What :func:`measure.score` says of a model on test text; scored once."""
        name = str(candidate.method)
        if name not in self._scored:
            test = some_of(self.data.test, self.settings.targets)
            began = time.perf_counter()
            self._scored[name] = score(candidate.model(self.data.train), test)
            self.seconds_to_score = time.perf_counter() - began
        return self._scored[name]

    def _try(self, network: str | None) -> None:
        """Train a network, or take the base network, and choose what is mixed in."""
        began = time.perf_counter()
        model, best, trials = self._tuned(network) if network else (self.base, None, ())
        numbers = choose(model, self.data.train, self.validation, self.ngram)
        counts = Counts(self.data.train, numbers, self.ngram)
        seconds = time.perf_counter() - began
        for cache in (False, True):
            method = Method(network, cache)
            self._known[str(method)] = Candidate(method, model, counts, best, trials, seconds)

    def _tuned(self, network: str) -> tuple[PersonalNetwork, Trial, tuple[Trial, ...]]:
        """The personal network with the lowest loss of a few, each rate tried, then more passes."""
        first, *more = self.settings.passes
        rate = own_rate(network, self.settings)
        tried = [self._tried(network, Trial(share * rate, first)) for share in self.settings.rates]
        best = min(tried, key=_loss)
        for passes in more:
            tried.append(self._tried(network, Trial(best[1].rate, passes)))
        best = min(tried, key=_loss)
        return best[0], best[1], tuple(trial for _, trial in tried)

    def _tried(self, network: str, trial: Trial) -> tuple[PersonalNetwork, Trial]:
        """A network trained so, and its loss beside the n-gram."""
        model = train_personal(network, self.base, self.data, self.settings, trial, self.progress)
        weight = choose_weight(model, self.ngram, self.validation)
        loss = -target_log_probs(mix(model, self.ngram, weight), self.validation).mean()
        return model, replace(trial, loss=float(loss))


def losses(model: Model | Network, corpus: Corpus) -> pd.DataFrame:
    """Tokens and summed loss of each user, without suggestions, so quicker than a score."""
    table = {"user": targets_of(corpus)["user"], "nll": -target_log_probs(as_model(model), corpus)}
    grouped = pd.DataFrame(table).groupby("user")["nll"]
    return pd.DataFrame({"tokens": grouped.size(), "nll": grouped.sum()})


def _loss(tried: tuple[PersonalNetwork, Trial]) -> float:
    return tried[1].loss


__all__ = ["Candidate", "Study", "losses"]
