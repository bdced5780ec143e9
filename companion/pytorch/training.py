"""The training loop in PyTorch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler

from companion.checks import check_trainable
from companion.corpora import PADDING, Corpus, Split, epoch_batches
from companion.corpora.batches import mean_by_token, similar_batches
from companion.history import History
from companion.progress import progress_bar
from companion.settings import ADAM_BETAS, ADAM_EPSILON, TrainingConfig, learning_rate_at

EVALUATION_BATCH = 256
_log = logging.getLogger(__name__)


def masked_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the targets that are not padding, in nats per token.

    Parameters
    ----------
    logits : Tensor
        ``(batch, time, word)``
    targets : Tensor
        Ids of the tokens to predict, ``(batch, time)``.
    """
    return functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten().long(), ignore_index=PADDING
    )


def train(
    model: nn.Module,
    data: Split,
    config: TrainingConfig = TrainingConfig(),
    progress: bool | None = None,
) -> History:
    """Train on ``data.train`` until ``data.validation`` gets no better; keep the best weights.

    Ctrl-C stops the training and keeps the weights of the best epoch so far (those reached, where
    none has ended); the history then says that it was interrupted.

    Parameters
    ----------
    model : nn.Module
        Called as ``model(tokens, users)``, gives logits. Only weights that require a gradient
        are trained. It is left in evaluation mode. What its last call left in an attribute
        ``added_loss``, where it has one, is trained on beside the loss of the words.
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
    return train_on(model, _Messages(data, config, _device(model)), config, progress)


class Task(Protocol):
    """What a model is trained to do: batches, in the order of each epoch, and their loss."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def epoch(self, number: int) -> Iterable[Any]:
        """The batches of this epoch, from 0."""

    def loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Mean loss of a batch, in nats per token, and its tokens."""

    def validate(self, model: Any) -> float:
        """Loss on text that is not trained on, in nats per token."""


def train_on(
    model: nn.Module, task: Task, config: TrainingConfig, progress: bool | None = None
) -> History:
    """Train a model on any task, as :func:`train` does on messages."""
    history, best = History(), {}
    bar = progress_bar(config.epochs * len(task), "training", "batch", progress)
    devices = [_device(model)] if _device(model).type == "cuda" else []
    with bar, torch.random.fork_rng(devices):  # dropout draws from PyTorch's own random state
        torch.manual_seed(config.seed)
        loop = _Loop(model, config, task, history, bar)
        try:
            for epoch in range(config.epochs):
                loop.epoch(epoch)
                if history.best_epoch == epoch:
                    best = {name: weight.clone() for name, weight in _trainable(model)}
                if history.out_of_patience(config.patience):
                    break
        except KeyboardInterrupt:
            history.interrupted = True
            _log.warning("training was interrupted: the best weights so far are kept")
        finally:
            _restore(model, best)
            model.eval()
    return history


def evaluate(model: nn.Module, corpus: Corpus) -> float:
    """Mean loss over all tokens of a corpus, in nats per token, without dropout.

    Raises
    ------
    ValueError
        If the corpus is empty.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: its mean loss needs at least one message")
    order = similar_batches(corpus.lengths, EVALUATION_BATCH)
    with evaluating(model):
        losses = [
            masked_loss(model(inputs, users), targets).item()
            for inputs, targets, users in _loader(corpus, order, _device(model))
        ]
    return mean_by_token(losses, corpus.lengths, order)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every layer's mode from before comes back after it."""
    training = [layer for layer in model.modules() if layer.training]
    for layer in training:
        layer.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for layer in training:
            layer.training = True


class _MessageBatches(Dataset):
    """A corpus whose padded batches are cut out in one go."""

    def __init__(self, corpus: Corpus, device: torch.device) -> None:
        self.corpus = corpus
        self.device = device

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitems__(self, messages: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets ``(batch, time)`` and users ``(batch,)`` of these messages."""
        arrays = (*self.corpus.padded(messages), self.corpus.users[messages])
        inputs, targets, users = (torch.from_numpy(a).to(self.device) for a in arrays)
        return inputs, targets, users


class _EpochOrder(Sampler):
    """The batches of one epoch, in the order that the twins share."""

    def __init__(self, lengths: np.ndarray, config: TrainingConfig) -> None:
        self.lengths = lengths
        self.config = config
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.config.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        size, seed, pool = self.config.batch_size, self.config.seed, self.config.pool
        return iter(epoch_batches(self.lengths, size, seed, self.epoch, pool))


class _Messages:
    """The task of predicting messages, whoever wrote them, each by itself."""

    def __init__(self, data: Split, config: TrainingConfig, device: torch.device) -> None:
        self.data, self.device = data, device
        self.order = _EpochOrder(data.train.lengths, config)

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        self.order.epoch = number
        return _loader(self.data.train, self.order, self.device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, int]:
        inputs, targets, users = batch
        return masked_loss(model(inputs, users), targets), int(targets.count_nonzero())

    def validate(self, model: nn.Module) -> float:
        return evaluate(model, self.data.validation)


class _Loop:
    """One training: what its steps share."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        task: Task,
        history: History,
        bar: Any,
    ) -> None:
        self.model, self.config, self.task = model, config, task
        self.history, self.bar = history, bar
        self.weights = [w for w in model.parameters() if w.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=config.learning_rate,
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
            weight_decay=config.weight_decay,
            fused=True,
        )
        total = config.epochs * len(task)
        self.schedule = LambdaLR(
            self.optimizer,
            lambda step: learning_rate_at(step, total, config) / config.learning_rate,
        )
        self.start = time.perf_counter()

    def epoch(self, number: int) -> None:
        """Train on every batch once, then validate."""
        self.number, losses, tokens = number, [], []
        self.model.train()
        for batch in self.task.epoch(number):
            loss, size = self.task.loss(self.model, batch)
            losses.append(self.step(loss))
            tokens.append(size)
            self.history.steps.append(losses[-1])
            self.bar.update()
        self.model.eval()
        validated = self._finite("validation loss", self.task.validate(self.model))
        self.history.training.append(float(np.average(losses, weights=tokens)))
        self.history.seconds.append(time.perf_counter() - self.start)
        self.history.validation.append(validated)
        self.bar.set_postfix(epoch=number + 1, loss=f"{validated:.3f}")

    def step(self, loss: Tensor) -> float:
        """One step of the optimizer; the loss before it."""
        loss = loss + getattr(self.model, "added_loss", 0.0)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        value = self._finite("training loss", loss.item())
        self._finite("norm of the gradient", norm.item())
        self.optimizer.step()
        self.schedule.step()
        return value

    def _finite(self, what: str, value: float) -> float:
        """The value; an error that says when it happened, where it is not a finite number."""
        if not math.isfinite(value):
            step = len(self.history.steps)
            raise FloatingPointError(
                f"the {what} is {value} in epoch {self.number + 1} after {step} steps: try a "
                f"learning_rate below {self.config.learning_rate:g} or a clip below "
                f"{self.config.clip:g}. The model keeps its best weights so far"
            )
        return value


def _loader(corpus: Corpus, order: Iterable[Any], device: torch.device) -> DataLoader:
    """Batches of a corpus in this order; they come whole, so nothing is left to collate."""
    batches = _MessageBatches(corpus, device)
    return DataLoader(batches, batch_sampler=order, collate_fn=lambda batch: batch)


def _device(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


def _trainable(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The weights that are trained, by name."""
    return [(n, w.detach()) for n, w in model.named_parameters() if w.requires_grad]


def _restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put copied weights back in place."""
    with torch.no_grad():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(weight)


__all__ = ["evaluate", "masked_loss", "train"]
