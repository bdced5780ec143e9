"""From a model and a corpus to one table of sums per user, from which everything else follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from companion.corpora import BEGIN, END, PADDING, UNKNOWN, Corpus
from companion.progress import progress_bar

from .counts import stream
from .suggestions import SHOWN, Suggestions

Model = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""What can be judged: ``model(tokens, users)`` with int32 arrays ``(message, step)`` and
``(message,)`` gives the natural-log probabilities of the next token, ``(message, step, word)``."""

# Log-probabilities asked for at once, 4 MB in float32: fresh memory for more costs more time
CELLS = 1_000_000
SUM_TOLERANCE = 1e-3


def score(
    model: Model, corpus: Corpus, batch_size: int = 256, progress: bool = False
) -> pd.DataFrame:
    """Sums of everything that is measured, one row per user who has a message in `corpus`.

    Parameters
    ----------
    model : Model
        Any callable from (tokens, users) to log-probabilities of the next token.
    corpus : Corpus
        The messages to predict, end of message included.
    batch_size : int
        Messages given to the model at once, at most (long ones go in smaller batches).
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        Index ``user`` (ids); columns ``tokens`` (targets: words and ends of messages), ``nll``
        (negative log-likelihood, nats), ``words`` (targets that are real words), ``top1`` and
        ``top3`` (real words that stood first, or among the first three, of all real words),
        ``keystrokes`` (to type everything by hand, a space after each word) and ``saved``
        (keystrokes that three suggestions save).

    Raises
    ------
    ValueError
        If the corpus is empty, or the model's output has the wrong shape, holds NaN, does not sum
        to one (logits instead of log-probabilities, say) or gives a target probability zero.
    """
    return summed(score_targets(model, corpus, batch_size, progress))


def score_targets(
    model: Model, corpus: Corpus, batch_size: int = 256, progress: bool = False
) -> pd.DataFrame:
    """The same measurements, one row per target token in the order of `corpus`.

    Parameters and errors are those of :func:`score`.

    Returns
    -------
    pandas.DataFrame
        Columns ``message`` (its place in `corpus`), ``user``, ``token`` (the target), ``log_prob``
        (nats), ``rank`` (real words suggested before it; -1 for a special token), ``keystrokes``
        and ``saved``.
    """
    table = targets_of(corpus)
    suggestions = Suggestions(corpus.vocabulary)
    for places, log_probs in predictions(model, corpus, batch_size, progress):
        targets = table["token"][places]
        table["log_prob"][places] = _own(log_probs, targets)
        real = targets > UNKNOWN
        rank, saved = suggestions.judge(log_probs[real], targets[real])
        table["rank"][places[real]], table["saved"][places[real]] = rank, saved
    _refuse_impossible(table, corpus)
    return pd.DataFrame(table)


def target_log_probs(
    model: Model, corpus: Corpus, batch_size: int = 256, progress: bool = False
) -> np.ndarray:
    """Log-probability of each target token, nats, ``(targets,)`` in the order of `corpus`.

    Parameters and errors are those of :func:`score`; without ranks and keystrokes it is quicker.
    """
    table = targets_of(corpus)
    for places, log_probs in predictions(model, corpus, batch_size, progress):
        table["log_prob"][places] = _own(log_probs, table["token"][places])
    _refuse_impossible(table, corpus)
    return table["log_prob"]


