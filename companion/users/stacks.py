"""The text of several users side by side, as networks stacked one a user read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from companion.corpora import PADDING, Corpus
from companion.settings import check_integer

from .strategies import Strategy

DOWN, UP = " down", " up"  # the two narrow matrices whose product changes a matrix
SCALE = " scale"  # what is added to 1 before each column of a matrix is multiplied with it
LARGEST_PART = 256  # messages of one user in a step: a long history takes more steps
STEPS = 16_384  # padded tokens read at once, at most, where they are not of one message a user
KEPT_CELLS = 32_000_000  # predictions kept while a group is adapted, at most: 128 MB
CELLS = 1_000_000  # logits of one step, at most, where it is not one user's: 4 MB, near the cores


@dataclass(frozen=True, eq=False)
class Stack:
    """Messages of some users, padded to the same number of messages and of tokens a user.

    Parameters
    ----------
    tokens : np.ndarray
        What the networks read, ``(users, messages, time)`` int32.
    places : np.ndarray
        Where in a user's ``messages * time`` steps the targets are, ``(users, targets)`` int64.
    targets : np.ndarray
        The tokens to predict there, padding behind the last, ``(users, targets)`` int32.
    """

    tokens: np.ndarray
    places: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, corpus: Corpus, messages: Sequence[np.ndarray]) -> Stack:
        """The messages at these places of `corpus`, one array a user."""
        most = max(map(len, messages))
        inputs, targets = corpus.padded(np.concatenate(messages))  # (all messages, time)
        row = np.concatenate([[i] * len(own) for i, own in enumerate(messages)]).astype(int)
        column = np.concatenate([np.arange(len(own)) for own in messages])
        shape = (len(messages), most, inputs.shape[1])
        tokens, steps = np.full(shape, PADDING, np.int32), np.full(shape, PADDING, np.int32)
        tokens[row, column], steps[row, column] = inputs, targets
        return cls(tokens, *_left(steps.reshape(len(messages), -1)))

    def columns(
        self, lengths: np.ndarray, part: list[np.ndarray], own: list[np.ndarray]
    ) -> np.ndarray:
        """Where the targets of this part stand among all targets of their users.

        ``(users, targets)``, as in the stack of `own`, all messages of each user.
        """
        starts = np.zeros((len(part), max(map(len, part))), np.int64)
        for row, messages, every in zip(starts, part, own, strict=True):
            row[: len(messages)] = _starts(lengths[every])[np.searchsorted(every, messages)]
        row, step = np.divmod(self.places, self.tokens.shape[2])
        columns = np.take_along_axis(starts, row, axis=1) + step
        return np.where(self.targets == PADDING, 0, columns)


def parts(corpus: Corpus, users: np.ndarray, batches: int) -> np.ndarray:
    """In how many parts each user's messages are read, ``(users,)``.

    As many as `batches`; fewer where there are not so many messages, more where a part would be
    too large.
    """
    counts = corpus.message_counts[users]
    largest = np.clip(STEPS // _longest(corpus)[users], 1, LARGEST_PART)  # messages in a part
    return np.maximum(np.minimum(counts, batches), -(-counts // largest))


def groups(corpus: Corpus, users: np.ndarray, batches: int, largest: int) -> list[np.ndarray]:
    """Users to be adapted together: with histories of similar length, and the same parts.

    Parameters
    ----------
    largest : int
        Users in a group, at most; fewer where one step of theirs would take too much memory, for
        its logits or, where a message is long, for what the networks read.
    """
    largest = check_integer("group_size", largest, at_least=1)
    in_parts = parts(corpus, users, batches)
    tokens = np.bincount(corpus.users, corpus.lengths + 1.0, minlength=corpus.n_users)[users]
    cells = tokens / in_parts * len(corpus.vocabulary)
    messages, longest = -(-corpus.message_counts[users] // in_parts), _longest(corpus)[users]
    found: list[list[int]] = []
    for place in np.lexsort((users, tokens, in_parts)):
        group = [*(found[-1] if found else []), place]
        fits = len(group) <= largest and len(group) * cells[place] <= CELLS
        fits &= len(group) * messages[group].max() * longest[group].max() <= STEPS
        if len(group) > 1 and fits and in_parts[group[0]] == in_parts[place]:
            found[-1] = group
        else:
            found.append([place])
    return [np.sort(users[group]) for group in found]


def passes(
    corpus: Corpus, users: np.ndarray, strategy: Strategy
) -> Iterator[list[list[np.ndarray]]]:
    """For each pass its parts, ``parts[part][user]``: places of messages in `corpus`.

    The order of a user's messages depends on the seed, the pass and the user: not on who else is
    in the group.
    """
    own = own_messages(corpus, users)
    in_parts = int(parts(corpus, users[:1], strategy.batches)[0])
    for number in range(strategy.passes):
        shuffled = [
            np.random.default_rng((strategy.seed, number, int(user))).permutation(messages)
            for user, messages in zip(users, own, strict=True)
        ]
        split = [np.array_split(messages, in_parts) for messages in shuffled]
        yield [list(part) for part in zip(*split, strict=True)]


def reading(
    corpus: Corpus, own: list[np.ndarray], width: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All messages, each once, in batches of similar length: for a network that all users share.

    Yields
    ------
    messages : np.ndarray
        Places in `corpus`, ``(batch,)``.
    places : np.ndarray
        Where each of their targets stands in a table ``(users * width,)``, one after the other.
    """
    messages = np.concatenate(own)
    starts = [user * width + _starts(corpus.lengths[every]) for user, every in enumerate(own)]
    start, lengths = np.concatenate(starts), corpus.lengths[messages]
    for batch in _alike(lengths):
        steps = [start[one] + np.arange(lengths[one] + 1) for one in batch]
        yield messages[batch], np.concatenate(steps)


