"""Fine-tuning of a group of users together, as far as it knows no framework."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from companion.corpora import PADDING, Corpus

from . import stacks
from .methods import STORED
from .stacks import DOWN, UP, Stack
from .strategies import Strategy

Arrays = dict[str, np.ndarray]
Importance = Mapping[str, np.ndarray]


class Group:
    """Some users while they are adapted together: when to read, to step, to stop and what to keep.

    A twin computes: what it must say stands at the end. Its tensors are passed on unseen.

    Parameters
    ----------
    base : base model of the twin
    corpus : Corpus
        The text to adapt to.
    users : np.ndarray
        ``(users,)``
    strategy : Strategy
    """

    def __init__(self, base: Any, corpus: Corpus, users: np.ndarray, strategy: Strategy) -> None:
        self.base, self.corpus, self.users, self.strategy = base, corpus, users, strategy
        self.own = stacks.own_messages(corpus, users)
        tokens = [(corpus.lengths[own] + 1).sum() for own in self.own]
        self.tokens = np.array(tokens, np.float32)
        self.steps = strategy.passes * int(stacks.parts(corpus, users, strategy.batches)[0])
        self.read: Any = None
        self.expected: Any = None

    def run(self, validation: Corpus | None) -> Arrays:
        """Adapt to the text, and give the changes of the users, a row each."""
        strategy = self.strategy
        if strategy.frozen or strategy.distillation:
            self.read = self._read_once()
            self.expected = self._expect_once()
        later = self._later(validation) if strategy.validates and validation is not None else []
        best: Arrays = {}
        lowest = np.full(len(self.users), np.inf, np.float32)
        for parts in stacks.passes(self.corpus, self.users, strategy):
            for part in parts:
                self._step(part)
            if strategy.early_stopping:
                loss, changes = self._validation_loss(later, self.found()), self.found()
                best = _where(~(loss >= lowest), changes, best or changes)
                lowest = np.fmin(loss, lowest)
        best = best or self.found()
        if strategy.gate:
            won = self._validation_loss(later, best) < self._validation_loss(later, {})
            best = _where(won, best, {name: np.zeros_like(change) for name, change in best.items()})
        return {name: change.astype(STORED) for name, change in best.items()}

    def _step(self, part: list[np.ndarray]) -> None:
        """One step for every user; what one user loses moves no weight of another's."""
        stack = Stack.of(self.corpus, part)
        loss = self.stepped(stack, *self._known(stack, part))
        wrong = np.flatnonzero(~np.isfinite(loss))
        if len(wrong):
            raise FloatingPointError(
                f"the loss of user {self.users[wrong[0]]} is {loss[wrong[0]]}: try a learning_rate "
                f"below {self.strategy.learning_rate:g}"
            )

    def _read_once(self) -> Any:
        """Hidden states of all text in the base model, ``(users, targets, hidden)``."""
        width, size = int(self.tokens.max()), self.base.config.hidden
        read = np.zeros((len(self.own) * width, size), np.float32)
        for messages, places in stacks.reading(self.corpus, self.own, width):
            inputs, targets = self.corpus.padded(messages)
            read[places] = self.hidden_of(inputs)[targets != PADDING]
        return self.tensor(read.reshape(-1, width, size))

    def _expect_once(self) -> Any:
        """The base model's log-probabilities ``(users, targets, word)``, unless they are many."""
        users, targets, _ = self.read.shape
        if users * targets * self.base.vocabulary_size > stacks.KEPT_CELLS:
            return None
        return self.joined([self.expect(own[None]) for own in self.read])

    def _known(self, stack: Stack, part: list[np.ndarray]) -> tuple[Any, Any]:
        """Hidden states and log-probabilities of the base model for some messages, if kept."""
        if self.read is None:
            return None, None
        columns = stack.columns(self.corpus.lengths, part, self.own)
        known = self.rows(self.read, columns)  # (users, targets, hidden)
        if self.expected is None:
            return known, self.expect(known)
        return known, self.rows(self.expected, columns)

    def _later(self, validation: Corpus) -> list[Stack]:
        """The users' validation text, a part at a time."""
        later = stacks.own_messages(validation, self.users)
        return [Stack.of(validation, part) for part in stacks.slices(validation, later)]

    def _validation_loss(self, later: list[Stack], changes: Arrays) -> np.ndarray:
        """Mean loss on validation text, ``(users,)``; NaN where there is none."""
        sums, counts = np.zeros_like(self.tokens), np.zeros_like(self.tokens)
        for stack in later:
            sums += self.loss(stack, changes)
            counts += (stack.targets != PADDING).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return sums / counts

    def found(self) -> Arrays:
        """The changes so far, copied."""
        raise NotImplementedError

    def stepped(self, stack: Stack, known: Any, expected: Any) -> np.ndarray:
        """The objective of each user ``(users,)``, and one step down from it.

        It is the mean loss of the stack, the pull and the divergence. `known` and `expected` are
        hidden states and log-probabilities of the base model there, or None.
        """
        raise NotImplementedError

    def loss(self, stack: Stack, changes: Arrays) -> np.ndarray:
        """Summed loss of each user's targets ``(users,)``; of the base model without changes."""
        raise NotImplementedError

    def hidden_of(self, tokens: np.ndarray) -> np.ndarray:
        """Hidden states of the base model, ``(messages, time, hidden)``."""
        raise NotImplementedError

    def expect(self, hidden: Any) -> Any:
        """Log-probabilities of the base model ``(users, targets, word)`` after hidden states."""
        raise NotImplementedError

    def rows(self, values: Any, places: np.ndarray) -> Any:
        """Some rows of each user, ``(users, n, size)`` at ``(users, m)``."""
        raise NotImplementedError

    def joined(self, values: list[Any]) -> Any:
        """Tensors of one user each as one, ``(users, ...)``."""
        raise NotImplementedError

    def tensor(self, array: np.ndarray) -> Any:
        """An array as a tensor of the framework, where it computes."""
        raise NotImplementedError


