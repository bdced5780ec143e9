"""Adapting the weights of a group of users together in Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import PADDING, Corpus
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from companion.users import stacks
from companion.users.methods import STORED
from companion.users.stacks import DOWN, UP, Stack
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
        self,
        base: BaseModel,
        strategy: Strategy,
        importance: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        _check_importance(base, strategy, importance)
        self.base = base
        self.objective = _Objective(base, strategy, importance)  # traced once, for all groups

    def run(
        self, corpus: Corpus, users: np.ndarray, validation: Corpus | None = None
    ) -> dict[str, np.ndarray]:
        """Adapt to the text of these users, ``(users,)``, and give their changes, a row each."""
        return _Group(self.objective, self.base, corpus, users).run(validation)


class _Part(NamedTuple):
    """Some messages of each user, as the objective reads them."""

    tokens: tf.Tensor
    places: tf.Tensor
    targets: tf.Tensor
    known: tf.Tensor  # hidden states of the base model there, if they are kept
    expected: tf.Tensor  # and its log-probabilities


class _Objective:
    """What is minimized for each user. One serves all groups: TensorFlow traces it once."""

    def __init__(
        self,
        base: BaseModel,
        strategy: Strategy,
        importance: Mapping[str, np.ndarray] | None,
    ) -> None:
        self.base, self.network, self.strategy = base, StackedNetwork(base), strategy
        self.pulls = _pulls(base, strategy, importance)
        self.frozen = not {"embedding", "recurrent"} & {*strategy.layers}
        first = _first_changes(base, strategy, users=1)
        changes = {n: tf.TensorSpec((None, *a.shape[1:]), tf.float32) for n, a in first.items()}
        text = _part_spec(base.config.hidden, base.vocabulary_size)
        counts = tf.TensorSpec((None,), tf.float32)
        self.gradients = tf.function(self._gradients, input_signature=[text, counts, changes])
        self.validation_loss = tf.function(self._loss, input_signature=[text, changes])
        self.read = tf.function(self._read, input_signature=[tf.TensorSpec((None, None), tf.int32)])
        self.expect = tf.function(self._expect, input_signature=[text.known])

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
        if self.frozen:
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

    def _loss(self, part: _Part, changes: Changes) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed loss and number of targets of each user, ``(users,)``."""
        logits = self.network.words(self._hidden(part, changes), changes)
        sums = ops.logsumexp(logits, axis=-1)  # (users, targets)
        return _sums(sums - tf.gather(logits, part.targets, batch_dims=2), part.targets)

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


