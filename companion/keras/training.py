"""Training in Keras: ``compile`` and ``fit``."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.checks import check_trainable
from companion.corpora import PADDING, Corpus, Split, epoch_batches
from companion.history import History
from companion.progress import progress_bar
from companion.settings import ADAM_BETAS, ADAM_EPSILON, TrainingConfig, learning_rate_at

EVALUATION_BATCH = 256
_TOKENS = tf.TensorSpec((None, None), tf.int32)
_USERS = tf.TensorSpec((None,), tf.int32)
_log = logging.getLogger(__name__)


def masked_loss(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over the targets that are not padding, in nats per token.

    Parameters
    ----------
    logits : tf.Tensor
        ``(batch, time, word)``
    targets : tf.Tensor
        Ids of the tokens to predict, ``(batch, time)``.
    """
    targets = ops.cast(targets, "int32")  # Keras gives targets to a loss as floats
    # Written out, this takes half the time of SparseCategoricalCrossentropy on a CPU
    right = tf.gather(logits, targets, batch_dims=2)  # (batch, time)
    loss = ops.logsumexp(logits, axis=-1) - right
    counts = ops.cast(ops.not_equal(targets, PADDING), loss.dtype)
    return ops.sum(loss * counts) / ops.sum(counts)


def train(
    model: keras.Model,
    data: Split,
    config: TrainingConfig = TrainingConfig(),
    progress: bool | None = None,
) -> History:
    """Train on ``data.train`` until ``data.validation`` gets no better; keep the best weights.

    Ctrl-C stops the training and keeps the weights of the best epoch so far (those reached, where
    none has ended); the history then says that it was interrupted.

    Parameters
    ----------
    model : keras.Model
        Called as ``model((tokens, users))``, gives logits. Only its trainable weights are trained.
    data : Split
    config : TrainingConfig
    progress : bool, optional
        Whether to show a bar; if not given, in a terminal and a notebook.

    Raises
    ------
    ValueError
        If there is nothing to train on or to validate with, or the model lacks words of it.
    FloatingPointError
        If the loss or its gradient is not finite. The model keeps its best weights so far.
    """
    check_trainable(model, data)
    return train_on(model, _Messages(data, config), config, progress)


class Task(Protocol):
    """What a model is trained to do: batches, in the order of each epoch, and their loss."""

    signature: Any  # of what a step reads, its sizes left open

    def __len__(self) -> int:
        """Batches of an epoch, at most."""

    def epoch(self, number: int) -> Sequence[Any]:
        """What stands in each batch of this epoch, from 0."""

    def arrays(self, batch: Any) -> tuple[Any, ...]:
        """What a step of the model reads."""

    def tokens(self, batch: Any) -> int:
        """How many are predicted."""

    def validate(self, model: Any) -> float:
        """Loss on text that is not trained on, in nats per token."""


def train_on(
    model: keras.Model, task: Task, config: TrainingConfig, progress: bool | None = None
) -> History:
    """Train a model on any task, as :func:`train` does on messages.

    A step is the model's own ``train_step``: where it has not written one, that of Keras.
    """
    total = config.epochs * len(task)
    _reseed(model, config.seed)
    optimizer = _Adam(config, total)
    optimizer.build(model.trainable_variables)  # TensorFlow traces twice a step that makes weights
    # Without XLA, which compiles anew for every width of a batch and takes longer than it saves
    model.compile(optimizer, _finite_loss, jit_compile=False)
    with progress_bar(total, "training", "batch", progress) as bar:
        recorder = _Recorder(task, config, bar)
        try:
            for epoch in range(config.epochs):  # one by one: they may differ in their batches
                _fit(model, task, epoch, recorder)
                if model.stop_training:
                    break
        except KeyboardInterrupt:
            recorder.history.interrupted = True
            _log.warning("training was interrupted: the best weights so far are kept")
        except tf.errors.InvalidArgumentError as error:
            recorder.explain(error)
        finally:
            recorder.restore()
    return recorder.history


