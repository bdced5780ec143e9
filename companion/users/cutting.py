"""The text of many users, cut for a network that reads whole histories; knows no framework."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from companion.corpora import PADDING, Corpus, Split, epoch_batches
from companion.corpora.vocabulary import END
from companion.settings import TrainingConfig

from .methods import FIRST_COUNT_STRENGTH, VECTOR_BATCH, UserMemoryConfig
from .stacks import own_messages
from .states import rows_of

TOGETHER = 8192  # positions of the text that is read at once where nothing is trained


@dataclass(frozen=True, eq=False)
class Text:
    """Messages of some histories, as they are read and predicted.

    Parameters
    ----------
    inputs : np.ndarray
        What the network reads, ``(messages, time)`` int32, histories one after the other.
    inside : np.ndarray
        Where there is something to predict, no padding, ``(messages, time)`` bool.
    targets : np.ndarray
        The words that come there, row by row, ``(positions,)`` int64.
    message : np.ndarray
        In which message each stands, ``(positions,)`` int64.
    history : np.ndarray
        To which history each message belongs, ``(messages,)`` int64.
    users : np.ndarray
        Who wrote each message, ``(messages,)`` int64.
    bounds : np.ndarray
        Where the positions of each history begin, and where the last ends,
        ``(histories + 1,)`` int64.
    """

    inputs: np.ndarray
    inside: np.ndarray
    targets: np.ndarray
    message: np.ndarray
    history: np.ndarray
    users: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, corpus: Corpus, histories: Sequence[np.ndarray]) -> Text:
        """The messages at these places of `corpus`, one array a history."""
        messages = np.concatenate(histories).astype(np.int64)
        inputs, targets = corpus.padded(messages)
        inside = targets != PADDING
        sizes = [len(own) for own in histories]
        history = np.repeat(np.arange(len(histories)), sizes)
        positions = np.bincount(history, inside.sum(axis=1), minlength=len(histories))
        return cls(
            inputs,
            inside,
            targets[inside].astype(np.int64),
            np.nonzero(inside)[0],
            history,
            corpus.users[messages].astype(np.int64),
            np.r_[0, np.cumsum(positions)].astype(np.int64),
        )

    @property
    def lengths(self) -> np.ndarray:
        """Positions of each message, ``(messages,)``."""
        return self.inside.sum(axis=1)


def pieces(
    corpus: Corpus, rng: np.random.Generator, cut: float, shortest: int, longest: int
) -> list[np.ndarray]:
    """All messages, each once, in pieces of histories: as if each piece were all a user wrote.

    Parameters
    ----------
    corpus : Corpus
    rng : np.random.Generator
    cut : float
        Share of the histories that are cut into pieces of a random size, from `shortest` to the
        whole, each order of magnitude as probable as another.
    shortest, longest : int
        Messages in a piece; a history with more than `longest` is cut in any case.

    Returns
    -------
    list of np.ndarray
        Places in `corpus`, an array a piece; in random order within a history.
    """
    found = []
    for own in own_messages(corpus, corpus.active_users):
        size = min(len(own), longest)
        if rng.random() < cut and size > shortest:
            size = round(math.exp(rng.uniform(math.log(shortest), math.log(size))))
        found += np.array_split(rng.permutation(own), math.ceil(len(own) / size))
    return found


def batches(
    found: Sequence[np.ndarray], rng: np.random.Generator, count: int
) -> Iterator[list[np.ndarray]]:
    """The pieces in random order, in `count` batches (or fewer) of about as many messages each."""
    order = rng.permutation(len(found))
    sizes = np.array([len(found[place]) for place in order])
    batch = (np.cumsum(sizes) - sizes) * count // sizes.sum()
    for number in np.unique(batch):
        yield [found[place] for place in order[batch == number]]


def interleaved(first: Sequence[Any], second: Sequence[Any]) -> Iterator[Any]:
    """All of both in their order, the longer sequence being spread evenly among the other."""
    keys = [(place + 0.5) / len(each) for each in (first, second) for place in range(len(each))]
    every = [*first, *second]
    for place in np.argsort(keys, kind="stable"):
        yield every[place]


class Step(NamedTuple):
    """What is predicted in a step: by the memory of whole histories, or by vectors."""

    histories: list[np.ndarray]
    of_memory: bool


class Histories:
    """The task of predicting each message of a history from the others: what its steps read.

    A twin adds the loss.
    """

    def __init__(self, data: Split, config: TrainingConfig, reading: UserMemoryConfig) -> None:
        self.data, self.config, self.reading = data, config, reading

    def __len__(self) -> int:
        return self.steps + (self.vector_steps if self.reading.embedding else 0)

    @property
    def steps(self) -> int:
        """Batches of whole histories in an epoch."""
        return math.ceil(len(self.data.train) / self.config.batch_size)

    @property
    def vector_steps(self) -> int:
        """Batches of single messages in an epoch: a vector needs many small steps."""
        return math.ceil(len(self.data.train) / VECTOR_BATCH)

    def epoch(self, number: int) -> list[Step]:
        """The steps of one epoch, in the order that the twins share."""
        rng, text = np.random.default_rng((self.config.seed, number)), self.data.train
        reading = self.reading
        found = pieces(text, rng, reading.cut, reading.shortest, reading.longest)
        histories = [Step(batch, of_memory=True) for batch in batches(found, rng, self.steps)]
        alone: list[Step] = []
        if reading.embedding:
            order = epoch_batches(text.lengths, VECTOR_BATCH, self.config.seed, number)
            alone = [Step([messages], of_memory=False) for messages in order]
        return list(interleaved(histories, alone))

    def rows(self, text: Text) -> np.ndarray:
        """The row in the table of vectors for each position, ``(positions,)`` int64."""
        return rows_of(self.data.known_users, text.users)[text.message].astype(np.int64)

    def validated(self) -> Iterator[tuple[Text, Text]]:
        """Training text of some users, which is remembered, and what they wrote later."""
        for histories in together(self.data.train):
            users = self.data.train.users[[own[0] for own in histories]]
            later = own_messages(self.data.validation, users)
            yield Text.of(self.data.train, histories), Text.of(self.data.validation, later)


def together(corpus: Corpus, positions: int = TOGETHER) -> Iterator[list[np.ndarray]]:
    """Whole histories, some at a time, of no more than `positions` together where they can be."""
    batch: list[np.ndarray] = []
    size = 0
    for own in own_messages(corpus, corpus.active_users):
        more = int((corpus.lengths[own] + 1).sum())
        if batch and size + more > positions:
            yield batch
            batch, size = [], 0
        batch, size = [*batch, own], size + more
    if batch:
        yield batch


def first_scale(text: Corpus) -> np.ndarray:
    """Logarithm of how many uses of each word count as much as none, before training, ``(word,)``.

    In proportion to how frequent the word is in `text`: a rare one says more of its user.
    """
    words = np.concatenate([text.words(message) for message in range(len(text))])
    counts = np.bincount(words, minlength=len(text.vocabulary)) + 0.5
    counts[END] += len(text)
    return np.log(FIRST_COUNT_STRENGTH * counts / counts.sum()).astype(np.float32)


__all__ = ["Text", "batches", "first_scale", "interleaved", "pieces", "together"]