def _alike(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Places of messages of similar length, as many at once as may be read, ``(batch,)``."""
    order = np.argsort(lengths, kind="stable")
    while len(order):
        padded = np.arange(1, len(order) + 1) * (lengths[order] + 1)
        fits = max(1, np.searchsorted(padded, STEPS, side="right"))
        yield order[: min(fits, LARGEST_PART)]
        order = order[min(fits, LARGEST_PART) :]


def slices(corpus: Corpus, own: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """All messages, some of each user at a time: for text that is read once."""
    longest = corpus.lengths[np.concatenate(own)].max(initial=0)
    width = max(1, STEPS // (len(own) * (longest + 1)))
    for start in range(0, max(map(len, own)), width):
        yield [messages[start : start + width] for messages in own]


def own_messages(corpus: Corpus, users: np.ndarray) -> list[np.ndarray]:
    """Places of each user's messages in `corpus`."""
    order = np.argsort(corpus.users, kind="stable")
    bounds = np.searchsorted(corpus.users[order], [users, users + 1])
    return [order[start:end] for start, end in bounds.T]


def _longest(corpus: Corpus) -> np.ndarray:
    """Targets of each user's longest message, ``(users,)``; 1, where a user has no message."""
    longest = np.ones(corpus.n_users, np.int64)
    np.maximum.at(longest, corpus.users, corpus.lengths + 1)
    return longest


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where the targets of each message begin among those of all, ``(messages,)``."""
    return np.cumsum(lengths + 1) - (lengths + 1)


def _left(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places and tokens of what is no padding, moved to the left, ``(users, targets)`` each."""
    inside = steps != PADDING
    width = max(1, int(inside.sum(axis=1).max()))
    places = np.argsort(~inside, axis=1, kind="stable")[:, :width]
    return places, np.take_along_axis(steps, places, axis=1)


def first_down(inputs: int, rank: int, seed: int) -> np.ndarray:
    """The narrow matrix that does not start at zero, ``(in, rank)``: the same for every user."""
    drawn = np.random.default_rng(seed).normal(size=(inputs, rank)) / np.sqrt(inputs)
    return drawn.astype(np.float32)


def draw_tokens(
    corpus: Corpus, tokens: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Some targets of a corpus, each equally likely: their messages, and their steps there."""
    tokens = check_integer("tokens", tokens, at_least=1)
    ends = np.cumsum(corpus.lengths + 1)
    drawn = rng.permutation(ends[-1])[:tokens]
    messages = np.searchsorted(ends, drawn, side="right")
    return messages, drawn - (ends[messages] - corpus.lengths[messages] - 1)


def draw(log_probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A word for each row of log-probabilities ``(rows, word)``, by the Gumbel trick."""
    return (log_probs + rng.gumbel(size=log_probs.shape)).argmax(axis=1)
