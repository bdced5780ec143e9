"""What personalizing would buy on somebody's logs, within the minutes that there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from companion.corpora import Corpus, Split, at_least
from companion.measure.counts import stream

from . import choosing, reporting
from .choosing import Choice
from .counting import some_of
from .networks import train_base
from .reporting import Report
from .settings import METHODS, Method, PersonalizerSettings
from .study import Candidate, Study
from .texts import prepared

TRIED = ("cache", "user_embedding+cache", "hypernetwork+cache", "adapter+cache")  # cheapest first
COST = {"user_embedding": 1.2, "hypernetwork": 1.8, "adapter": 1.5}  # of a pass, in base passes
BASE_SHARE = 0.35  # of the time, for the base network
FEWEST_PASSES = 3  # over the text, below which users are left out rather than passes
PILOT = 20_000  # tokens on which the speed is measured
SPARE = 0.06  # of the time, for the report
WORDS_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A report, what it is about, and what was left out.

    Parameters
    ----------
    report : companion.personal.reporting.Report
    choice : Choice
    facts : dict of str to float
        ``users``, ``messages``, ``tokens``, ``words`` of the text; ``median`` messages of a user;
        ``unknown`` (percent of the test words that the vocabulary lacks).
    left_out : list of str
        What there was no time for, in sentences.
    seconds : float
        All that it took.
    words : dict of str to list of str
        For a few users, words that they write more than others; empty unless asked for.
    """

    report: Report
    choice: Choice
    facts: dict[str, float]
    left_out: list[str]
    seconds: float
    words: dict[str, list[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; users are numbers."""
        return {
            **self.report.to_dict(),
            "facts": self.facts,
            "left_out": self.left_out,
            "seconds": self.seconds,
            "words": self.words,
        }


@dataclass
class Clock:
    """How much time there is, and how much is left; no end where no minutes are given."""

    minutes: float | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def total(self) -> float:
        """Seconds from the beginning to the end."""
        return float("inf") if self.minutes is None else 60 * self.minutes

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds until the report must be written."""
        return (1 - SPARE) * self.total - self.spent


def evaluate(
    corpus: Corpus,
    framework: str,
    methods: Sequence[str] = TRIED,
    settings: PersonalizerSettings = PersonalizerSettings(),
    clock: Clock | None = None,
    show_words: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Evaluation:
    """Try methods from the cheapest on, judge them on test text, and recommend one.

    Parameters
    ----------
    corpus : Corpus
    framework : {"pytorch", "keras"}
    methods : sequence of str
        What to try.
    settings : PersonalizerSettings
    clock : Clock, optional
        Says when to stop: users are sampled, fewer passes made and methods left out to keep it.
    show_words : bool
        Whether the evaluation holds words of the text.
    tell : callable
        Is told what is being done, a line at a time.

    Raises
    ------
    ValueError
        If a method has no such name.
    """
    clock = clock or Clock()
    tried = [Method.named(name) for name in methods]
    left_out: list[str] = []
    data, _ = prepared(corpus, settings)
    if clock.minutes is not None:
        tell("measuring the speed of this machine")
        data, settings = _fitting(corpus, data, framework, settings, clock, left_out)
    tell(f"training everybody's model on {data.train.n_tokens:,} words")
    study = Study(data, framework, settings, progress=False)
    everybody = study.candidate(Method())
    study.score(everybody)
    candidates = [everybody]
    for method in sorted(tried, key=lambda one: METHODS.index(str(one))):
        effort = _effort(study, method, settings, clock)
        if effort is None:
            left_out.append(f"{method.title}: there was no time left for it")
            continue
        tell(f"trying {method.title}")
        study.settings = effort
        candidates.append(study.candidate(method))
        study.score(candidates[-1])
    tell("writing the report")
    choice = choosing.best(study, candidates)
    report = reporting.report(study, choice.candidate, candidates, choice.reasons)
    words = _words(choice.candidate, data) if show_words else {}
    return Evaluation(report, choice, _facts(corpus, data), left_out, clock.spent, words)


def _fitting(
    corpus: Corpus,
    data: Split,
    framework: str,
    settings: PersonalizerSettings,
    clock: Clock,
    left_out: list[str],
) -> tuple[Split, PersonalizerSettings]:
    """As many users and passes as the base network has time for."""
    pilot = replace(data, train=some_of(data.train, PILOT), validation=data.validation.first(1))
    twice = replace(settings, steps=1, training=replace(settings.training, epochs=2, patience=2))
    _, history = train_base(framework, pilot, twice, progress=False)
    tokens = pilot.train.n_tokens + len(pilot.train)
    a_second = tokens / max(history.seconds[1] - history.seconds[0], 1e-3)
    read = BASE_SHARE * clock.left * a_second  # tokens, over all passes
    passes = int(read / (data.train.n_tokens + len(data.train)))
    planned = settings.training_on(len(data.train)).epochs
    epochs = min(planned, max(passes, FEWEST_PASSES))
    if epochs < planned:
        left_out.append(f"passes over the text: {epochs} instead of {planned}")
        training = replace(settings.training, epochs=epochs)
        settings = replace(settings, steps=1, training=training)
    share = min(1.0, read / epochs / (data.train.n_tokens + len(data.train)))
    if share == 1.0:
        return data, settings
    users = corpus.active_users
    count = max(2, int(share * len(users)))
    left_out.append(f"users: {count:,} of {len(users):,}, drawn at random, were evaluated")
    drawn = np.random.default_rng(settings.seed).choice(users, count, replace=False)
    return prepared(at_least(corpus.of_users(np.sort(drawn)), 1), settings)[0], settings


def _effort(
    study: Study, method: Method, settings: PersonalizerSettings, clock: Clock
) -> PersonalizerSettings | None:
    """Settings that try as much of a method as there is time for; None where there is too little.

    All rates and passes; or two rates; or one.
    """
    if method.network is None or clock.minutes is None:
        return settings
    everybody = study.candidate(Method())
    judging = everybody.seconds + study.seconds_to_score
    a_pass = COST[method.network] * study.history.seconds[-1] / len(study.history.seconds)
    middle = sorted(settings.rates)[len(settings.rates) // 2]
    lower = min(settings.rates[0], middle)
    first = settings.passes[:1]
    efforts = [
        settings,
        replace(settings, rates=tuple(dict.fromkeys((lower, middle))), passes=first),
        replace(settings, rates=(middle,), passes=first),
    ]
    for effort in efforts:
        passes = len(effort.rates) * effort.passes[0] + sum(effort.passes[1:])
        if passes * a_pass + judging < clock.left:
            return effort
    return None


def _facts(corpus: Corpus, data: Split) -> dict[str, float]:
    """How much text there is."""
    counts = corpus.message_counts[corpus.active_users]
    _, tokens, _ = stream(data.test)
    unknown = data.vocabulary.id("<unknown>")
    return {
        "users": len(corpus.active_users),
        "messages": len(corpus),
        "tokens": corpus.n_tokens,
        "words": len(data.vocabulary),
        "median": float(np.median(counts)),
        "unknown": float(100 * np.mean(tokens == unknown)),
    }


def _words(candidate: Candidate, data: Split, users: int = 10) -> dict[str, list[str]]:
    """Words that users write more than others, for those who write most."""
    counts = data.train.message_counts
    most = np.argsort(-counts, kind="stable")[: min(users, len(data.known_users))]
    ratios = candidate.counts.unigrams.log_ratio(most)
    shown = np.argsort(-ratios, axis=1)[:, :WORDS_SHOWN]
    return {
        f"user {user}": data.vocabulary.decode(row) for user, row in zip(most, shown, strict=True)
    }


__all__ = ["TRIED", "Clock", "Evaluation", "evaluate"]
