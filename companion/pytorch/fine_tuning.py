"""Fine-tuning in PyTorch: for each user a change of the base model's weights, all users at once."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from companion.users import personalizing
from companion.users.groups import Arrays
from companion.users.models import LanguageModel
from companion.users.stacks import Stack
from companion.users.states import PersonalStates, known_ids
from companion.users.strategies import LAYERS
from companion.users.tuning import Tuning

from . import adapting, base_model, stacked
from .adapting import Adaptation, shapes_of, weights_in
from .base_model import BaseModel, rows_among
from .stacked import Changes, StackedNetwork
from .training import evaluating


class FineTuned(LanguageModel, nn.Module):
    """The base model, with the weights of whoever is typing changed.

    What its methods take and give stands in :class:`companion.users.models.LanguageModel`.

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
        self.vocabulary, self.vocabulary_size = base.vocabulary, base.vocabulary_size
        self.known_users = states.users
        self.network = StackedNetwork(base)
        device = base.output.bias.device
        self._changes = {n: torch.tensor(a, device=device) for n, a in states.arrays.items()}
        self._ids = torch.tensor(states.users, device=device)

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

        Where no users are given, the base model predicts.
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
        """Read one token per message; :meth:`begin` has settled whose weights are used."""
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


def _squares(
    base: BaseModel, stack: Stack, at: np.ndarray, draw: Callable[[np.ndarray], np.ndarray]
) -> Arrays:
    """Squared gradients of the log-probability of a word drawn after one step of each message."""
    network = StackedNetwork(base)
    weights = {name: network.weights[name] for name in weights_in(base, LAYERS)}
    changes = {n: w.new_zeros(len(at), *w.shape).requires_grad_() for n, w in weights.items()}
    log_probs = _log_probs_at(network, stack, at, changes)  # (messages, word)
    drawn = torch.from_numpy(draw(log_probs.detach().cpu().numpy()))
    reached = log_probs.gather(1, drawn.to(log_probs.device)[:, None]).sum()
    gradients = torch.autograd.grad(reached, list(changes.values()))
    squares = (gradient.square().sum(0).cpu().numpy() for gradient in gradients)
    return dict(zip(changes, squares, strict=True))


def _log_probs_at(
    network: StackedNetwork, stack: Stack, at: np.ndarray, changes: Changes
) -> Tensor:
    """Log-probabilities after one step of each stacked message, ``(messages, word)``."""
    device = network.weights["output.bias"].device
    hidden, _ = network.hidden(torch.from_numpy(stack.tokens).to(device), changes)
    hidden = hidden[torch.arange(len(at)), 0, at][:, None]  # (messages, 1, hidden)
    return network.words(hidden, changes)[:, 0].log_softmax(-1)


TUNING = Tuning(
    name="fine tuned pytorch",
    framework=(torch,),
    code=(sys.modules[__name__], adapting, stacked, base_model),
    fingerprint=base_model.fingerprint,
    adaptation=lambda *given: Adaptation(*given).run,
    squares=_squares,
    tuned=FineTuned,
)
personalize, personalized, fisher = TUNING.personalize, TUNING.personalized, TUNING.fisher


__all__ = ["FineTuned", "fisher", "personalize", "personalized"]
