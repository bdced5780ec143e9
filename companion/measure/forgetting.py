"""What adapting to one user costs on everybody else's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from companion.corpora import Corpus


def of_others(
    corpus: Corpus, users: Sequence[int] | np.ndarray, messages: int = 10, seed: int = 0
) -> Corpus:
    """For each user some messages of other people, as if this user were to type them.

    What a personal model loses on them against the base model is what it has forgotten.

    Parameters
    ----------
    corpus : Corpus
        Where the messages come from: test text.
    users : sequence of int
        Who is to type them.
    messages : int
        How many for each user, drawn without replacement.
    seed : int
        Decides which.

    Returns
    -------
    Corpus
        `messages` messages of each user, whose authors are others.

    Raises
    ------
    ValueError
        If the others have fewer messages than that.
    """
    rng = np.random.default_rng(seed)
    places = []
    for user in users:
        others = np.flatnonzero(corpus.users != user)
        if len(others) < messages:
            raise ValueError(
                f"corpus has {len(others)} messages of others than user {user}, not {messages}"
            )
        places.append(np.sort(rng.choice(others, messages, replace=False)))
    chosen = corpus.select(np.concatenate(places))
    typed_by = np.repeat(np.asarray(users, dtype=corpus.users.dtype), messages)
    return replace(chosen, users=typed_by)
