"""Checks of what a model is given, shared by both frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_ids(name: str, ids: Any, size: int | None, ndim: int) -> np.ndarray:
    """Ids as a NumPy array, every one of them inside its range.

    Parameters
    ----------
    name : {"token", "user"}
        What the ids stand for; the error says it.
    ids : array_like
        Integers.
    size : int or None
        Ids go from 0 to ``size - 1``; upwards without end where it is None.
    ndim : int
        How many axes the array must have.

    Raises
    ------
    TypeError
        If the ids are no integers.
    ValueError
        If the array has another number of axes, or an id is outside; the message names the id.
    """
    ids = np.asarray(ids)
    if ids.ndim == 2 and not ids.shape[1] and len(ids):
        raise ValueError(f"{name} ids must have at least one step: shape {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} ids must be integers (int32 or int64), not {ids.dtype}")
    if ids.ndim != ndim:
        raise ValueError(f"{name} ids must have {ndim} axes, not {ids.ndim}: shape {ids.shape}")
    highest = np.inf if size is None else size - 1
    if ids.size and not (ids.min() >= 0 and ids.max() <= highest):
        outside = ids[(ids < 0) | (ids > highest)]
        place = "the vocabulary" if name == "token" else f"the {name}s known"
        upwards = "upwards" if size is None else f"to {size - 1}"
        raise ValueError(f"{name} id {outside[0]} is outside {place}: ids go from 0 {upwards}")
    return ids


def check_users(users: Any, messages: int) -> np.ndarray:
    """User ids as a NumPy array, one for every message.

    Parameters
    ----------
    users : array_like
        Integers.
    messages : int
        How many messages there are.

    Raises
    ------
    TypeError, ValueError
        As in :func:`check_ids`, and if there are more or fewer users than messages.
    """
    users = check_ids("user", users, None, ndim=1)
    if len(users) != messages:
        raise ValueError(f"users must be one for each message: {len(users)} for {messages}")
    return users


def check_trainable(model: Any, data: Any) -> None:
    """Refuse to train where there is no text, or where the text has words the model lacks.

    Raises
    ------
    ValueError
        If ``data.train`` or ``data.validation`` is empty, or the model's ``vocabulary_size``
        (where it has one) is below that of `data`.
    """
    for name in ("train", "validation"):
        if not len(getattr(data, name)):
            raise ValueError(f"data.{name} is empty: it needs at least one message")
    size, own = getattr(model, "vocabulary_size", None), getattr(model, "vocabulary", None)
    if size is not None:
        check_vocabulary("data", data.vocabulary, own, max(size, len(data.vocabulary)))
        if size < len(data.vocabulary):
            raise ValueError(
                f"model has a vocabulary of {size} words, but data has {len(data.vocabulary)}"
            )


def check_vocabulary(name: str, given: Any, own: Any, size: int) -> None:
    """Refuse text of another vocabulary than the model's own.

    Parameters
    ----------
    name : str
        What has the vocabulary; the error says it.
    given : Vocabulary
    own : Vocabulary or None
        The model's; None where nobody told it.
    size : int
        How many words the model reads and predicts.

    Raises
    ------
    ValueError
        If there are more or fewer words, or an id stands for another one.
    """
    if len(given) != size:
        raise ValueError(f"model has a vocabulary of {size} words, but {name} has {len(given)}")
    if own is None or given.words == own.words:
        return
    pairs = enumerate(zip(own.words, given.words, strict=True))
    place, (word, other) = next((i, two) for i, two in pairs if two[0] != two[1])
    raise ValueError(
        f"{name} has another vocabulary than the model: word {place} is {other!r} instead of "
        f"{word!r}. Read the text with the vocabulary of the model"
    )
