"""Adapting the weights of a group of users together in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LinearLR

from companion.corpora import PADDING, Corpus
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from companion.users import groups
from companion.users.groups import Arrays, Group, Importance
from companion.users.stacks import Stack
from companion.users.strategies import Strategy

from .base_model import BaseModel
from .stacked import Changes, StackedNetwork
from .training import evaluating


class Adaptation:
    """How the weights of users are changed: one strategy, for one group after another.

    Parameters
    ----------
    base : companion.pytorch.base_model.BaseModel
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
        self.base, self.strategy, self.importance = base, strategy, importance

    def run(self, corpus: Corpus, users: np.ndarray, validation: Corpus | None = None) -> Arrays:
        """Adapt to the text of these users, ``(users,)``, and give their changes, a row each."""
        return _Group(self.base, corpus, users, self.strategy, self.importance).run(validation)


class _Group(Group):
    """Some users while they are adapted together."""

    def __init__(
        self,
        base: BaseModel,
        corpus: Corpus,
        users: np.ndarray,
        strategy: Strategy,
        importance: Importance | None,
    ) -> None:
        super().__init__(base, corpus, users, strategy)
        self.network, bias = StackedNetwork(base), base.output.bias
        self.device = bias.device
        first = groups.first_changes(_shapes(base), shapes_of(base), strategy, len(users))
        self.changes = {name: self.tensor(w).requires_grad_() for name, w in first.items()}
        held = groups.held(first, strategy, importance)
        self.pulls = {n: strategy.pull * torch.as_tensor(h).to(bias) for n, h in held.items()}
        self.counts = self.tensor(self.tokens)
        self.adam = self._optimizer()
        self.fall = LinearLR(self.adam, 1.0, 0.0, self.steps)

    def found(self) -> Arrays:
        """The changes so far, copied."""
        return {name: w.detach().cpu().numpy().copy() for name, w in self.changes.items()}

    def stepped(self, stack: Stack, known: Tensor | None, expected: Tensor | None) -> np.ndarray:
        """The objective of each user ``(users,)``, and one step of Adam down from it."""
        loss = self._objective(stack, known, expected)
        self.adam.zero_grad()
        loss.sum().backward()
        self.adam.step()
        self.fall.step()
        return loss.detach().cpu().numpy()

    @torch.no_grad()
    def loss(self, stack: Stack, changes: Arrays) -> np.ndarray:
        """Summed loss of each user's targets, ``(users,)``."""
        given = {name: self.tensor(change) for name, change in changes.items()}
        targets = self.tensor(stack.targets)
        logits = self.network.words(self._hidden(stack, given), given)
        losses = _nll(logits.log_softmax(-1), targets)
        return (losses * (targets != PADDING)).sum(1).cpu().numpy()

    def hidden_of(self, tokens: np.ndarray) -> np.ndarray:
        """Hidden states of the base model, ``(messages, time, hidden)``."""
        with evaluating(self.base):
            return self.base.recurrent(self.base.embedding(self.tensor(tokens)))[0].cpu().numpy()

    @torch.no_grad()
    def expect(self, hidden: Tensor) -> Tensor:
        """Log-probabilities of the base model, ``(users, targets, word)``."""
        return self.network.words(hidden, {}).log_softmax(-1)

    def rows(self, values: Tensor, places: np.ndarray) -> Tensor:
        """Some rows of each user, ``(users, n, size)`` at ``(users, m)``."""
        return _rows(values, self.tensor(places))

    def joined(self, values: list[Tensor]) -> Tensor:
        """Tensors of one user each as one, ``(users, ...)``."""
        return torch.cat(values)

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array as a tensor, where the base model is."""
        return torch.as_tensor(array, device=self.device)

    def _optimizer(self) -> torch.optim.Adam:
        """Adam for the changes of all users, each weight with its own rate."""
        rate = self.strategy.learning_rate
        weights = [
            {"params": [w], "lr": rate * groups.scale(name, self.strategy)}
            for name, w in self.changes.items()
        ]
        return torch.optim.Adam(weights, betas=ADAM_BETAS, eps=ADAM_EPSILON, fused=True)

    def _objective(self, stack: Stack, known: Tensor | None, expected: Tensor | None) -> Tensor:
        """What is minimized for each user, ``(users,)``: mean loss of a part, pull, divergence."""
        targets = self.tensor(stack.targets)
        if self.strategy.frozen and known is not None and expected is not None:
            logits = expected + self.network.words_apart(known, self.changes)
        else:
            logits = self.network.words(self._hidden(stack, self.changes), self.changes)
        log_probs = logits.log_softmax(-1)  # (users, targets, word)
        loss = _mean(_nll(log_probs, targets), targets)
        for name, pull in self.pulls.items():
            loss = loss + 0.5 * (pull * self.changes[name].square()).flatten(1).sum(1) / self.counts
        if self.strategy.distillation and expected is not None:
            apart = functional.kl_div(log_probs, expected, None, None, "none", True)
            loss = loss + self.strategy.distillation * _mean(apart.sum(-1), targets)
        return loss

    def _hidden(self, stack: Stack, changes: Changes) -> Tensor:
        """Hidden states where the targets are, ``(users, targets, hidden)``."""
        hidden, _ = self.network.hidden(self.tensor(stack.tokens), changes)
        return _rows(hidden.flatten(1, 2), self.tensor(stack.places))


def weights_in(base: BaseModel, layers: tuple[str, ...]) -> list[str]:
    """Names of the weights of these layers; see :func:`companion.users.groups.weights_in`."""
    return groups.weights_in(_shapes(base), layers)


def shapes_of(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, as ``(in, out)`` where it is a matrix."""
    return {name: shape[::-1] for name, shape in _shapes(base).items()}


def _shapes(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Shape of every weight that is trained."""
    return {n: tuple(w.shape) for n, w in base.named_parameters() if w.requires_grad}


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """Some rows of each user, ``(users, n, size)`` at ``(users, m)``."""
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def _nll(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Loss of each target, ``(users, targets)``."""
    return -log_probs.gather(-1, targets.long()[..., None])[..., 0]


def _mean(values: Tensor, targets: Tensor) -> Tensor:
    """Mean over each user's targets, ``(users,)``; NaN for a user without any."""
    inside = targets != PADDING
    return (values * inside).sum(1) / inside.sum(1)


__all__ = ["Adaptation", "shapes_of", "weights_in"]
