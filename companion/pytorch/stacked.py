"""The base model's network in PyTorch, once for each of several users, computed together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from companion.users.stacks import DOWN, SCALE, UP

from .base_model import BaseModel

Changes = dict[str, Tensor]
State = list[tuple[Tensor, ...]]


class StackedNetwork:
    """A network for each user: the base model's weights plus changes of the user's own.

    A change has the name of the weight and its shape behind the axis of users, or is the product
    of two narrow matrices, ``name + DOWN`` of shape ``(users, in, rank)`` and ``name + UP`` of
    shape ``(users, rank, out)``, or multiplies the columns of a matrix, ``name + SCALE`` of shape
    ``(users, in)``. A weight without a change is everybody's.

    Parameters
    ----------
    base : companion.pytorch.base_model.BaseModel
        Its weights are read where they are, and never written to.
    """

    def __init__(self, base: BaseModel) -> None:
        self.config = base.config
        self.weights = {name: weight.detach() for name, weight in base.named_parameters()}

    def hidden(
        self, tokens: Tensor, changes: Changes, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Hidden states of the last recurrent layer, and the state after the last token.

        Parameters
        ----------
        tokens : Tensor
            ``(users, messages, time)``
        state : list, optional
            What an earlier call gave; zeros, if there is none. For each layer its parts,
            ``(users, messages, hidden)`` each.

        Returns
        -------
        hidden : Tensor
            ``(users, messages, time, hidden)``
        state : list
        """
        inputs = self._embedded(tokens, changes)  # (users, messages, time, embedding)
        run = self._lstm if self.config.cell == "lstm" else self._gru
        after = []
        for layer in range(self.config.layers):
            before = state[layer] if state else self._zeros(tokens)
            inputs, carried = run(inputs, before, layer, changes)
            after.append(carried)
        return inputs, after

    def words(self, hidden: Tensor, changes: Changes) -> Tensor:
        """Logits ``(users, n, word)`` from hidden states ``(users, n, hidden)``."""
        if "projection.weight" in self.weights:
            hidden = self._times(hidden, "projection.weight", changes)  # (users, n, embedding)
        matrix = "embedding.weight" if self.config.tied else "output.weight"
        return self._times(hidden, matrix, changes) + self._vector("output.bias", changes)

    def changed(self, name: str, changes: Changes) -> Tensor:
        """A weight with each user's change in it, ``(users, ...)``; ``(1, ...)`` without any."""
        weight = self.weights[name][None]
        if name in changes:
            return weight + changes[name]
        if name + DOWN in changes:
            return weight + (changes[name + DOWN] @ changes[name + UP]).transpose(1, 2)
        if name + SCALE in changes:
            return weight * (1 + changes[name + SCALE][:, None])
        return weight

    def words_apart(self, hidden: Tensor, changes: Changes) -> Tensor:
        """What changes behind the recurrent layers add to the logits, ``(users, n, word)``.

        Narrow matrices are multiplied with what follows them first, and with the text last.
        """
        name, bias = "projection.weight", "output.bias"
        after: Tensor | None = self.weights["embedding.weight"].T  # (embedding, word)
        if name not in self.weights:
            name, after = "output.weight", None
        apart = changes[bias][:, None] if bias in changes else hidden.new_zeros(())
        if name + DOWN in changes:
            up = changes[name + UP]
            up = up if after is None else up @ after  # (users, rank, word)
            apart = apart + hidden @ changes[name + DOWN] @ up
        elif name in changes:
            own = hidden @ changes[name].transpose(1, 2)
            apart = apart + (own if after is None else own @ after)
        elif name + SCALE in changes:
            own = (hidden * changes[name + SCALE][:, None]) @ self.weights[name].T
            apart = apart + (own if after is None else own @ after)
        return apart

    def _embedded(self, tokens: Tensor, changes: Changes) -> Tensor:
        """Input embeddings, each user's own."""
        name = "embedding.weight"
        embedded = self.weights[name][tokens]  # (users, messages, time, embedding)
        users = torch.arange(len(tokens), device=tokens.device)[:, None, None]
        if name in changes:
            return embedded + changes[name][users, tokens]
        if name + DOWN in changes:
            narrow = changes[name + UP].transpose(1, 2)[users, tokens]  # (..., rank)
            change = narrow.flatten(1, 2) @ changes[name + DOWN].transpose(1, 2)
            return embedded + change.unflatten(1, tokens.shape[1:])
        if name + SCALE in changes:
            return embedded * (1 + changes[name + SCALE][:, None, None])
        return embedded

    def _lstm(
        self, inputs: Tensor, state: tuple[Tensor, ...], layer: int, changes: Changes
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All steps of an LSTM layer."""
        names = _names(layer)
        read = self._gates(inputs, names["ih"], changes) + self._vector(names["bias_ih"], changes)
        step = self._matrix(names["hh"], changes)
        (hidden, cell), every = state, []
        for at in read.unflatten(1, inputs.shape[1:3]).unbind(2):  # (users, messages, 4 * hidden)
            enters, keeps, new, leaves = (at + step(hidden)).chunk(4, dim=-1)
            cell = keeps.sigmoid() * cell + enters.sigmoid() * new.tanh()
            hidden = leaves.sigmoid() * cell.tanh()  # (users, messages, hidden)
            every.append(hidden)
        return torch.stack(every, dim=2), (hidden, cell)

    def _gru(
        self, inputs: Tensor, state: tuple[Tensor, ...], layer: int, changes: Changes
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All steps of a GRU layer."""
        names = _names(layer)
        read = self._gates(inputs, names["ih"], changes) + self._vector(names["bias_ih"], changes)
        step, bias = self._matrix(names["hh"], changes), self._vector(names["bias_hh"], changes)
        (hidden,), every = state, []
        for at in read.unflatten(1, inputs.shape[1:3]).unbind(2):  # (users, messages, 3 * hidden)
            resets, updates, new = at.chunk(3, dim=-1)
            carried = (step(hidden) + bias).chunk(3, dim=-1)
            new = (new + (resets + carried[0]).sigmoid() * carried[2]).tanh()
            update = (updates + carried[1]).sigmoid()
            hidden = (1 - update) * new + update * hidden  # (users, messages, hidden)
            every.append(hidden)
        return torch.stack(every, dim=2), (hidden,)

    def _gates(self, inputs: Tensor, name: str, changes: Changes) -> Tensor:
        """What the inputs say to the gates, all steps at once, ``(users, steps, gates)``."""
        return self._times(inputs.flatten(1, 2), name, changes)

    def _times(self, inputs: Tensor, name: str, changes: Changes) -> Tensor:
        """Each user's inputs ``(users, n, in)`` times the user's matrix: ``(users, n, out)``."""
        return self._matrix(name, changes)(inputs)

    def _matrix(self, name: str, changes: Changes) -> Callable[[Tensor], Tensor]:
        """The product with each user's matrix, the matrix being made once for many products."""
        weight = self.weights[name].T  # (in, out)
        if name in changes:
            own = weight + changes[name].transpose(1, 2)  # (users, in, out)
            return lambda inputs: inputs @ own
        if name + DOWN in changes:
            down, up = changes[name + DOWN], changes[name + UP]
            return lambda inputs: torch.baddbmm(inputs @ weight, inputs @ down, up)
        if name + SCALE in changes:
            factors = 1 + changes[name + SCALE][:, None]  # (users, 1, in)
            return lambda inputs: (inputs * factors) @ weight
        return lambda inputs: inputs @ weight

    def _vector(self, name: str, changes: Changes) -> Tensor:
        """Each user's vector, to be added to ``(users, n, size)``."""
        weight = self.weights[name]
        return weight + changes[name][:, None] if name in changes else weight

    def _zeros(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """The state of a layer before any token."""
        zeros = self.weights["output.bias"].new_zeros(*tokens.shape[:2], self.config.hidden)
        return (zeros, zeros) if self.config.cell == "lstm" else (zeros,)


def _names(layer: int) -> dict[str, str]:
    """Names of the weights of a recurrent layer."""
    parts = {"ih": "weight_ih", "hh": "weight_hh", "bias_ih": "bias_ih", "bias_hh": "bias_hh"}
    return {short: f"recurrent.{part}_l{layer}" for short, part in parts.items()}


__all__ = ["StackedNetwork"]
