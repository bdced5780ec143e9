"""Adapting the weights of a group of users together in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LinearLR

from companion.corpora import PADDING, Corpus
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from companion.users import stacks
from companion.users.methods import STORED
from companion.users.stacks import DOWN, UP, Stack
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
        self,
        base: BaseModel,
        strategy: Strategy,
        importance: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        _check_importance(base, strategy, importance)
        self.base, self.strategy, self.importance = base, strategy, importance

    def run(
        self, corpus: Corpus, users: np.ndarray, validation: Corpus | None = None
    ) -> dict[str, np.ndarray]:
        """Adapt to the text of these users, ``(users,)``, and give their changes, a row each."""
        return _Group(self.base, corpus, users, self.strategy, self.importance).run(validation)


class _Group:
    """Some users while they are adapted together."""

    def __init__(
        self,
        base: BaseModel,
        corpus: Corpus,
        users: np.ndarray,
        strategy: Strategy,
        importance: Mapping[str, np.ndarray] | None,
    ) -> None:
        self.base, self.network = base, StackedNetwork(base)
        self.corpus, self.users, self.strategy = corpus, users, strategy
        self.device = base.output.bias.device
        self.own = stacks.own_messages(corpus, self.users)
        self.tokens = self._tensor([float((corpus.lengths[own] + 1).sum()) for own in self.own])
        self.changes = _first_changes(self.network, base, strategy, len(users))
        self.pulls = _pulls(self.network, strategy, importance, self.changes)
        self.frozen = not {"embedding", "recurrent"} & {*strategy.layers}
        keep = self.frozen or strategy.distillation
        self.read = self._read_once() if keep else None
        self.expected = None if self.read is None else self._expect_once(self.read)

    def run(self, validation: Corpus | None) -> dict[str, np.ndarray]:
        """Adapt to the text, and give the changes of the users."""
        strategy = self.strategy
        later = self._later(validation) if strategy.validates and validation is not None else []
        adam, fall = self._optimizer()
        best, lowest = self.changes, self.tokens.new_full((len(self.users),), torch.inf)
        for parts in stacks.passes(self.corpus, self.users, strategy):
            for part in parts:
                self._step(part, adam)
                fall.step()
            if strategy.early_stopping:
                loss = self._validation_loss(later, self.changes)
                best = _where(~(loss >= lowest), self.changes, best)
                lowest = torch.fmin(loss, lowest)
        if strategy.gate:
            won = self._validation_loss(later, best) < self._validation_loss(later, {})
            best = _where(won, best, {name: torch.zeros_like(w) for name, w in best.items()})
        return {name: w.detach().cpu().numpy().astype(STORED) for name, w in best.items()}

    def _optimizer(self) -> tuple[torch.optim.Adam, LinearLR]:
        """Adam for the changes of all users, and the fall of its learning rate to zero."""
        strategy = self.strategy
        adam = torch.optim.Adam(
            [
                {"params": [w], "lr": strategy.learning_rate * _scale(name, strategy)}
                for name, w in self.changes.items()
            ],
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
            fused=True,
        )
        steps = strategy.passes * stacks.parts(self.corpus, self.users, strategy.batches)[0]
        return adam, LinearLR(adam, 1.0, 0.0, int(steps))

    def _step(self, part: list[np.ndarray], adam: torch.optim.Adam) -> None:
        """One step for every user; what one user loses moves no weight of another's."""
        loss = self._objective(part)
        self._check_finite(loss)
        adam.zero_grad()
        loss.sum().backward()
        adam.step()

    def _objective(self, part: list[np.ndarray]) -> Tensor:
        """What is minimized for each user, ``(users,)``: mean loss of a part, pull, divergence."""
        stack = Stack.of(self.corpus, part)
        targets = self._tensor(stack.targets)
        known, expected = self._known(stack, part)
        if self.frozen and known is not None and expected is not None:
            logits = expected + self.network.words_apart(known, self.changes)
        else:
            logits = self.network.words(self._hidden(stack, self.changes), self.changes)
        log_probs = logits.log_softmax(-1)  # (users, targets, word)
        loss = _mean(_nll(log_probs, targets), targets)
        for name, pull in self.pulls.items():
            loss = loss + 0.5 * (pull * self.changes[name].square()).flatten(1).sum(1) / self.tokens
        if self.strategy.distillation and expected is not None:
            apart = functional.kl_div(log_probs, expected, None, None, "none", True)
            loss = loss + self.strategy.distillation * _mean(apart.sum(-1), targets)
        return loss

    def _hidden(self, stack: Stack, changes: Changes) -> Tensor:
        """Hidden states where the targets are, ``(users, targets, hidden)``."""
        hidden, _ = self.network.hidden(self._tensor(stack.tokens), changes)
        return _rows(hidden.flatten(1, 2), self._tensor(stack.places))

    def _read_once(self) -> Tensor:
        """Hidden states of all text in the base model, ``(users, targets, hidden)``."""
        base, corpus = self.base, self.corpus
        width = max(int((corpus.lengths[own] + 1).sum()) for own in self.own)
        read = torch.zeros(len(self.own) * width, base.config.hidden, device=self.device)
        with evaluating(base):
            for messages, places in stacks.reading(corpus, self.own, width):
                inputs, targets = corpus.padded(messages)
                hidden, _ = base.recurrent(base.embedding(self._tensor(inputs)))
                inside = self._tensor(targets != PADDING)
                read[self._tensor(places)] = hidden[inside]
        return read.unflatten(0, (len(self.own), width))

    @torch.no_grad()
    def _expect_once(self, read: Tensor) -> Tensor | None:
        """The base model's log-probabilities ``(users, targets, word)``, unless they are many."""
        cells = read.shape[0] * read.shape[1] * self.base.vocabulary_size
        if cells > stacks.KEPT_CELLS:
            return None
        return torch.stack([self.network.words(own, {}).log_softmax(-1) for own in read])

    @torch.no_grad()
    def _known(self, stack: Stack, part: list[np.ndarray]) -> tuple[Tensor | None, Tensor | None]:
        """Hidden states and log-probabilities of the base model for some messages, if kept."""
        if self.read is None:
            return None, None
        columns = self._tensor(stack.columns(self.corpus.lengths, part, self.own))
        known = _rows(self.read, columns)  # (users, targets, hidden)
        if self.expected is None:
            return known, self.network.words(known, {}).log_softmax(-1)
        return known, _rows(self.expected, columns)

    def _later(self, validation: Corpus) -> list[Stack]:
        """The users' validation text, a part at a time."""
        later = stacks.own_messages(validation, self.users)
        return [Stack.of(validation, part) for part in stacks.slices(validation, later)]

    @torch.no_grad()
    def _validation_loss(self, later: list[Stack], changes: Changes) -> Tensor:
        """Mean loss on validation text, ``(users,)``; NaN where there is none."""
        sums, counts = torch.zeros_like(self.tokens), torch.zeros_like(self.tokens)
        for stack in later:
            targets = self._tensor(stack.targets)
            logits = self.network.words(self._hidden(stack, changes), changes)
            inside = targets != PADDING
            sums += (_nll(logits.log_softmax(-1), targets) * inside).sum(1)
            counts += inside.sum(1)
        return sums / counts

    def _check_finite(self, loss: Tensor) -> None:
        wrong = torch.nonzero(~loss.detach().isfinite())
        if len(wrong):
            user = self.users[int(wrong[0])]
            raise FloatingPointError(
                f"the loss of user {user} is {loss[wrong[0]].item()}: try a learning_rate below "
                f"{self.strategy.learning_rate:g}"
            )

    def _tensor(self, array: np.ndarray | list[float]) -> Tensor:
        dtype = torch.float32 if isinstance(array, list) else None
        return torch.as_tensor(array, dtype=dtype, device=self.device)