def summed(targets: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`score` from that of :func:`score_targets` (or from some of its rows)."""
    real = targets["rank"] >= 0
    columns = {
        "user": targets["user"],
        "tokens": np.ones(len(targets), dtype=np.int64),
        "nll": -targets["log_prob"],
        "words": real.astype(np.int64),
        "top1": (real & (targets["rank"] < 1)).astype(np.int64),
        "top3": (real & (targets["rank"] < SHOWN)).astype(np.int64),
        "keystrokes": targets["keystrokes"],
        "saved": targets["saved"],
    }
    return pd.DataFrame(columns).groupby("user").sum()


def remembered(model: Model) -> Remembered:
    """The same model, which computes each batch once: for one that is asked again and again.

    Chosen weights, mixtures, controls and scores of the same text all ask for the same predictions.
    They are kept in memory in float32, 4 bytes for each target and word of the vocabulary, for as
    long as the returned model is.

    Parameters
    ----------
    model : Model
        It must answer the same whenever it is asked: no network that is still being trained.
    """
    return Remembered(model)


class Remembered:
    """What :func:`remembered` gives."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known: dict[tuple[object, ...], np.ndarray] = {}

    def __call__(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``; not to be written to."""
        key = tokens.shape, tokens.tobytes(), users.tobytes()
        if key not in self._known:
            self._known[key] = np.array(self.model(tokens, users), dtype=np.float32)
            self._known[key].flags.writeable = False
        return self._known[key]


def targets_of(corpus: Corpus) -> dict[str, np.ndarray]:
    """Columns with a place for each target of `corpus`, in its order; nothing is measured yet."""
    if not len(corpus):
        raise ValueError("corpus has no message: there is nothing to score")
    _, tokens, messages = stream(corpus)
    by_hand = corpus.vocabulary.letters + 1.0
    by_hand[[PADDING, BEGIN, END]] = 0.0
    return {
        "message": messages,
        "user": corpus.users[messages],
        "token": tokens,
        "log_prob": np.full(len(messages), np.nan),
        "rank": np.full(len(messages), -1, dtype=np.int64),
        "keystrokes": by_hand[tokens],
        "saved": np.zeros(len(messages)),
    }


def predictions(
    model: Model, corpus: Corpus, batch_size: int = 256, progress: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The checked predictions of a model, some targets at a time, in whatever order is quick.

    Parameters and errors are those of :func:`score`.

    Yields
    ------
    places : np.ndarray
        Rows of :func:`score_targets` that these predictions are for, ``(targets,)``.
    log_probs : np.ndarray
        ``(targets, words)``; not to be written to.
    """
    first = np.cumsum(corpus.lengths + 1) - (corpus.lengths + 1)
    with progress_bar(len(corpus), "scoring", "message", show=progress) as bar:
        for batch in _batches(corpus, batch_size):
            inputs, targets = corpus.padded(batch)
            users = corpus.users[batch]
            predicted = np.asarray(model(inputs, users))
            expected = (*inputs.shape, len(corpus.vocabulary))
            if predicted.shape != expected:
                raise ValueError(
                    f"model returned shape {predicted.shape} for tokens of shape {inputs.shape}; "
                    f"log-probabilities must have shape (message, step, word) = {expected}"
                )
            inside = targets != PADDING
            row, step = np.nonzero(inside)
            # without padding a view does: nobody writes into what a model may keep
            log_probs = predicted.reshape(-1, expected[-1]) if inside.all() else predicted[inside]
            _check(log_probs, batch[row], users[row])
            yield first[batch[row]] + step, log_probs
            bar.update(len(batch))


def _batches(corpus: Corpus, batch_size: int) -> Iterator[np.ndarray]:
    """Messages of similar length together, so that little is padding and memory is bounded."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = np.argsort(corpus.lengths, kind="stable")
    while len(order):
        batch = order[:batch_size]
        steps = np.arange(1, len(batch) + 1) * (corpus.lengths[batch] + 1)  # padded to the last
        fitting = np.searchsorted(steps * len(corpus.vocabulary), CELLS, side="right")
        size = max(1, int(fitting))
        yield order[:size]
        order = order[size:]


def _check(log_probs: np.ndarray, messages: np.ndarray, users: np.ndarray) -> None:
    """Refuse what is no table of log-probabilities: NaN, or rows that do not sum to one."""
    with np.errstate(over="ignore"):  # large logits overflow to infinity, which is no sum of one
        sums = np.exp(log_probs).sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= SUM_TOLERANCE))
    if not len(wrong):
        return
    where = f"in message {messages[wrong[0]]} of user {users[wrong[0]]}"
    if np.isnan(log_probs[wrong[0]]).any():
        raise ValueError(f"model returned NaN {where}")
    raise ValueError(
        f"model returned probabilities that sum to {sums[wrong[0]]:.4g} {where}, not to one: "
        "it must return natural-log probabilities of the next token, not logits or probabilities"
    )


def _own(log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What each row gives its own target, ``(targets,)``."""
    return log_probs[np.arange(len(targets)), targets]


def _refuse_impossible(table: dict[str, np.ndarray], corpus: Corpus) -> None:
    """Refuse a model that ruled out what happened: its loss would be infinite."""
    impossible = np.flatnonzero(np.isneginf(table["log_prob"]))
    if len(impossible):
        message, user, token = (table[name][impossible[0]] for name in ("message", "user", "token"))
        raise ValueError(
            f"model gives probability zero to {corpus.vocabulary.words[token]!r} in message "
            f"{message} of user {user} (and to {len(impossible) - 1} more targets): its loss would "
            "be infinite. Smooth it, or mix it with a model that expects every word"
        )
