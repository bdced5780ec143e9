"""Vectors of new users in PyTorch, fitted to their messages, all users at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from companion.corpora import Corpus
from companion.corpora.batches import similar_batches
from companion.users.methods import FittingConfig
from companion.users.states import rows_of
from companion.users.vectors import VectorModel

from .conditioned import ConditionedNetwork
from .training import masked_loss

FITTING_BATCH = 64


def fitted_vectors(
    model: VectorModel, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> np.ndarray:
    """Vectors of everybody who has a message in `corpus`, ``(users, size)`` float32.

    See :func:`companion.users.vectors.fit`, which checks what it is given.
    """
    spread, typical = torch.std_mean(model.vectors.weight.detach()[:-1], dim=0)  # (size,) each
    shape = len(corpus.active_users), len(typical)
    offsets = typical.new_zeros(shape).requires_grad_()  # in units of the spread
    adam = torch.optim.Adam([offsets], lr=config.learning_rate)
    fall = LinearLR(adam, 1.0, 0.0, config.steps)
    with _without_dropout(model.network) as network:
        batches = _read_once(network, corpus)
        for _ in range(config.steps):
            offsets.grad = config.pull * offsets.detach()
            for batch in batches:
                loss = batch.loss(network, typical + spread * offsets[batch.rows])
                offsets.grad += torch.autograd.grad(loss, offsets)[0]  # the network needs none
            adam.step()
            fall.step()
    return (typical + spread * offsets).detach().cpu().numpy()


@contextmanager
def _without_dropout(network: ConditionedNetwork) -> Iterator[ConditionedNetwork]:
    """The network in evaluation mode, but with gradients; its mode comes back after it."""
    was_training = network.training
    try:
        yield network.eval()
    finally:
        network.train(was_training)


class _Batch(NamedTuple):
    """Some messages, as far as the network can read them before it knows the vectors."""

    tokens: Tensor
    targets: Tensor
    rows: Tensor
    hidden: Tensor | None

    def loss(self, network: ConditionedNetwork, vectors: Tensor) -> Tensor:
        """Summed loss of the batch, nats, read with these vectors ``(batch, size)``."""
        hidden = network.hidden(self.tokens, vectors) if self.hidden is None else self.hidden
        logits = network.words(hidden, vectors[:, None])  # (batch, time, word)
        return masked_loss(logits, self.targets) * self.targets.count_nonzero()


def _read_once(network: ConditionedNetwork, corpus: Corpus) -> list[_Batch]:
    """All messages in batches; where no vector enters the recurrent layers, they read them now."""
    batches, nobody = [], network.output.bias.new_zeros(1, network.reading.size)
    for messages in similar_batches(corpus.lengths, FITTING_BATCH):
        rows = rows_of(corpus.active_users, corpus.users[messages])
        inputs, *arrays = (*corpus.padded(messages), rows)
        tokens = network._tokens(inputs, ndim=2)
        targets, own = (torch.from_numpy(a).to(nobody.device) for a in arrays)
        with torch.no_grad():
            vectors = nobody.expand(len(tokens), -1)
            hidden = None if network.reads_early else network.hidden(tokens, vectors)
        batches.append(_Batch(tokens, targets, own, hidden))
    return batches


__all__ = ["fitted_vectors"]
