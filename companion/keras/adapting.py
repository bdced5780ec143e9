"""Adapting the weights of a group of users together in Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import PADDING, Corpus
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from companion.users import groups
from companion.users.groups import Arrays, Group, Importance
from companion.users.stacks import Stack
from companion.users.strategies import Strategy

from .base_model import BaseModel
from .stacked import Changes, StackedNetwork


class Adaptation:
    """How the weights of users are changed: one strategy, for one group after another.

    Parameters
    ----------
    base : companion.keras.base_model.BaseModel
    strategy : Strategy
    importance : mapping of str to np.ndarray, optional
        How much harder than others each number of a weight is held.

    Raises
    ------
    ValueError
        If the layers have no weights of their own, or a weight's importance is missing.
    """

    def __init__(
        self, base: BaseModel, strategy: Strategy, importance: Importance | None = None
    ) -> None:
        groups.check_importance(importance, _shapes(base), strategy)
        self.objective = _Objective(base, strategy, importance)  # traced once, for all groups

    def run(self, corpus: Corpus, users: np.ndarray, validation: Corpus | None = None) -> Arrays:
        """Adapt to the text of these users, ``(users,)``, and give their changes, a row each."""
        return _Group(self.objective, corpus, users).run(validation)


class _Part(NamedTuple):
    """Some messages of each user, as the objective reads them."""

    tokens: tf.Tensor
    places: tf.Tensor
    targets: tf.Tensor
    known: tf.Tensor  # hidden states of the base model there, if they are kept
    expected: tf.Tensor  # and its log-probabilities


class _Objective:
    """What is minimized for each user. One serves all groups: TensorFlow traces it once."""

    def __init__(self, base: BaseModel, strategy: Strategy, importance: Importance | None) -> None:
        self.base, self.network, self.strategy = base, StackedNetwork(base), strategy
        first = self.first_changes(users=1)
        held = groups.held(first, strategy, importance)
        self.pulls = {name: tf.constant(strategy.pull * h, tf.float32) for name, h in held.items()}
        changes = {n: tf.TensorSpec((None, *a.shape[1:]), tf.float32) for n, a in first.items()}
        text = _part_spec(base.config.hidden, base.vocabulary_size)
        counts = tf.TensorSpec((None,), tf.float32)
        self.gradients = tf.function(self._gradients, input_signature=[text, counts, changes])
        self.validation_loss = tf.function(self._loss, input_signature=[text, changes])
        self.read = tf.function(self._read, input_signature=[tf.TensorSpec((None, None), tf.int32)])
        self.expect = tf.function(self._expect, input_signature=[text.known])

    def first_changes(self, users: int) -> Arrays:
        """Changes of so many users that change nothing yet."""
        base = self.base
        return groups.first_changes(_shapes(base), shapes_of(base), self.strategy, users)

    def _gradients(
        self, part: _Part, counts: tf.Tensor, changes: Changes
    ) -> tuple[tf.Tensor, Changes]:
        """The objective of each user ``(users,)``, and its gradient."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(changes)
            loss = self._value(part, counts, changes)
        found = tape.gradient(loss, changes)  # of the sum; no user's change enters another's loss
        return loss, {name: tf.convert_to_tensor(gradient) for name, gradient in found.items()}

    def _value(self, part: _Part, counts: tf.Tensor, changes: Changes) -> tf.Tensor:
        """Mean loss of a part, pull and divergence, ``(users,)``."""
        if self.strategy.frozen:
            logits = part.expected + self.network.words_apart(part.known, changes)
        else:
            logits = self.network.words(self._hidden(part, changes), changes)
        sums = ops.logsumexp(logits, axis=-1)  # (users, targets)
        loss = _mean(sums - tf.gather(logits, part.targets, batch_dims=2), part.targets)
        for name, pull in self.pulls.items():
            loss += 0.5 * _sum(pull * ops.square(changes[name])) / counts
        if self.strategy.distillation:
            apart = ops.exp(part.expected) * (part.expected - logits)  # (users, targets, word)
            apart = ops.sum(apart, axis=-1) + sums
            loss += self.strategy.distillation * _mean(apart, part.targets)
        return loss

    def _loss(self, part: _Part, changes: Changes) -> tf.Tensor:
        """Summed loss of each user's targets, ``(users,)``."""
        logits = self.network.words(self._hidden(part, changes), changes)
        sums = ops.logsumexp(logits, axis=-1)  # (users, targets)
        return _sums(sums - tf.gather(logits, part.targets, batch_dims=2), part.targets)[0]

    def _read(self, tokens: tf.Tensor) -> tf.Tensor:
        """Hidden states of the base model, ``(batch, time, hidden)``."""
        hidden = self.base.embedding(tokens)
        for layer in self.base.recurrent:
            hidden = layer(hidden)  # (batch, time, hidden)
        return hidden

    def _expect(self, hidden: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of the base model, ``(users, targets, word)``."""
        return ops.log_softmax(self.network.words(hidden, {}))

    def _hidden(self, part: _Part, changes: Changes) -> tf.Tensor:
        """Hidden states where the targets are, ``(users, targets, hidden)``."""
        hidden, _ = self.network.hidden(part.tokens, changes)
        users, messages, time = ops.shape(part.tokens)
        hidden = ops.reshape(hidden, (users, messages * time, hidden.shape[-1]))
        return tf.gather(hidden, part.places, batch_dims=1)


class _Group(Group):
    """Some users while they are adapted together."""

    def __init__(self, objective: _Objective, corpus: Corpus, users: np.ndarray) -> None:
        super().__init__(objective.base, corpus, users, objective.strategy)
        self.objective, strategy = objective, objective.strategy
        first = objective.first_changes(len(users))
        self.variables = {name: tf.Variable(change) for name, change in first.items()}
        rates = {n: strategy.learning_rate * groups.scale(n, strategy) for n in self.variables}
        self.adam = _Adam(self.variables, rates, self.steps)

    def found(self) -> Arrays:
        """The changes so far, copied."""
        return {name: change.numpy() for name, change in self.variables.items()}

    def stepped(
        self, stack: Stack, known: tf.Tensor | None, expected: tf.Tensor | None
    ) -> np.ndarray:
        """The objective of each user ``(users,)``, and one step of Adam down from it."""
        changes = {name: tf.convert_to_tensor(w) for name, w in self.variables.items()}
        part = self._part(stack, known, expected)
        loss, gradients = self.objective.gradients(part, self.tokens, changes)
        self.adam.apply(gradients)
        return loss.numpy()

    def loss(self, stack: Stack, changes: Arrays) -> np.ndarray:
        """Summed loss of each user's targets, ``(users,)``."""
        nothing = {name: ops.zeros_like(change) for name, change in self.variables.items()}
        return self.objective.validation_loss(self._part(stack), changes or nothing).numpy()

    def hidden_of(self, tokens: np.ndarray) -> np.ndarray:
        """Hidden states of the base model, ``(messages, time, hidden)``."""
        return self.objective.read(tokens).numpy()

    def expect(self, hidden: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of the base model, ``(users, targets, word)``."""
        return self.objective.expect(hidden)

    def rows(self, values: tf.Tensor, places: np.ndarray) -> tf.Tensor:
        """Some rows of each user, ``(users, n, size)`` at ``(users, m)``."""
        return tf.gather(values, places, batch_dims=1)

    def joined(self, values: list[tf.Tensor]) -> tf.Tensor:
        """Tensors of one user each as one, ``(users, ...)``."""
        return tf.concat(values, axis=0)

    def tensor(self, array: np.ndarray) -> tf.Tensor:
        """An array as a tensor."""
        return tf.constant(array)

    def _part(
        self, stack: Stack, known: tf.Tensor | None = None, expected: tf.Tensor | None = None
    ) -> _Part:
        """A stack, with empty tensors where nothing is known beforehand."""
        if known is None:
            sizes = self.base.config.hidden, self.base.vocabulary_size
            known, expected = (ops.zeros((len(self.users), 0, size)) for size in sizes)
        arrays = stack.tokens, stack.places, stack.targets
        tokens, places, targets = map(tf.constant, arrays)
        return _Part(tokens, places, targets, known, expected)


class _Adam:
    """Adam as PyTorch has it, its learning rate falling to zero, each weight with its own rate.

    The optimizers of Keras take longer to look after one group's weights than to move them.
    """

    def __init__(
        self, variables: Mapping[str, tf.Variable], rates: Mapping[str, float], steps: int
    ) -> None:
        self.variables, self.rates, self.steps, self.done = variables, rates, steps, 0
        self.first, self.second = (
            {name: tf.Variable(ops.zeros_like(weight)) for name, weight in variables.items()}
            for _ in ADAM_BETAS
        )

    def apply(self, gradients: Changes) -> None:
        """Take one step."""
        left = 1 - self.done / self.steps
        self.done += 1
        powers = [beta**self.done for beta in ADAM_BETAS]
        for name, gradient in gradients.items():
            tf.raw_ops.ResourceApplyAdam(
                var=self.variables[name].handle,
                m=self.first[name].handle,
                v=self.second[name].handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=left * self.rates[name],
                beta1=ADAM_BETAS[0],
                beta2=ADAM_BETAS[1],
                epsilon=ADAM_EPSILON * (1 - powers[1]) ** 0.5,  # TensorFlow corrects afterwards
                grad=gradient,
            )


def _part_spec(hidden: int, words: int) -> _Part:
    """A part with any number of users, messages, steps and targets."""
    return _Part(
        tf.TensorSpec((None, None, None), tf.int32),
        tf.TensorSpec((None, None), tf.int64),
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((None, None, hidden), tf.float32),
        tf.TensorSpec((None, None, words), tf.float32),
    )


def weights_in(base: BaseModel, layers: tuple[str, ...]) -> list[str]:
    """Names of the weights of these layers; see :func:`companion.users.groups.weights_in`."""
    return groups.weights_in(_shapes(base), layers)


def shapes_of(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, as ``(in, out)`` where it is a matrix."""
    shapes = _shapes(base)
    return shapes | {"embedding": shapes["embedding"][::-1]}


def _shapes(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Shape of every weight."""
    return {name: tuple(weight.shape) for name, weight in base._named().items()}


def _mean(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean over each user's targets, ``(users,)``; NaN for a user without any."""
    sums, counts = _sums(values, targets)
    return sums / counts


def _sums(values: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum over each user's targets, and their number, ``(users,)`` each."""
    inside = ops.cast(ops.not_equal(targets, PADDING), values.dtype)
    return ops.sum(values * inside, axis=1), ops.sum(inside, axis=1)


def _sum(values: tf.Tensor) -> tf.Tensor:
    """Sum of all numbers of each user, ``(users,)``."""
    return ops.sum(values, axis=range(1, len(values.shape)))


__all__ = ["Adaptation", "shapes_of", "weights_in"]
