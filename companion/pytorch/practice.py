"""How a network in PyTorch learns to read a user's text: by predicting each message from others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from companion.checks import check_trainable
from companion.corpora import Corpus, Split
from companion.history import History
from companion.settings import TrainingConfig
from companion.users.cutting import Histories, Step, Text, together
from companion.users.methods import STORED, FittingConfig
from companion.users.states import first_vectors, rows_of

from . import training as training_loop
from .reading import MemoryNetwork, Read


class Learner(nn.Module):
    """A network that learns to read, with the vectors of its users where it has an embedding.

    Parameters
    ----------
    network : companion.pytorch.reading.MemoryNetwork
    users : int
        How many, numbered from 0 here.
    seed : int
    """

    def __init__(self, network: MemoryNetwork, users: int, seed: int) -> None:
        super().__init__()
        self.network = network
        vectors = first_vectors(users, network.reading.embedding, seed)[:-1]
        self.vectors = nn.Embedding.from_pretrained(torch.tensor(vectors), freeze=not vectors.size)
        self.vectors.to(network.output.bias.device)
        self.dropout = nn.Dropout(network.reading.dropout)

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts."""
        return self.network.vocabulary_size

    @property
    def kept_vectors(self) -> np.ndarray:
        """The vectors as they are stored, ``(users, size)``."""
        return self.vectors.weight.detach().cpu().numpy().astype(STORED)

    def of_rows(self, rows: Tensor) -> Tensor:
        """The vectors of these users ``(positions,)``, with dropout."""
        return self.dropout(self.vectors(rows))


def train(
    learner: Learner, data: Split, config: TrainingConfig, progress: bool | None = None
) -> History:
    """Train on ``data.train`` as :func:`companion.pytorch.training.train` does, whole histories."""
    check_trainable(learner, data)
    task = _Histories(data, config, learner.network.reading)
    return training_loop.train_on(learner, task, config, progress)


def fit(
    network: MemoryNetwork, corpus: Corpus, known: np.ndarray, config: FittingConfig
) -> np.ndarray:
    """Vectors fitted to the messages of new users, ``(users, size)``, the network being frozen.

    Parameters
    ----------
    network : companion.pytorch.reading.MemoryNetwork
        With an embedding.
    corpus : Corpus
        Each message is read with the memory of its user's others.
    known : np.ndarray
        Vectors of known users, ``(known, size)``: they say what is typical.
    config : FittingConfig
    """
    spread, typical = torch.std_mean(torch.from_numpy(known.astype(np.float32)), dim=0)
    spread, typical = (each.to(network.output.bias.device) for each in (spread, typical))
    offsets = typical.new_zeros(len(corpus.active_users), len(typical)).requires_grad_()
    adam = torch.optim.Adam([offsets], lr=config.learning_rate)
    fall = LinearLR(adam, 1.0, 0.0, config.steps)
    was_training = network.training
    batches = _read_once(network.eval(), corpus)
    for _ in range(config.steps):
        offsets.grad = config.pull * offsets.detach()
        for batch in batches:
            loss = batch.loss(network, typical + spread * offsets[batch.rows])
            offsets.grad += torch.autograd.grad(loss, offsets)[0]  # the network needs none
        adam.step()
        fall.step()
    network.train(was_training)
    return (typical + spread * offsets).detach().cpu().numpy()


class _Batch(NamedTuple):
    """Some words to predict, and what the memory says of them."""

    hidden: Tensor  # (positions, hidden)
    targets: Tensor  # (positions,)
    rows: Tensor  # (positions,): of the user
    memory: Tensor  # (positions,): log-probabilities

    def loss(self, network: MemoryNetwork, vectors: Tensor) -> Tensor:
        """Summed loss, nats, with these vectors ``(positions, size)``."""
        guided = network.guided_likelihood(self.hidden, vectors, self.targets)
        return -network.mixed(self.memory, guided).sum()


def _read_once(network: MemoryNetwork, corpus: Corpus) -> list[_Batch]:
    """All messages, each read with the memory of its user's others."""
    found = []
    with torch.no_grad():
        for histories in together(corpus):
            text = Text.of(corpus, histories)
            read = network.read(text)
            rows = rows_of(corpus.active_users, text.users)[text.message]
            memory = network.log_likelihood(read, read)
            rows = torch.from_numpy(rows).to(memory.device)
            found.append(_Batch(read.hidden, read.targets, rows, memory))
    return found


class _Histories(Histories):
    """The task of predicting each message of a history from the others."""

    def loss(self, model: Learner, step: Step) -> tuple[Tensor, int]:
        network, text = model.network, Text.of(self.data.train, step.histories)
        read = network.read(text)
        if step.of_memory:
            found = network.log_likelihood(read, read)
        else:
            vectors = model.of_rows(self._rows(text, read))
            found = network.guided_likelihood(read.hidden, vectors, read.targets)
        return -found.mean(), len(found)

    def validate(self, model: Learner) -> float:
        """Loss of the validation text of each user, their training text being remembered."""
        losses, tokens, network = [], 0, model.network
        with training_loop.evaluating(model):
            for known, text in self.validated():
                said = network.read(text)
                found = network.log_likelihood(said, network.read(known))
                if self.reading.embedding:
                    vectors = model.of_rows(self._rows(text, said))
                    guided = network.guided_likelihood(said.hidden, vectors, said.targets)
                    found = network.mixed(found, guided)
                losses.append(-found.sum().item())
                tokens += len(found)
        return sum(losses) / tokens

    def _rows(self, text: Text, read: Read) -> Tensor:
        """Rows of the table of vectors for each position."""
        return torch.from_numpy(self.rows(text)).to(read.hidden.device)


__all__ = ["Learner", "fit", "train"]
