"""One suggestion with carried state against reading the message again from its beginning."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from companion.corpora import messages
from companion.corpora.vocabulary import SPECIAL_TOKENS
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig

from .common import FRAMEWORKS, Row, ratio, twin

BAR = 2.0
PREFIX = 12  # words before the one to suggest
Reader = Callable[[np.ndarray], np.ndarray]  # tokens (1, time) -> log-probabilities (1, word)


class Rereading:
    """A model that reads the message from its beginning for every suggestion."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def begin(self, batch: int, users: np.ndarray | None = None) -> np.ndarray:
        """No token read."""
        return np.empty((batch, 0), dtype=np.int32)

    def step(
        self, tokens: np.ndarray, state: np.ndarray, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities after all tokens so far, and these."""
        read = np.concatenate([state, tokens[:, None]], axis=1)  # (batch, time)
        return self.reader(read), read


def rows(framework: str, small: bool = False) -> list[Row]:
    """How many times faster the next suggestion comes."""
    data, _ = messages()
    model = twin(framework, "base_model").BaseModel(len(data.vocabulary), BaseModelConfig())
    carried = Keyboard(model, data.vocabulary)
    readers = {
        "calling the model on": {"pytorch": plain_pytorch, "keras": plain_keras}[framework](model),
        "log_probs of": lambda tokens: model.log_probs(tokens)[:, -1],
    }
    name = f"one suggestion in {FRAMEWORKS[framework]}: carried state against "
    return [
        Row(
            f"{name}{how} {PREFIX} words",
            _faster(carried, data.vocabulary, reader, small),
            "times",
            bar,
        )
        for (how, reader), bar in zip(readers.items(), (BAR, None), strict=True)
    ]


def plain_pytorch(model: Any) -> Reader:
    """What one would write by hand."""
    import torch

    model.eval()

    def read(tokens: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(tokens))[:, -1].log_softmax(-1).numpy()

    return read


def plain_keras(model: Any) -> Reader:
    """What one would write by hand: for one message, calling is quicker than ``predict``."""
    import keras

    def read(tokens: np.ndarray) -> np.ndarray:
        return keras.ops.log_softmax(model(tokens, training=False)[:, -1]).numpy()

    return read


def _faster(carried: Keyboard, vocabulary: Any, reader: Reader, small: bool) -> float:
    again = Keyboard(Rereading(reader), vocabulary)
    times = 20 if small else 50  # short turns: what else the machine does hits both of a pair
    return ratio(
        ours=lambda: typical(carried, times),
        plain=lambda: typical(again, times),
        rounds=1 if small else 41,
    )


def typical(keyboard: Keyboard, times: int) -> float:
    """Median seconds of a suggestion after one more word."""
    words = list(range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + PREFIX))
    taken = []
    for _ in range(times):
        keyboard.suggest(words[:-1])  # deletes the last word, which costs no step
        start = time.perf_counter()
        keyboard.suggest(words)
        taken.append(time.perf_counter() - start)
    return median(taken)
