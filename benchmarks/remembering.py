"""What a memory costs while one types: a message remembered, a word suggested with it open."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import numpy as np

from companion.corpora import BEGIN, Corpus, messages
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig

from .common import FRAMEWORKS, Row, ratio, seconds, twin
from .suggestion import typical

REMEMBER_BAR, SUGGEST_BAR = 2.0, 1.5
POSITIONS = 500  # remembered before
WORDS = 8  # of the message to remember


def rows(framework: str, small: bool = False) -> list[Row]:
    """How many times as long the base model takes."""
    data, _ = messages()
    base = still(twin(framework, "base_model").BaseModel(len(data.vocabulary), BaseModelConfig()))
    user, text = long_history(data.train)
    model = remembering(framework, base, text, data.vocabulary)
    times, rounds = (20, 1) if small else (50, 41)
    with_memory = Keyboard(model, data.vocabulary, user)
    without = Keyboard(base, data.vocabulary)
    name = f" in {FRAMEWORKS[framework]}, {POSITIONS} positions remembered, against the base model"
    measured = {
        f"one suggestion{name}": (
            lambda: typical(without, times),
            lambda: typical(with_memory, times),
            SUGGEST_BAR,
        ),
        f"one message remembered{name}'s pass over it": (
            lambda: passing(base, times),
            lambda: adding(model, user, times),
            REMEMBER_BAR,
        ),
    }
    return [
        Row(what, ratio(ours=plain, plain=ours, rounds=rounds), "times", bar, higher=False)
        for what, (plain, ours, bar) in measured.items()
    ]


def long_history(text: Corpus) -> tuple[int, Corpus]:
    """A user who wrote enough, and of their first messages as many as make `POSITIONS`."""
    positions = np.bincount(text.users, text.lengths + 1)
    user = int(np.flatnonzero(positions > POSITIONS)[0])
    own = text.of_users(user)
    return user, own.select(np.cumsum(own.lengths + 1) <= POSITIONS)


def remembering(framework: str, base: Any, text: Corpus, vocabulary: Any) -> Any:
    """An untrained model that remembers a text: how quick it is does not depend on its weights."""
    user_memory = twin(framework, "user_memory")
    network = user_memory.from_base(base, text)
    model = user_memory.UserMemory(network, user_memory.Memories("", {}))
    model.vocabulary = vocabulary
    return still(model.with_memories(model.read(text)))


def still(model: Any) -> Any:
    """The model in evaluation mode, as a trained one is, where the framework has such a thing."""
    return model.eval() if hasattr(model, "eval") else model


def passing(base: Any, times: int) -> float:
    """Median seconds of one pass of the base model over a message."""
    tokens = np.array([[BEGIN, *words()]], np.int32)
    return median(seconds(lambda: base.log_probs(tokens)) for _ in range(times))


def adding(model: Any, user: int, times: int) -> float:
    """Median seconds of remembering a message, the memory being open."""
    taken = []
    for _ in range(times):
        model.begin(1, [user])  # opens it
        taken.append(seconds(partial(model.remember, user, words())))
        model.forget(user, words())
    return median(taken)


def words() -> np.ndarray:
    """A message."""
    return np.arange(10, 10 + WORDS)