def evaluate(model: keras.Model, corpus: Corpus) -> float:
    """Mean loss over all tokens of a corpus, in nats per token, without dropout.

    Raises
    ------
    ValueError
        If the corpus is empty.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: its mean loss needs at least one message")
    if not model.compiled:
        model.compile(loss=_finite_loss, jit_compile=False)
    order = epoch_batches(corpus.lengths, EVALUATION_BATCH, seed=0, epoch=0, pool=len(corpus))
    losses = _Losses()
    batches = _stream(order, lambda messages: _arrays(corpus, messages), _Messages.signature)
    model.evaluate(batches, steps=len(order), callbacks=[losses], verbose=0)
    return losses.mean([_tokens(corpus, messages) for messages in order])


class _Rate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of every step, written down in a table that the twins share."""

    def __init__(self, config: TrainingConfig, total: int) -> None:
        rates = [learning_rate_at(step, total, config) for step in range(total)]
        self.rates = np.array(rates, dtype=np.float32)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.rates, ops.minimum(step, len(self.rates) - 1))


class LateEpsilonAdam(keras.optimizers.Adam):
    """Adam that adds epsilon after the correction of the second moment's bias.

    So PyTorch and the paper have it; Keras adds it before. At the first step, epsilon so counts 32
    times as much. And, as in PyTorch, each weight counts its own steps, to correct for how few
    they are: one without a gradient takes no part in a step.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the moments, and the counts."""
        if not self.built:
            super().build(variables)
            self.taken = [self.add_variable((), name="taken") for _ in variables]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Move one weight."""
        place = self._get_variable_index(variable)
        mean, square = self._momentums[place], self._velocities[place]
        taken = self.taken[place].assign_add(1.0)
        correction = ops.sqrt(1.0 - ops.power(self.beta_2, taken))
        rate = learning_rate * correction / (1.0 - ops.power(self.beta_1, taken))
        mean.assign_add((gradient - mean) * (1.0 - self.beta_1))
        square.assign_add((ops.square(gradient) - square) * (1.0 - self.beta_2))
        variable.assign_sub(mean * rate / (ops.sqrt(square) + self.epsilon * correction))


class _Adam(LateEpsilonAdam):
    """Adam as PyTorch has it: one thing more differs where every setting is the same.

    TensorFlow gives the gradient of an embedding as one slice for every token read, and Keras
    squares the slices one by one, in the global norm as in Adam's second moment: a word that
    stands in a batch n times counts n instead of n squared. Here the slices are added up first.
    """

    def __init__(self, config: TrainingConfig, total: int) -> None:
        beta_1, beta_2 = ADAM_BETAS
        super().__init__(
            learning_rate=_Rate(config, total),
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=ADAM_EPSILON,
            weight_decay=config.weight_decay or None,
            name="adam",
        )
        self.clip = config.clip

    def apply(
        self, grads: list[Any], trainable_variables: list[keras.Variable] | None = None
    ) -> None:
        """Take one step; fails before any weight is touched where a gradient is not finite."""
        dense = [None if g is None else tf.convert_to_tensor(g) for g in grads]
        norm = tf.debugging.check_numerics(tf.linalg.global_norm(dense), _NORM)
        clipped, _ = tf.clip_by_global_norm(dense, self.clip, use_norm=norm)
        with tf.control_dependencies([norm]):  # weight decay needs no gradient, and would not wait
            super().apply(clipped, trainable_variables)


_LOSS, _NORM = "loss", "norm of the gradient"


def finite(loss: tf.Tensor) -> tf.Tensor:
    """The loss; fails where it is not finite, so that training stops."""
    return tf.debugging.check_numerics(loss, _LOSS)


def _finite_loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The masked loss, in the order of Keras; fails where it is not finite."""
    return finite(masked_loss(logits, targets))