def weights_in(names: Iterable[str], layers: tuple[str, ...]) -> list[str]:
    """Those of a base model's weights that belong to these layers, the output matrices last.

    Raises
    ------
    ValueError
        If there are none: an output layer that is the embedding is changed with that.
    """
    found = [name for name in names if _layer_of(name) in layers]
    if not found:
        raise ValueError(
            f"layers {layers} have no weights of their own here: the output layer is the embedding"
        )
    return sorted(found, key=lambda name: _layer_of(name) == "output")


def first_changes(
    shapes: Mapping[str, tuple[int, ...]],
    turned: Mapping[str, tuple[int, ...]],
    strategy: Strategy,
    users: int,
) -> Arrays:
    """Changes that change nothing yet: zeros, and random numbers in one of two narrow matrices.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Of each weight of the base model.
    turned : mapping of str to tuple of int
        The same, matrices as ``(in, out)``.
    strategy : Strategy
    users : int

    Raises
    ------
    ValueError
        If the layers have no weights of their own.
    """
    changes = {}
    for name in weights_in(shapes, strategy.layers):
        if strategy.rank and "bias" not in name:
            inputs, outputs = turned[name]
            down = stacks.first_down(inputs, strategy.rank, strategy.seed)
            changes[name + DOWN] = np.tile(down, (users, 1, 1))
            changes[name + UP] = np.zeros((users, strategy.rank, outputs), np.float32)
        else:
            changes[name] = np.zeros((users, *shapes[name]), np.float32)
    return changes


def held(
    names: Iterable[str], strategy: Strategy, importance: Importance | None
) -> dict[str, float | np.ndarray]:
    """How much harder than others each number is held, if any is.

    The narrow matrices that do not start at zero are not.
    """
    names = [name for name in names if strategy.pull and not name.endswith(DOWN)]
    if importance is not None:
        return {name: importance[name] for name in names}
    return {name: scale(name, strategy) ** -2 for name in names}


def scale(name: str, strategy: Strategy) -> float:
    """How many times as far as a matrix this weight moves."""
    return strategy.bias_scale if _layer_of(name) == "bias" else 1.0


def check_importance(
    importance: Importance | None, shapes: Mapping[str, tuple[int, ...]], strategy: Strategy
) -> None:
    """Refuse an importance that is not of the weights that are adapted.

    Raises
    ------
    ValueError
        The message names the weight.
    """
    if importance is None:
        return
    for name in weights_in(shapes, strategy.layers):
        if name not in importance or importance[name].shape != shapes[name]:
            raise ValueError(f"importance must hold {name}, with the shape of that weight")


def _layer_of(name: str) -> str:
    """The layer, as a strategy names it, of a weight as either framework names it."""
    first, *rest = re.split("[./]", name)
    if first not in ("projection", "output"):
        return first
    return "bias" if rest == ["bias"] else "output"


def _where(chosen: np.ndarray, first: Arrays, second: Arrays) -> Arrays:
    """The first changes for the users chosen, the second for the others."""
    return {
        name: np.where(chosen.reshape(-1, *[1] * (change.ndim - 1)), change, second[name])
        for name, change in first.items()
    }
