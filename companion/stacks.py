"""The text of several users side by side, as networks stacked one a user read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from . import files
from .corpora import PADDING, Corpus, epoch_batches
from .personal import PersonalStates, check_ascending, load_states
from .settings import check_integer
from .strategies import Strategy

DOWN, UP = " down", " up"  # the two narrow matrices whose product changes a matrix
SCALE = " scale"  # what is added to 1 before each column of a matrix is multiplied with it
LARGEST_PART = 256  # messages of one user in a step: a long history takes more steps
RECIPE = "recipe.json"
_ELSEWHERE = "name another folder, or delete this one"
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

    @property
    def counts(self) -> np.ndarray:
        """Targets of each user, ``(users,)``."""
        return (self.targets != PADDING).sum(axis=1)


def parts(corpus: Corpus, users: np.ndarray, batches: int) -> np.ndarray:
    """In how many parts each user's messages are read, ``(users,)``.

    As many as `batches`; fewer where there are not so many messages, more where a part would be
    too large.
    """
    counts = corpus.message_counts[users]
    return np.maximum(np.minimum(counts, batches), -(-counts // LARGEST_PART))


def groups(corpus: Corpus, users: np.ndarray, batches: int, largest: int) -> list[np.ndarray]:
    """Users to be adapted together: with histories of similar length, and the same parts.

    Parameters
    ----------
    largest : int
        Users in a group, at most; fewer where their logits of one step would take too much memory.
    """
    largest = check_integer("group_size", largest, at_least=1)
    in_parts = parts(corpus, users, batches)
    tokens = np.bincount(corpus.users, corpus.lengths + 1.0, minlength=corpus.n_users)[users]
    cells = tokens / in_parts * len(corpus.vocabulary)
    found: list[list[int]] = []
    for place in np.lexsort((users, tokens, in_parts)):
        group = found[-1] if found else []
        fits = len(group) < largest and (len(group) + 1) * cells[place] <= CELLS
        if group and fits and in_parts[group[0]] == in_parts[place]:
            group.append(place)
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
    for batch in epoch_batches(lengths, LARGEST_PART, seed=0, epoch=0, pool=len(messages)):
        steps = [start[one] + np.arange(lengths[one] + 1) for one in batch]
        yield messages[batch], np.concatenate(steps)


def own_messages(corpus: Corpus, users: np.ndarray) -> list[np.ndarray]:
    """Places of each user's messages in `corpus`."""
    order = np.argsort(corpus.users, kind="stable")
    bounds = np.searchsorted(corpus.users[order], [users, users + 1])
    return [order[start:end] for start, end in bounds.T]


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where the targets of each message begin among those of all, ``(messages,)``."""
    return np.cumsum(lengths + 1) - (lengths + 1)


def _left(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places and tokens of what is no padding, moved to the left, ``(users, targets)`` each."""
    inside = steps != PADDING
    width = max(1, int(inside.sum(axis=1).max()))
    places = np.argsort(~inside, axis=1, kind="stable")[:, :width]
    return places, np.take_along_axis(steps, places, axis=1)