class _Group:
    """Some users while they are adapted together."""

    def __init__(
        self, objective: _Objective, base: BaseModel, corpus: Corpus, users: np.ndarray
    ) -> None:
        self.objective, self.strategy = objective, objective.strategy
        self.corpus, self.users = corpus, users
        self.own = stacks.own_messages(corpus, self.users)
        tokens = [(corpus.lengths[own] + 1).sum() for own in self.own]
        self.tokens = np.array(tokens, np.float32)
        first = _first_changes(base, self.strategy, len(users))
        self.variables = {name: tf.Variable(change) for name, change in first.items()}
        keep = objective.frozen or self.strategy.distillation
        self.read = self._read_once() if keep else None
        self.expected = None if self.read is None else self._expect_once(self.read)

    @property
    def changes(self) -> Changes:
        """The changes so far."""
        return {name: tf.convert_to_tensor(w) for name, w in self.variables.items()}

    def run(self, validation: Corpus | None) -> dict[str, np.ndarray]:
        """Adapt to the text, and give the changes of the users."""
        strategy = self.strategy
        later = self._later(validation) if strategy.validates and validation is not None else []
        adam = self._optimizer()
        best: Changes = {}
        lowest = np.full(len(self.users), np.inf, np.float32)
        for parts in stacks.passes(self.corpus, self.users, strategy):
            for part in parts:
                self._step(part, adam)
            if strategy.early_stopping:
                loss, changes = self._validation_loss(later, self.changes), self.changes
                best = _where(~(loss >= lowest), changes, best or changes)
                lowest = np.fmin(loss, lowest)
        best = best or self.changes
        if strategy.gate:
            nothing = {name: ops.zeros_like(change) for name, change in best.items()}
            won = self._validation_loss(later, best) < self._validation_loss(later, nothing)
            best = _where(won, best, nothing)
        return {name: change.numpy().astype(STORED) for name, change in best.items()}

    def _optimizer(self) -> _Adam:
        """Adam for the changes of all users."""
        strategy = self.strategy
        steps = strategy.passes * stacks.parts(self.corpus, self.users, strategy.batches)[0]
        rates = {n: strategy.learning_rate * _scale(n, strategy) for n in self.variables}
        return _Adam(self.variables, rates, int(steps))

    def _step(self, part: list[np.ndarray], adam: _Adam) -> None:
        """One step for every user; what one user loses moves no weight of another's."""
        stack = Stack.of(self.corpus, part)
        text = self._part(stack, *self._known(stack, part))
        loss, gradients = self.objective.gradients(text, self.tokens, self.changes)
        self._check_finite(loss.numpy())
        adam.apply(gradients)

    def _part(
        self, stack: Stack, known: tf.Tensor | None = None, expected: tf.Tensor | None = None
    ) -> _Part:
        """A stack, with empty tensors where nothing is known beforehand."""
        if known is None:
            base = self.objective.base
            sizes = base.config.hidden, base.vocabulary_size
            known, expected = (ops.zeros((len(self.users), 0, size)) for size in sizes)
        arrays = stack.tokens, stack.places, stack.targets
        tokens, places, targets = map(tf.constant, arrays)
        return _Part(tokens, places, targets, known, expected)

    def _read_once(self) -> tf.Tensor:
        """Hidden states of all text in the base model, ``(users, targets, hidden)``."""
        corpus, width = self.corpus, int(self.tokens.max())
        size = self.objective.network.config.hidden
        read = np.zeros((len(self.own) * width, size), np.float32)
        for messages, places in stacks.reading(corpus, self.own, width):
            inputs, targets = corpus.padded(messages)
            read[places] = self.objective.read(inputs).numpy()[targets != PADDING]
        return tf.constant(read.reshape(-1, width, size))

    def _expect_once(self, read: tf.Tensor) -> tf.Tensor | None:
        """The base model's log-probabilities ``(users, targets, word)``, unless they are many."""
        users, targets, _ = read.shape
        if users * targets * self.objective.base.vocabulary_size > stacks.KEPT_CELLS:
            return None
        return tf.concat([self.objective.expect(own[None]) for own in read], axis=0)

    def _known(
        self, stack: Stack, part: list[np.ndarray]
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Hidden states and log-probabilities of the base model for some messages, if kept."""
        if self.read is None:
            return None, None
        columns = stack.columns(self.corpus.lengths, part, self.own)
        known = tf.gather(self.read, columns, batch_dims=1)  # (users, targets, hidden)
        if self.expected is None:
            return known, self.objective.expect(known)
        return known, tf.gather(self.expected, columns, batch_dims=1)

    def _later(self, validation: Corpus) -> list[_Part]:
        """The users' validation text, a part at a time."""
        later = stacks.own_messages(validation, self.users)
        return [self._part(Stack.of(validation, some)) for some in stacks.slices(validation, later)]

    def _validation_loss(self, later: list[_Part], changes: Changes) -> np.ndarray:
        """Mean loss on validation text, ``(users,)``; NaN where there is none."""
        sums = counts = ops.zeros(len(self.users))
        for part in later:
            more = self.objective.validation_loss(part, changes)
            sums, counts = sums + more[0], counts + more[1]
        return (sums / counts).numpy()

    def _check_finite(self, loss: np.ndarray) -> None:
        wrong = np.flatnonzero(~np.isfinite(loss))
        if len(wrong):
            raise FloatingPointError(
                f"the loss of user {self.users[wrong[0]]} is {loss[wrong[0]]}: try a learning_rate "
                f"below {self.strategy.learning_rate:g}"
            )


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
    """Names of the weights of these layers.

    Raises
    ------
    ValueError
        If there are none: an output layer that is the embedding is changed with that.
    """
    prefixes = {"embedding": "embedding", "recurrent": "recurrent/", "bias": "output/bias"}
    names = list(base._named())
    matrices = [name for name in names if name in ("projection/kernel", "output/kernel")]
    found = [
        name for name in names for layer in layers if name.startswith(prefixes.get(layer, "-"))
    ]
    found += matrices if "output" in layers else []
    if not found:
        raise ValueError(
            f"layers {layers} have no weights of their own here: the output layer is the embedding"
        )
    return found


def shapes_of(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, as ``(in, out)`` where it is a matrix."""
    shapes = {name: tuple(weight.shape) for name, weight in base._named().items()}
    return shapes | {"embedding": shapes["embedding"][::-1]}


def _first_changes(base: BaseModel, strategy: Strategy, users: int) -> dict[str, np.ndarray]:
    """Changes that change nothing yet: zeros, and random numbers in one of two narrow matrices."""
    changes, shapes, named = {}, shapes_of(base), base._named()
    for name in weights_in(base, strategy.layers):
        if strategy.rank and not name.endswith("bias"):  # that of a GRU has two axes, too
            inputs, outputs = shapes[name]
            down = stacks.first_down(inputs, strategy.rank, strategy.seed)
            changes[name + DOWN] = np.tile(down, (users, 1, 1))
            changes[name + UP] = np.zeros((users, strategy.rank, outputs), np.float32)
        else:
            changes[name] = np.zeros((users, *named[name].shape), np.float32)
    return changes


def _pulls(
    base: BaseModel, strategy: Strategy, importance: Mapping[str, np.ndarray] | None
) -> dict[str, tf.Tensor]:
    """How strongly each number is held, but for the narrow matrices that do not start at zero."""
    pulls = {}
    for name in _first_changes(base, strategy, users=1) if strategy.pull else ():
        if name.endswith(DOWN):
            continue
        held = _scale(name, strategy) ** -2 if importance is None else importance[name]
        pulls[name] = tf.constant(strategy.pull * held, tf.float32)
    return pulls


def _scale(name: str, strategy: Strategy) -> float:
    """How many times as far as a matrix this weight moves."""
    return strategy.bias_scale if name == "output/bias" else 1.0


def _check_importance(
    base: BaseModel, strategy: Strategy, importance: Mapping[str, np.ndarray] | None
) -> None:
    if importance is None:
        return
    for name in weights_in(base, strategy.layers):
        if name not in importance or importance[name].shape != tuple(base._named()[name].shape):
            raise ValueError(f"importance must hold {name}, with the shape of that weight")


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


def _where(chosen: np.ndarray, first: Changes, second: Changes) -> Changes:
    """The first changes for the users chosen, the second for the others."""
    return {
        name: ops.where(_beside(chosen, change), change, second[name])
        for name, change in first.items()
    }


def _beside(values: Any, change: tf.Tensor) -> tf.Tensor:
    """One value a user ``(users,)``, with as many axes as the change has."""
    return ops.reshape(values, (-1, *[1] * (len(change.shape) - 1)))


__all__ = ["Adaptation", "shapes_of", "weights_in"]