def weights_in(base: BaseModel, layers: tuple[str, ...]) -> list[str]:
    """Names of the weights of these layers.

    Raises
    ------
    ValueError
        If there are none: an output layer that is the embedding is changed with that.
    """
    prefixes = {"embedding": "embedding.weight", "recurrent": "recurrent.", "bias": "output.bias"}
    names = [name for name, weight in base.named_parameters() if weight.requires_grad]
    matrices = [name for name in names if name in ("projection.weight", "output.weight")]
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
    return {n: tuple(w.shape[::-1]) for n, w in base.named_parameters() if w.requires_grad}


def _first_changes(
    network: StackedNetwork, base: BaseModel, strategy: Strategy, users: int
) -> Changes:
    """Changes that change nothing yet: zeros, and random numbers in one of two narrow matrices."""
    changes = {}
    for name in weights_in(base, strategy.layers):
        weight = network.weights[name]
        if strategy.rank and weight.ndim == 2:
            down = stacks.first_down(weight.shape[1], strategy.rank, strategy.seed)
            changes[name + DOWN] = torch.tensor(down, device=weight.device).repeat(users, 1, 1)
            changes[name + UP] = weight.new_zeros(users, strategy.rank, weight.shape[0])
        else:
            changes[name] = weight.new_zeros(users, *weight.shape)
    return {name: change.requires_grad_() for name, change in changes.items()}


def _pulls(
    network: StackedNetwork,
    strategy: Strategy,
    importance: Mapping[str, np.ndarray] | None,
    changes: Changes,
) -> dict[str, Tensor]:
    """How strongly each number is held, but for the narrow matrices that do not start at zero."""
    pulls = {}
    for name in changes if strategy.pull else ():
        if name.endswith(DOWN):
            continue
        held = _scale(name, strategy) ** -2 if importance is None else importance[name]
        pulls[name] = strategy.pull * torch.as_tensor(held).to(network.weights["output.bias"])
    return pulls


def _scale(name: str, strategy: Strategy) -> float:
    """How many times as far as a matrix this weight moves."""
    return strategy.bias_scale if name == "output.bias" else 1.0


def _check_importance(
    base: BaseModel, strategy: Strategy, importance: Mapping[str, np.ndarray] | None
) -> None:
    if importance is None:
        return
    for name in weights_in(base, strategy.layers):
        if name not in importance or importance[name].shape != base.get_parameter(name).shape:
            raise ValueError(f"importance must hold {name}, with the shape of that weight")


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


def _where(chosen: Tensor, first: Changes, second: Changes) -> Changes:
    """The first changes for the users chosen, the second for the others; copies of them."""
    return {
        name: torch.where(
            chosen.view(-1, *[1] * (change.ndim - 1)), change.detach(), second[name].detach()
        )
        for name, change in first.items()
    }


__all__ = ["Adaptation", "shapes_of", "weights_in"]