class _Losses(keras.callbacks.Callback):
    """Notes the loss of every batch; Keras itself gives averages that weigh batches by messages."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Forget the batches before, so that the loss that follows is of one batch."""
        self.model.reset_metrics()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the loss."""
        self.losses.append(float((logs or {})["loss"]))

    def mean(self, tokens: list[int]) -> float:
        """Mean over all tokens of the last batches, which had so many."""
        return float(np.average(self.losses[-len(tokens) :], weights=tokens))


class _Recorder(_Losses):
    """Writes the history, keeps the best weights and stops when patience runs out.

    ``keras.callbacks.EarlyStopping`` gives the best weights back only where training ends by
    itself, not after Ctrl-C.
    """

    def __init__(self, task: Task, config: TrainingConfig, bar: Any) -> None:
        super().__init__()
        self.task, self.config, self.bar = task, config, bar
        self.history = History(steps=self.losses)
        self.best: list[np.ndarray] = []
        self.start = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Forget the batches before."""
        self.on_test_batch_begin(batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the loss."""
        self.on_test_batch_end(batch, logs)
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate, and keep the weights if they are the best so far."""
        history, loss = self.history, self.task.validate(self.model)
        history.training.append(self.mean([*map(self.task.tokens, self.task.epoch(epoch))]))
        history.seconds.append(time.perf_counter() - self.start)
        history.validation.append(loss)
        if history.best_epoch == epoch:
            self.best = [weight.numpy() for weight in self.model.trainable_variables]
        self.model.stop_training = history.out_of_patience(self.config.patience)
        self.bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}")

    def restore(self) -> None:
        """Put the best weights back in place, where an epoch has ended."""
        if self.best:
            for weight, best in zip(self.model.trainable_variables, self.best, strict=True):
                weight.assign(best)

    def explain(self, error: tf.errors.InvalidArgumentError) -> NoReturn:
        """Say what was not finite, and when; other errors pass as they are."""
        for what in (_LOSS, _NORM):
            if f"{what} : Tensor had" in error.message:
                raise FloatingPointError(self._not_finite(what)) from None
        raise error

    def _not_finite(self, what: str) -> str:
        epoch, step = len(self.history.validation) + 1, len(self.losses)
        return (
            f"the {what} is not finite in epoch {epoch} after {step} steps: try a learning_rate "
            f"below {self.config.learning_rate:g} or a clip below {self.config.clip:g}. "
            "The model keeps its best weights so far"
        )


class _Messages:
    """The task of predicting messages, whoever wrote them, each by itself."""

    signature = ((_TOKENS, _USERS), _TOKENS)

    def __init__(self, data: Split, config: TrainingConfig) -> None:
        self.data, self.config = data, config

    def __len__(self) -> int:
        return math.ceil(len(self.data.train) / self.config.batch_size)

    def epoch(self, number: int) -> Sequence[np.ndarray]:
        """In the order that the twins share."""
        size, seed, pool = self.config.batch_size, self.config.seed, self.config.pool
        return epoch_batches(self.data.train.lengths, size, seed, number, pool)

    def arrays(self, batch: np.ndarray) -> tuple[Any, ...]:
        return _arrays(self.data.train, batch)

    def tokens(self, batch: np.ndarray) -> int:
        return _tokens(self.data.train, batch)

    def validate(self, model: keras.Model) -> float:
        return evaluate(model, self.data.validation)


def _arrays(corpus: Corpus, messages: np.ndarray) -> tuple[Any, Any]:
    """Tokens ``(batch, time)`` and users ``(batch,)``, and targets ``(batch, time)``."""
    inputs, targets = corpus.padded(messages)
    return (inputs, corpus.users[messages]), targets


def _tokens(corpus: Corpus, messages: np.ndarray) -> int:
    """Targets of these messages, their ends included."""
    return int(corpus.lengths[messages].sum()) + len(messages)


def _fit(model: keras.Model, task: Task, epoch: int, recorder: _Recorder) -> None:
    """One epoch."""
    order = task.epoch(epoch)
    model.fit(
        _stream(order, task.arrays, task.signature),
        initial_epoch=epoch,
        epochs=epoch + 1,
        steps_per_epoch=len(order),
        shuffle=False,
        callbacks=[recorder],
        verbose=0,
    )


def _stream(
    order: Sequence[Any], arrays: Callable[[Any], tuple[Any, ...]], signature: Any
) -> tf.data.Dataset:
    """Batches in this order.

    Not a ``keras.utils.PyDataset``: Keras derives the shapes of all its batches from the first
    two, and fails at the third where those happen to be of one width. The signature leaves widths
    open: the training step is traced once, not once for every width.
    """

    def stream() -> Iterator[tuple[Any, ...]]:
        yield from map(arrays, order)

    return tf.data.Dataset.from_generator(stream, output_signature=signature).prefetch(2)


def _reseed(model: keras.Model, seed: int) -> None:
    """Set the state of the model's own random generators, which dropout draws from."""
    states = [v for v in model.non_trainable_variables if "seed_generator" in v.path]
    for place, state in enumerate(states):
        state.assign([seed, place])


__all__ = ["evaluate", "masked_loss", "train"]
