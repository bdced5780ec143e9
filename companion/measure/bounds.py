"""The scores of the two exact bounds, computed once and kept in the cache folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import companion.corpora.corpus
import companion.corpora.generator.forward
import companion.corpora.generator.grammar
import companion.corpora.generator.profiles
import companion.corpora.generator.truth
import companion.corpora.vocabulary
from companion.checks import check_ids
from companion.corpora import Corpus, Truth
from companion.keeping import kept, source_fingerprint
from companion.keeping.files import load_arrays, save_arrays

from . import counts, scores, suggestions

KIND = "scores of the bounds"
MEASURED = ("log_prob", "rank", "saved")  # the other columns say what stands in the corpus


class Bounds(NamedTuple):
    """The user-blind and the user-aware bound of one text, a table of scores each."""

    blind: pd.DataFrame
    aware: pd.DataFrame


def bounds(truth: Truth, corpus: Corpus, progress: bool = False) -> Bounds:
    """Scores of the user-blind and the user-aware bound: ``blind, aware = bounds(truth, text)``.

    What :func:`score` gives for ``truth.blind`` (for new users: ``truth.blind_new``) and for
    ``truth.aware``. They are exact and cost seconds, so they are computed once and kept in the
    cache folder, as trained models are.

    Which blind bound it is depends on the users of `corpus`. *Known* users, those with training
    text, are the ones that ``truth.blind`` mixes; a *new* user is not among them and has the bound
    ``truth.blind_new``.

    Parameters
    ----------
    truth : Truth
        What :func:`companion.corpora.messages` gives with the corpus.
    corpus : Corpus
        Messages of known users, or of new ones: ``data.test``, or ``data.new_test``.
    progress : bool
        Show a progress bar while they are computed.

    Returns
    -------
    Bounds
        Two tables as :func:`score` gives them, `blind` and `aware`.

    Raises
    ------
    ValueError
        If the corpus is empty or has both known and new users, whose blind bounds differ.
    """
    return Bounds(*map(scores.summed, bounds_targets(truth, corpus, progress)))


def bounds_targets(truth: Truth, corpus: Corpus, progress: bool = False) -> Bounds:
    """The same bounds, one row per target token, as :func:`score_targets` gives them.

    Parameters and errors are those of :func:`bounds`.
    """
    blind = truth.blind_new if _are_new(truth, corpus) else truth.blind

    def make() -> Bounds:
        models = blind, truth.aware
        return Bounds(*(scores.score_targets(m, corpus, progress=progress) for m in models))

    return kept(_key(truth, corpus), make, _save, lambda path: _load(path, corpus))


def _are_new(truth: Truth, corpus: Corpus) -> bool:
    """Whether the users of `corpus` are new: the training text, and so the prior, has none."""
    users = check_ids("user", corpus.active_users, len(truth.prior), ndim=1)
    new = truth.prior[users] == 0
    if new.any() and not new.all():
        raise ValueError(
            f"corpus has known users (such as {users[~new][0]}) and new ones (such as "
            f"{users[new][0]}), whose user-blind bounds differ: choose some with of_users"
        )
    return bool(new.any())


def _key(truth: Truth, corpus: Corpus) -> dict[str, Any]:
    """Everything that decides the scores; whether the users are new follows from it."""
    modules = (
        sys.modules[__name__],
        scores,
        suggestions,
        counts,
        companion.corpora.generator.truth,
        companion.corpora.generator.forward,
        companion.corpora.generator.profiles,
        companion.corpora.generator.grammar,
        companion.corpora.corpus,
        companion.corpora.vocabulary,
    )
    return {
        "name": "bounds",
        "truth": truth.fingerprint,
        "corpus": corpus.fingerprint,
        "code": source_fingerprint(*modules),
        "numpy": np.__version__,
    }


def _save(made: Bounds, path: Path) -> None:
    arrays = {
        f"{name} {column}": table[column].to_numpy()
        for name, table in made._asdict().items()
        for column in MEASURED
    }
    save_arrays(path, arrays, KIND, {})


def _load(path: Path, corpus: Corpus) -> Bounds:
    """What :func:`_save` wrote; the rest of the tables is read off the corpus."""
    arrays, _ = load_arrays(path, KIND)
    return Bounds(
        *(
            pd.DataFrame(scores.targets_of(corpus) | {c: arrays[f"{name} {c}"] for c in MEASURED})
            for name in Bounds._fields
        )
    )
