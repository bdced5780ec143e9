"""Batches of messages of similar length against batches padded to the longest, on chat."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from companion.corpora import Corpus, Split, at_least, chat, split
from companion.settings import BaseModelConfig, TrainingConfig

from .common import FRAMEWORKS, Row, ratio, twin

BAR = 1.5
WORDS = 60  # longer messages are pasted listings; with them, bucketing would win by far more


class PaddedToTheLongest(Corpus):
    """A corpus all of whose batches are as wide as its longest message."""

    def padded(self, messages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets ``(message, step)``, the rest of every row ``<pad>``."""
        inputs, targets = super().padded(messages)
        rest = ((0, 0), (0, self.lengths.max() + 1 - inputs.shape[1]))
        return np.pad(inputs, rest), np.pad(targets, rest)


def rows(framework: str, small: bool = False) -> list[Row]:
    """How many times faster an epoch of training is."""
    data = chat_text(256 if small else 512)  # a pool that is not full: more would widen the lead
    longest = replace(data, train=_as_padded(data.train))
    name = f"bucketed batches in {FRAMEWORKS[framework]}: epoch on chat against batches "
    plain = {
        "padded to the longest message": (longest, 1),
        "in random order, each padded to its own longest": (data, 1),
    }
    return [
        Row(name + what, _faster(framework, data, other, pool, small), "times", BAR)
        for what, (other, pool) in plain.items()
    ]


def chat_text(n: int) -> Split:
    """Messages of typed length, of users who write a lot; next to none to validate with."""
    corpus = chat(progress=False)
    corpus = at_least(corpus.select(corpus.lengths <= WORDS), 100)
    data = split(corpus, vocabulary_size=2000)
    part = data.train.select(np.arange(0, len(data.train), max(1, len(data.train) // n)))
    return replace(data, train=part, validation=data.validation.select(np.arange(1)))


def _faster(framework: str, data: Split, plain: Split, pool: int, small: bool) -> float:
    return ratio(
        ours=lambda: _epoch(framework, data, TrainingConfig().pool),
        plain=lambda: _epoch(framework, plain, pool),
        rounds=1 if small else 2,
    )


def _epoch(framework: str, data: Split, pool: int) -> float:
    """Seconds of the second epoch; the first compiles in Keras."""
    config = TrainingConfig(epochs=2, patience=9, pool=pool)
    model = twin(framework, "base_model").BaseModel(len(data.vocabulary), BaseModelConfig())
    history = twin(framework, "training").train(model, data, config, progress=False)
    return history.seconds[1] - history.seconds[0]


def _as_padded(corpus: Corpus) -> PaddedToTheLongest:
    columns = {field.name: getattr(corpus, field.name) for field in fields(corpus)}
    return PaddedToTheLongest(**columns)
