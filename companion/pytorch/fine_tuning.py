"""Fine-tuning in PyTorch: for each user a change of the base model's weights, all users at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from companion.corpora import Corpus
from companion.users import personalizing, stacks, strategies
from companion.users.lifecycle import check_text
from companion.users.personalizing import Task
from companion.users.stacks import Stack
from companion.users.states import PersonalStates, known_ids
from companion.users.strategies import ADAPTER, Strategy

from . import adapting, base_model, stacked
from .adapting import Adaptation, shapes_of, weights_in
from .base_model import BaseModel, rows_among
from .stacked import Changes, StackedNetwork
from .training import evaluating

FISHER_GROUP = 32  # messages whose gradients are held at once


class FineTuned(nn.Module):
    """The base model, with the weights of whoever is typing changed.

    Parameters
    ----------
    base : companion.pytorch.base_model.BaseModel
        It is shared, not copied, and never changed.
    states : PersonalStates
        What :func:`personalize` gave for this base model.

    Raises
    ------
    ValueError
        If the states were made for another network, or by another method.
    """

    def __init__(self, base: BaseModel, states: PersonalStates) -> None:
        super().__init__()
        states.check_made_for(base_model.fingerprint(base))
        personalizing.check_changes(states, shapes_of(base))
        self.base = base
        self.vocabulary = base.vocabulary
        self.known_users = states.users
        self.network = StackedNetwork(base)
        device = base.output.bias.device
        self._changes = {n: torch.tensor(a, device=device) for n, a in states.arrays.items()}
        self._ids = torch.tensor(states.users, device=device)

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.base.vocabulary_size

    def forward(self, tokens: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        tokens : Tensor
            Token ids, ``(batch, time)``.
        users : Tensor, optional
            Who wrote each message, ``(batch,)``. The base model itself predicts for everybody who
            is not known, and where no users are given.
        """
        changes = self._changes_of(users)
        hidden, _ = self.network.hidden(tokens[:, None], changes)  # (batch, 1, time, hidden)
        return self.network.words(hidden[:, 0], changes)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.
        users : np.ndarray, optional
            Who wrote each message, ``(message,)``; the base model predicts, where not given.

        Raises
        ------
        TypeError, ValueError
            If the ids are no integers, a token is outside the vocabulary, or a user is not known.
        """
        ids = self.base._tokens(tokens, ndim=2)
        with evaluating(self):
            return self(ids, self._known(users, len(ids))).log_softmax(-1).cpu().numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple:
        """The state before any token of messages by these users, their changes included."""
        return None, self._changes_of(self._known(users, batch))

    def step(
        self, tokens: np.ndarray, state: tuple, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple]:
        """Read one token per message ``(batch,)``, going on from `state`.

        Whose weights are used was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state; the old one is not changed.
        """
        ids = self.base._tokens(tokens, ndim=1)
        carried, changes = state
        with evaluating(self):
            hidden, carried = self.network.hidden(ids[:, None, None], changes, carried)
            logits = self.network.words(hidden[:, 0], changes)[:, 0]  # (batch, word)
            return logits.log_softmax(-1).cpu().numpy(), (carried, changes)

    def states(self) -> PersonalStates:
        """The changes of all known users, as they are kept."""
        arrays = {name: change.cpu().numpy() for name, change in self._changes.items()}
        return PersonalStates(base_model.fingerprint(self.base), self.known_users, arrays)

    def with_states(self, states: PersonalStates) -> FineTuned:
        """The same base model for the users of `states` instead.

        Raises
        ------
        ValueError
            If the states were made for another network, or by another method.
        """
        return FineTuned(self.base, states)

    def _changes_of(self, users: Tensor | None) -> Changes:
        """A change for each message, zero for those of users who are not known."""
        if users is None:
            return {}
        rows = rows_among(self._ids, users, len(users))
        known = rows < len(self.known_users)
        rows = rows.clamp(max=len(self.known_users) - 1)
        return {
            name: change[rows].float() * known.view(-1, *[1] * (change.ndim - 1))
            for name, change in self._changes.items()
        }

    def _known(self, users: np.ndarray | None, messages: int) -> Tensor | None:
        """Checked ids of known users."""
        if users is None:
            return None
        return torch.from_numpy(known_ids(users, messages, self.known_users)).to(self._ids.device)


def personalize(
    base: BaseModel,
    corpus: Corpus,
    users: Sequence[int] | np.ndarray | None = None,
    strategy: Strategy = ADAPTER,
    validation: Corpus | None = None,
    importance: Mapping[str, np.ndarray] | None = None,
    folder: str | PathLike[str] | None = None,
    group_size: int = 64,
    progress: bool | None = None,
) -> PersonalStates:
    """Fine-tune the base model for each of many users, all users of a group in one computation.

    The result for a user is that of a loop over copies of the model, up to rounding, and does not
    depend on who else is in the group.

    Parameters
    ----------
    base : companion.pytorch.base_model.BaseModel
        Where everybody starts; it is not changed. Dropout is off.
    corpus : Corpus
        The text to adapt to.
    users : sequence of int, optional
        Whose; everybody's who has a message in `corpus`, if not given.
    strategy : Strategy
    validation : Corpus, optional
        Later text of the same users, for early stopping and the gate. The gate stays shut for users
        who have none; early stopping then keeps the last pass.
    importance : mapping of str to np.ndarray, optional
        How much harder than others each number of a weight is held, such as :func:`fisher` gives.
    folder : path, optional
        Where each user's state is put into a store, ``states.sqlite``, as soon as it is finished.
        Users whose state is there already are not adapted again: a run that was killed goes on
        where it stopped.
    group_size : int
        Users adapted together, at most: it bounds the memory, and changes no result.
    progress : bool, optional
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    PersonalStates
        The change of every weight that is adapted, in half precision.

    Raises
    ------
    ValueError
        If there is no text, a user has none, the base model lacks words of it, `validation` has
        other words, the strategy needs what is not given, or `folder` holds states that were made
        otherwise.
    FloatingPointError
        If the loss or a change of a user is not finite; the message names the user. The users
        of the groups before stay saved in `folder`.
    """
    task = _task(base, corpus, users, strategy, validation, importance)
    adaptation = Adaptation(base, strategy, importance)
    return task.done(adaptation.run, folder, group_size, progress)


def personalized(
    base: BaseModel,
    corpus: Corpus,
    users: Sequence[int] | np.ndarray | None = None,
    strategy: Strategy = ADAPTER,
    validation: Corpus | None = None,
    importance: Mapping[str, np.ndarray] | None = None,
) -> FineTuned:
    """The model that :func:`personalize` makes, from the cache folder if it was made before."""
    task = _task(base, corpus, users, strategy, validation, importance)
    code = sys.modules[__name__], adapting, stacked, base_model

    def make() -> PersonalStates:
        return task.done(Adaptation(base, strategy, importance).run)

    return FineTuned(
        base, task.kept(make, code, name="fine tuned pytorch", framework=torch.__version__)
    )


def fisher(
    base: BaseModel, corpus: Corpus, tokens: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Diagonal of the Fisher information of the base model's weights, per token.

    The mean, over tokens of `corpus`, of the squared gradient of the log-probability of a word that
    the model itself draws there [1]_. The gradient of each token alone: the square of a batch's
    mean gradient is something else.

    Parameters
    ----------
    base : companion.pytorch.base_model.BaseModel
    corpus : Corpus
        Text of everybody.
    tokens : int
        How many tokens to look at; all, where there are not so many.
    seed : int
        Decides which, and the words drawn.

    Returns
    -------
    dict of str to np.ndarray
        For every weight that is trained, an array of its shape.

    Raises
    ------
    ValueError
        If there is no text, or the base model lacks words of it.

    References
    ----------
    .. [1] Kunstner, F. et al. Limitations of the empirical Fisher approximation for natural
       gradient descent. NeurIPS, 2019.
    """
    check_text(base.vocabulary, base.vocabulary_size, corpus)
    rng = np.random.default_rng(seed)
    chosen, steps = stacks.draw_tokens(corpus, tokens, rng)
    network, names = StackedNetwork(base), weights_in(base, strategies.LAYERS)
    total = {name: torch.zeros_like(network.weights[name]) for name in names}
    for start in range(0, len(chosen), FISHER_GROUP):
        some, at = (array[start : start + FISHER_GROUP] for array in (chosen, steps))
        changes = {n: network.weights[n].new_zeros(len(some), *total[n].shape) for n in names}
        changes = {name: change.requires_grad_() for name, change in changes.items()}
        stack = Stack.of(corpus, list(some[:, None]))
        log_probs = _log_probs_at(network, stack, at, changes)  # (messages, word)
        drawn = torch.from_numpy(stacks.draw(log_probs.detach().cpu().numpy(), rng))
        drawn_log_probs = log_probs.gather(1, drawn.to(log_probs.device)[:, None]).sum()
        gradients = torch.autograd.grad(drawn_log_probs, list(changes.values()))
        for name, gradient in zip(changes, gradients, strict=True):
            total[name] += gradient.square().sum(0)
    return {name: (sums / len(chosen)).cpu().numpy() for name, sums in total.items()}


def _task(base: BaseModel, *given: Any) -> Task:
    """What is asked, checked against this base model."""
    check_text(base.vocabulary, base.vocabulary_size, given[0])
    return personalizing.task(base_model.fingerprint(base), *given)


def _log_probs_at(
    network: StackedNetwork, stack: Stack, at: np.ndarray, changes: Changes
) -> Tensor:
    """Log-probabilities after one step of each stacked message, ``(messages, word)``."""
    device = network.weights["output.bias"].device
    hidden, _ = network.hidden(torch.from_numpy(stack.tokens).to(device), changes)
    hidden = hidden[torch.arange(len(at)), 0, at][:, None]  # (messages, 1, hidden)
    return network.words(hidden, changes)[:, 0].log_softmax(-1)


__all__ = ["FineTuned", "fisher", "personalize", "personalized"]