def check_adaptable(
    base: Any,
    corpus: Corpus,
    users: Sequence[int] | np.ndarray | None,
    strategy: Strategy,
    validation: Corpus | None,
    importance: Mapping[str, np.ndarray] | None,
) -> np.ndarray:
    """The users to adapt to, ascending.

    Raises
    ------
    ValueError
        If there is no text, a user has none, the base model lacks words of it, or the strategy
        needs what is not given.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: fine-tuning needs at least one message")
    if len(corpus.vocabulary) != base.vocabulary_size:
        raise ValueError(
            f"base has a vocabulary of {base.vocabulary_size} words, but corpus has "
            f"{len(corpus.vocabulary)}"
        )
    users = corpus.active_users if users is None else users
    if not len(users):
        raise ValueError("users is empty: name at least one user, or None for all with a message")
    users = check_ascending(np.unique(users))
    without = np.setdiff1d(users, corpus.active_users)
    if len(without):
        raise ValueError(f"user {without[0]} has no message in corpus to adapt to")
    if strategy.validates and validation is None:
        raise ValueError("early_stopping and gate need validation text: give validation")
    if importance is not None and strategy.rank:
        raise ValueError(f"importance is of whole weights: rank must be 0, not {strategy.rank}")
    if validation is not None and validation.vocabulary.words != corpus.vocabulary.words:
        raise ValueError("validation must have the vocabulary of corpus: its words differ")
    if importance is not None and not all(
        np.isfinite(each).all() and (each >= 0).all() for each in importance.values()
    ):
        raise ValueError("importance must be finite and at least 0 everywhere")
    if importance is not None and not strategy.pull:
        raise ValueError("importance needs a pull above 0 to have an effect")
    return users


def recipe(
    base: str,
    corpus: Corpus,
    strategy: Strategy,
    validation: Corpus | None,
    importance: Mapping[str, np.ndarray] | None,
) -> dict[str, Any]:
    """Everything that decides the states of the users, as JSON gives it back."""
    made_of = {
        "base": base,
        "strategy": asdict(strategy),
        "text": corpus.fingerprint,
        "validation": validation.fingerprint if strategy.validates else None,
        "importance": None if importance is None else files.fingerprint(importance),
    }
    return json.loads(json.dumps(made_of))


def resume(
    folder: str | PathLike[str] | None, made_for: str, made_of: Mapping[str, Any]
) -> PersonalStates | None:
    """The states that an earlier run with this recipe left in a folder; a new folder gets it.

    Raises
    ------
    ValueError
        If the states there were made with another recipe, or nobody knows with which.
    """
    if folder is None:
        return None
    path = Path(folder) / RECIPE
    if not path.exists():
        if next(path.parent.glob("user-*"), None):
            raise ValueError(f"{folder} holds states, but no {RECIPE}: {_ELSEWHERE}")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, (json.dumps(made_of, indent=1) + "\n").encode())
    other = sorted(name for name in made_of if _read_recipe(path).get(name) != made_of[name])
    if other:
        raise ValueError(
            f"{folder} holds states made with another {' and '.join(other)}: {_ELSEWHERE}"
        )
    try:
        return load_states(folder, made_for)
    except FileNotFoundError:
        return None


def _read_recipe(path: Path) -> Mapping[str, Any]:
    """What the states of a folder were made of."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise files.CorruptedFileError(f"{path} is no recipe: {_ELSEWHERE}") from error


def check_stored(arrays: Mapping[str, np.ndarray], users: np.ndarray, strategy: Strategy) -> None:
    """Refuse changes that are not finite, or too large for the half precision they are kept in.

    Raises
    ------
    FloatingPointError
        The message names the user.
    """
    for name, array in arrays.items():
        wrong = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if wrong.any():
            raise FloatingPointError(
                f"the change of {name} of user {users[wrong][0]} is not finite in half precision: "
                f"try a learning_rate below {strategy.learning_rate:g}"
            )


def merged(states: list[PersonalStates]) -> PersonalStates:
    """States of different users, made for the same network, in one."""
    users = np.concatenate([some.users for some in states])
    order = np.argsort(users)
    arrays = {
        name: np.concatenate([some.arrays[name] for some in states])[order]
        for name in states[0].arrays
    }
    return PersonalStates(states[0].model, users[order], arrays)


def check_changes(states: PersonalStates, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse states that are no changes of weights of these shapes.

    Raises
    ------
    ValueError
        The message names the array.
    """
    for name, array in states.arrays.items():
        weight = name.removesuffix(DOWN).removesuffix(UP)
        expected, found = shapes.get(weight, ()), array.shape[1:]
        if name.endswith((DOWN, UP)):
            down, up = (states.arrays.get(weight + end) for end in (DOWN, UP))
            fits = down is not None and up is not None and down.shape[2:] == up.shape[1:2]
            fits = fits and (down.shape[1], up.shape[2]) == expected
        else:
            fits = found in (expected, expected[::-1]) and bool(expected)
        if not fits:
            raise ValueError(
                f"states hold {name!r} with shape {found}, no change of a weight here: "
                "another method's"
            )


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
