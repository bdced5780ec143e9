"""Fine-tuning in PyTorch: for each user a change of the base model's weights, all users at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from os import PathLike

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LinearLR

from companion import stacks, strategies
from companion.checks import check_users
from companion.corpora import PADDING, Corpus
from companion.methods import STORED
from companion.personal import PersonalStates, check_known, rows_of
from companion.progress import progress_bar
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from companion.stacks import DOWN, UP, Stack
from companion.strategies import ADAPTER, Strategy
from companion.trainings import kept_states

from . import base_model, stacked
from .base_model import BaseModel
from .stacked import Changes, StackedNetwork
from .training import evaluating

FISHER_GROUP = 32  # messages whose gradients are held at once


class FineTuned(nn.Module):
    """The base model, with the weights of whoever is typing changed.

    Parameters
    ----------
    base : BaseModel
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
        stacks.check_changes(states, _shapes(base))
        self.base = base
        self.known_users = states.users
        self.network = StackedNetwork(base)
        device = base.output.bias.device
        self._changes = {n: torch.tensor(a, device=device) for n, a in states.arrays.items()}
        self._rows = torch.tensor(rows_of(states.users), device=device)

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
        rows = self._rows[users.long().clamp(-1, len(self._rows) - 1)]
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
        ids = check_users(users, messages)
        check_known(ids, self.known_users)
        return torch.from_numpy(np.array(ids)).to(self._rows.device)  # without negative strides


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
    base : BaseModel
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
        Where each user's state is saved as soon as it is finished. Users whose state is there
        already are not adapted again: a run that was killed goes on where it stopped.
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
        If there is no text, a user has none, the base model lacks words of it, the strategy needs
        what is not given, or `folder` holds states that were made otherwise.
    FloatingPointError
        If the loss of a user is not finite; the message names the user.
    """
    users = stacks.check_adaptable(base, corpus, users, strategy, validation, importance)
    _check_importance(base, strategy, importance)
    made_for = base_model.fingerprint(base)
    recipe = stacks.recipe(made_for, corpus, strategy, validation, importance)
    kept = stacks.resume(folder, made_for, recipe)
    missing = np.setdiff1d(users, [] if kept is None else kept.users)
    finished = [] if kept is None else [kept]
    with progress_bar(len(missing), "fine-tuning", "user", progress) as bar:
        for group in stacks.groups(corpus, missing, strategy.batches, group_size):
            arrays = _Group(base, corpus, group, strategy, importance).run(validation)
            finished.append(PersonalStates(made_for, group, arrays))
            if folder is not None:
                finished[-1].save(folder)
            bar.update(len(group))
    return stacks.merged(finished).of(users)


def personalized(
    base: BaseModel,
    corpus: Corpus,
    users: Sequence[int] | np.ndarray | None = None,
    strategy: Strategy = ADAPTER,
    validation: Corpus | None = None,
    importance: Mapping[str, np.ndarray] | None = None,
) -> FineTuned:
    """The model that :func:`personalize` makes, from the cache folder if it was made before."""
    users = stacks.check_adaptable(base, corpus, users, strategy, validation, importance)
    key = {
        "name": "fine tuned pytorch",
        "recipe": stacks.recipe(
            base_model.fingerprint(base), corpus, strategy, validation, importance
        ),
        "users": users.tolist(),
        "framework": torch.__version__,
    }
    code = sys.modules[__name__], stacked, base_model, stacks

    def make() -> PersonalStates:
        return personalize(base, corpus, users, strategy, validation, importance)

    return FineTuned(base, kept_states(key, corpus, code, make))


def fisher(
    base: BaseModel, corpus: Corpus, messages: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Diagonal of the Fisher information of the base model's weights, per token.

    The mean, over tokens of `corpus`, of the squared gradient of the log-probability of a word that
    the model itself draws there [1]_. One token a message, and the gradient of each alone: the
    square of a batch's mean gradient is something else.

    Parameters
    ----------
    base : BaseModel
    corpus : Corpus
        Text of everybody.
    messages : int
        How many messages to look at, one token in each.
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
    stacks.check_adaptable(base, corpus, None, Strategy(), None, None)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(corpus))[:messages]
    network, names = StackedNetwork(base), _weights(base, strategies.LAYERS)
    total = {name: torch.zeros_like(network.weights[name]) for name in names}
    for some in np.array_split(chosen, -(-len(chosen) // FISHER_GROUP)):
        changes = {name: _zeros(network.weights[name], len(some)) for name in names}
        stack = Stack.of(corpus, list(some[:, None]))
        at = rng.integers(stack.counts)  # one step of each message
        log_probs = _log_probs_at(network, stack, at, changes)  # (messages, word)
        drawn = torch.from_numpy(stacks.draw(log_probs.detach().cpu().numpy(), rng))
        log_probs.gather(1, drawn.to(log_probs.device)[:, None]).sum().backward()
        for name, change in changes.items():
            total[name] += change.grad.square().sum(0)
    return {name: (sums / len(chosen)).cpu().numpy() for name, sums in total.items()}


def _log_probs_at(
    network: StackedNetwork, stack: Stack, at: np.ndarray, changes: Changes
) -> Tensor:
    """Log-probabilities after one step of each stacked message, ``(messages, word)``."""
    device = network.weights["output.bias"].device
    hidden, _ = network.hidden(torch.from_numpy(stack.tokens).to(device), changes)
    places = torch.from_numpy(at)[:, None].to(device)
    hidden = _rows(hidden[:, 0], places)  # (messages, 1, hidden)
    return network.words(hidden, changes)[:, 0].log_softmax(-1)


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

    def run(self, validation: Corpus | None) -> dict[str, np.ndarray]:
        """Adapt to the text, and give the changes of the users."""
        strategy = self.strategy
        later = self._later(validation) if strategy.validates else None
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
        known = None
        if self.read is not None:
            columns = stack.columns(self.corpus.lengths, part, self.own)
            known = _rows(self.read, self._tensor(columns))  # (users, targets, hidden)
        hidden = known if self.frozen else self._hidden(stack, self.changes)
        logits = self.network.words(hidden, self.changes)  # (users, targets, word)
        loss = _mean(_nll(logits, targets), targets)
        for name, pull in self.pulls.items():
            loss = loss + 0.5 * (pull * self.changes[name].square()).flatten(1).sum(1) / self.tokens
        if self.strategy.distillation:
            with torch.no_grad():
                teacher = self.network.words(known, {}).log_softmax(-1)
            apart = functional.kl_div(logits.log_softmax(-1), teacher, None, None, "none", True)
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

    def _later(self, validation: Corpus) -> Stack | None:
        """The users' validation text; None, if nobody has any."""
        later = stacks.own_messages(validation, self.users)
        return Stack.of(validation, later) if any(map(len, later)) else None

    @torch.no_grad()
    def _validation_loss(self, later: Stack | None, changes: Changes) -> Tensor:
        """Mean loss on validation text, ``(users,)``; NaN where there is none."""
        if later is None:
            return torch.full_like(self.tokens, torch.nan)
        targets = self._tensor(later.targets)
        logits = self.network.words(self._hidden(later, changes), changes)
        return _mean(_nll(logits, targets), targets)

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


def _weights(base: BaseModel, layers: tuple[str, ...]) -> list[str]:
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


def _shapes(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Shape of every weight, as ``(in, out)`` where it is a matrix."""
    return {n: tuple(w.shape[::-1]) for n, w in base.named_parameters() if w.requires_grad}


def _first_changes(
    network: StackedNetwork, base: BaseModel, strategy: Strategy, users: int
) -> Changes:
    """Changes that change nothing yet: zeros, and random numbers in one of two narrow matrices."""
    changes = {}
    for name in _weights(base, strategy.layers):
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
    for name in _weights(base, strategy.layers):
        if name not in importance or importance[name].shape != base.get_parameter(name).shape:
            raise ValueError(f"importance must hold {name}, with the shape of that weight")


def _zeros(weight: Tensor, users: int) -> Tensor:
    return weight.new_zeros(users, *weight.shape).requires_grad_()


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """Some rows of each user, ``(users, n, size)`` at ``(users, m)``."""
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def _nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss of each target, ``(users, targets)``; zero where there is padding."""
    flat = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten().long(), ignore_index=PADDING, reduction="none"
    )
    return flat.view_as(targets)


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


__all__ = ["FineTuned", "fisher", "personalize", "personalized"]
