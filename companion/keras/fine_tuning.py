"""Fine-tuning in Keras: for each user a change of the base model's weights, all users at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

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

FISHER_GROUP = 32  # messages whose gradients are held at once


class FineTuned(keras.Model):
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
        self._changes = {name: tf.constant(array) for name, array in states.arrays.items()}
        self._rows = rows_of(states.users).astype(np.int32)
        self.built = True

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.base.vocabulary_size

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits of the next token at every step, ``(batch, time, word)``; no softmax inside.

        Parameters
        ----------
        inputs : tuple of (tokens, users), or tokens alone
            Token ids ``(batch, time)``, and who wrote each message, ``(batch,)``. The base model
            itself predicts for everybody who is not known, and where no users are given.
        training : bool
            Changes nothing: dropout is off.
        """
        if not isinstance(inputs, tuple | list):
            return self.base(inputs, training=False)
        tokens, users = inputs
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
        if users is None:
            return self.base.log_probs(tokens)
        ids = self.base._tokens(tokens, ndim=2)
        return self._log_probs(ids, self._known(users, len(ids))).numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple:
        """The state before any token of messages by these users, their changes included."""
        changes = {} if users is None else self._changes_of(self._known(users, batch))
        zeros = self.network._zeros(batch, 1)
        return [zeros] * self.base.config.layers, changes

    def step(
        self, tokens: np.ndarray, state: tuple, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple]:
        """Read one token per message ``(batch,)``, going on from `state`.

        Whose weights are used was settled by :meth:`begin`. Returns log-probabilities
        ``(batch, word)`` and the new state; the old one is not changed.
        """
        ids = self.base._tokens(tokens, ndim=1)
        carried, changes = state
        log_probs, carried = self._step(ops.convert_to_tensor(ids), carried, changes)
        return log_probs.numpy(), (carried, changes)

    def states(self) -> PersonalStates:
        """The changes of all known users, as they are kept."""
        arrays = {name: change.numpy() for name, change in self._changes.items()}
        return PersonalStates(base_model.fingerprint(self.base), self.known_users, arrays)

    def with_states(self, states: PersonalStates) -> FineTuned:
        """The same base model for the users of `states` instead.

        Raises
        ------
        ValueError
            If the states were made for another network, or by another method.
        """
        return FineTuned(self.base, states)

    @tf.function(
        input_signature=[tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)]
    )
    def _log_probs(self, tokens: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
        return ops.log_softmax(self((tokens, users)))  # (message, step, word)

    @tf.function(reduce_retracing=True)
    def _step(
        self, tokens: tf.Tensor, carried: stacked.State, changes: Changes
    ) -> tuple[tf.Tensor, stacked.State]:
        hidden, carried = self.network.hidden(tokens[:, None, None], changes, carried)
        logits = self.network.words(hidden[:, 0], changes)[:, 0]  # (batch, word)
        return ops.log_softmax(logits), carried

    def _changes_of(self, users: tf.Tensor) -> Changes:
        """A change for each message, zero for those of users who are not known."""
        last, anybody = len(self._rows) - 1, len(self.known_users)
        users = ops.cast(users, "int32")
        rows = tf.gather(self._rows, ops.where((users >= 0) & (users < last), users, last))
        known = ops.cast(rows < anybody, "float32")
        rows = ops.minimum(rows, anybody - 1)
        return {
            name: ops.cast(tf.gather(change, rows), "float32") * _beside(known, change)
            for name, change in self._changes.items()
        }

    def _known(self, users: np.ndarray, messages: int) -> np.ndarray:
        """Checked ids of known users."""
        ids = check_users(users, messages)
        check_known(ids, self.known_users)
        return ids.astype(np.int32)


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
    objective = _Objective(base, strategy, importance)
    with progress_bar(len(missing), "fine-tuning", "user", progress) as bar:
        for group in stacks.groups(corpus, missing, strategy.batches, group_size):
            arrays = _Group(objective, base, corpus, group).run(validation)
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
        "name": "fine tuned keras",
        "recipe": stacks.recipe(
            base_model.fingerprint(base), corpus, strategy, validation, importance
        ),
        "users": users.tolist(),
        "framework": [keras.__version__, tf.__version__],
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
    total = {name: ops.zeros(network.weights[name].shape) for name in names}
    for some in np.array_split(chosen, -(-len(chosen) // FISHER_GROUP)):
        changes = {name: ops.zeros((len(some), *total[name].shape)) for name in names}
        stack = Stack.of(corpus, list(some[:, None]))
        at = rng.integers(stack.counts)  # one step of each message
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(changes)
            log_probs = _log_probs_at(network, stack, at, changes)  # (messages, word)
            drawn = stacks.draw(log_probs.numpy(), rng)
            reached = ops.sum(tf.gather(log_probs, drawn, batch_dims=1))
        for name, gradient in tape.gradient(reached, changes).items():
            total[name] += ops.sum(ops.square(tf.convert_to_tensor(gradient)), axis=0)
    return {name: (sums / len(chosen)).numpy() for name, sums in total.items()}


def _log_probs_at(
    network: StackedNetwork, stack: Stack, at: np.ndarray, changes: Changes
) -> tf.Tensor:
    """Log-probabilities after one step of each stacked message, ``(messages, word)``."""
    hidden, _ = network.hidden(ops.convert_to_tensor(stack.tokens), changes)
    hidden = tf.gather(hidden[:, 0], at[:, None], batch_dims=1)  # (messages, 1, hidden)
    return ops.log_softmax(network.words(hidden, changes)[:, 0])


class _Part(NamedTuple):
    """Some messages of each user, as the objective reads them."""

    tokens: tf.Tensor
    places: tf.Tensor
    targets: tf.Tensor
    known: tf.Tensor  # hidden states of the base model there, if they are kept


class _Objective:
    """What is minimized for each user. One serves all groups: TensorFlow traces it once."""

    def __init__(
        self,
        base: BaseModel,
        strategy: Strategy,
        importance: Mapping[str, np.ndarray] | None,
    ) -> None:
        self.base, self.network, self.strategy = base, StackedNetwork(base), strategy
        self.pulls = _pulls(base, strategy, importance)
        self.frozen = not {"embedding", "recurrent"} & {*strategy.layers}
        first = _first_changes(base, strategy, users=1)
        changes = {n: tf.TensorSpec((None, *a.shape[1:]), tf.float32) for n, a in first.items()}
        text = _part_spec(base.config.hidden)
        counts = tf.TensorSpec((None,), tf.float32)
        self.gradients = tf.function(self._gradients, input_signature=[text, counts, changes])
        self.validation_loss = tf.function(self._loss, input_signature=[text, changes])
        self.read = tf.function(self._read, input_signature=[tf.TensorSpec((None, None), tf.int32)])

    def _gradients(
        self, part: _Part, counts: tf.Tensor, changes: Changes
    ) -> tuple[tf.Tensor, Changes]:
        """The objective of each user ``(users,)``, and its gradient."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(changes)
            loss = self._value(part, counts, changes)
        found = tape.gradient(loss, changes)  # of the sum; no user's change enters another's loss
        return loss, {name: tf.convert_to_tensor(gradient) for name, gradient in found.items()}

    def _value(self, part: _Part, counts: tf.Tensor, changes: Changes) -> tf.Tensor:
        """Mean loss of a part, pull and divergence, ``(users,)``."""
        hidden = part.known if self.frozen else self._hidden(part, changes)
        logits = self.network.words(hidden, changes)  # (users, targets, word)
        loss = _mean(_nll(logits, part.targets), part.targets)
        for name, pull in self.pulls.items():
            loss += 0.5 * _sum(pull * ops.square(changes[name])) / counts
        if self.strategy.distillation:
            teacher = ops.log_softmax(self.network.words(part.known, {}))
            apart = ops.exp(teacher) * (teacher - ops.log_softmax(logits))
            loss += self.strategy.distillation * _mean(ops.sum(apart, axis=-1), part.targets)
        return loss

    def _loss(self, part: _Part, changes: Changes) -> tf.Tensor:
        """Mean loss of each user, ``(users,)``; NaN where there is no text."""
        logits = self.network.words(self._hidden(part, changes), changes)
        return _mean(_nll(logits, part.targets), part.targets)

    def _read(self, tokens: tf.Tensor) -> tf.Tensor:
        """Hidden states of the base model, ``(batch, time, hidden)``."""
        hidden = self.base.embedding(tokens)
        for layer in self.base.recurrent:
            hidden = layer(hidden)  # (batch, time, hidden)
        return hidden

    def _hidden(self, part: _Part, changes: Changes) -> tf.Tensor:
        """Hidden states where the targets are, ``(users, targets, hidden)``."""
        hidden, _ = self.network.hidden(part.tokens, changes)
        users, messages, time = ops.shape(part.tokens)
        hidden = ops.reshape(hidden, (users, messages * time, hidden.shape[-1]))
        return tf.gather(hidden, part.places, batch_dims=1)


class _Group:
    """Some users while they are adapted together."""

    def __init__(
        self, objective: _Objective, base: BaseModel, corpus: Corpus, users: np.ndarray
    ) -> None:
        self.objective, self.strategy = objective, objective.strategy
        self.corpus, self.users = corpus, users
        self.own = stacks.own_messages(corpus, self.users)
        tokens = [(corpus.lengths[own] + 1).sum() for own in self.own]
        self.tokens = np.array(tokens, np.float32)
        first = _first_changes(base, self.strategy, len(users))
        self.variables = {name: tf.Variable(change) for name, change in first.items()}
        keep = objective.frozen or self.strategy.distillation
        self.read = self._read_once() if keep else None

    @property
    def changes(self) -> Changes:
        """The changes so far."""
        return {name: tf.convert_to_tensor(w) for name, w in self.variables.items()}

    def run(self, validation: Corpus | None) -> dict[str, np.ndarray]:
        """Adapt to the text, and give the changes of the users."""
        strategy = self.strategy
        later = self._later(validation) if strategy.validates else None
        adam = self._optimizer()
        best, lowest = {}, np.full(len(self.users), np.inf, np.float32)
        for parts in stacks.passes(self.corpus, self.users, strategy):
            for part in parts:
                self._step(part, adam)
            if strategy.early_stopping:
                loss, changes = self._validation_loss(later, self.changes), self.changes
                best = _where(~(loss >= lowest), changes, best or changes)
                lowest = np.fmin(loss, lowest)
        best = best or self.changes
        if strategy.gate:
            nothing = {name: ops.zeros_like(change) for name, change in best.items()}
            won = self._validation_loss(later, best) < self._validation_loss(later, nothing)
            best = _where(won, best, nothing)
        return {name: change.numpy().astype(STORED) for name, change in best.items()}

    def _optimizer(self) -> _Adam:
        """Adam for the changes of all users."""
        strategy = self.strategy
        steps = strategy.passes * stacks.parts(self.corpus, self.users, strategy.batches)[0]
        rates = {n: strategy.learning_rate * _scale(n, strategy) for n in self.variables}
        return _Adam(self.variables, rates, int(steps))

    def _step(self, part: list[np.ndarray], adam: _Adam) -> None:
        """One step for every user; what one user loses moves no weight of another's."""
        stack, known = Stack.of(self.corpus, part), None
        if self.read is not None:
            columns = stack.columns(self.corpus.lengths, part, self.own)
            known = tf.gather(self.read, columns, batch_dims=1)  # (users, targets, hidden)
        text = self._part(stack, known)
        loss, gradients = self.objective.gradients(text, self.tokens, self.changes)
        self._check_finite(loss.numpy())
        adam.apply(gradients)

    def _part(self, stack: Stack, known: tf.Tensor | None = None) -> _Part:
        """A stack, with an empty tensor where nothing is known beforehand."""
        if known is None:
            known = ops.zeros((len(self.users), 0, self.objective.network.config.hidden))
        arrays = stack.tokens, stack.places, stack.targets
        return _Part(*map(tf.constant, arrays), known)

    def _read_once(self) -> tf.Tensor:
        """Hidden states of all text in the base model, ``(users, targets, hidden)``."""
        corpus, width = self.corpus, int(self.tokens.max())
        size = self.objective.network.config.hidden
        read = np.zeros((len(self.own) * width, size), np.float32)
        for messages, places in stacks.reading(corpus, self.own, width):
            inputs, targets = corpus.padded(messages)
            read[places] = self.objective.read(inputs).numpy()[targets != PADDING]
        return tf.constant(read.reshape(-1, width, size))

    def _later(self, validation: Corpus) -> _Part | None:
        """The users' validation text; None, if nobody has any."""
        later = stacks.own_messages(validation, self.users)
        return self._part(Stack.of(validation, later)) if any(map(len, later)) else None

    def _validation_loss(self, later: _Part | None, changes: Changes) -> np.ndarray:
        """Mean loss on validation text, ``(users,)``; NaN where there is none."""
        if later is None:
            return np.full(len(self.users), np.nan, np.float32)
        return self.objective.validation_loss(later, changes).numpy()

    def _check_finite(self, loss: np.ndarray) -> None:
        wrong = np.flatnonzero(~np.isfinite(loss))
        if len(wrong):
            raise FloatingPointError(
                f"the loss of user {self.users[wrong[0]]} is {loss[wrong[0]]}: try a learning_rate "
                f"below {self.strategy.learning_rate:g}"
            )


class _Adam:
    """Adam as PyTorch has it, its learning rate falling to zero, each weight with its own rate.

    The optimizers of Keras take longer to look after one group's weights than to move them.
    """

    def __init__(
        self, variables: Mapping[str, tf.Variable], rates: Mapping[str, float], steps: int
    ) -> None:
        self.variables, self.rates, self.steps, self.done = variables, rates, steps, 0
        self.first, self.second = (
            {name: tf.Variable(ops.zeros_like(weight)) for name, weight in variables.items()}
            for _ in ADAM_BETAS
        )

    def apply(self, gradients: Changes) -> None:
        """Take one step."""
        left = 1 - self.done / self.steps
        self.done += 1
        powers = [beta**self.done for beta in ADAM_BETAS]
        for name, gradient in gradients.items():
            tf.raw_ops.ResourceApplyAdam(
                var=self.variables[name].handle,
                m=self.first[name].handle,
                v=self.second[name].handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=left * self.rates[name],
                beta1=ADAM_BETAS[0],
                beta2=ADAM_BETAS[1],
                epsilon=ADAM_EPSILON * (1 - powers[1]) ** 0.5,  # TensorFlow corrects afterwards
                grad=gradient,
            )


def _part_spec(hidden: int) -> _Part:
    """A part with any number of users, messages, steps and targets."""
    return _Part(
        tf.TensorSpec((None, None, None), tf.int32),
        tf.TensorSpec((None, None), tf.int64),
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((None, None, hidden), tf.float32),
    )


def _weights(base: BaseModel, layers: tuple[str, ...]) -> list[str]:
    """Names of the weights of these layers.

    Raises
    ------
    ValueError
        If there are none: an output layer that is the embedding is changed with that.
    """
    prefixes = {"embedding": "embedding", "recurrent": "recurrent/", "bias": "output/bias"}
    names = list(base._named())
    matrices = [name for name in names if name in ("projection/kernel", "output/kernel")]
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
    shapes = {name: tuple(weight.shape) for name, weight in base._named().items()}
    return shapes | {"embedding": shapes["embedding"][::-1]}


def _first_changes(base: BaseModel, strategy: Strategy, users: int) -> dict[str, np.ndarray]:
    """Changes that change nothing yet: zeros, and random numbers in one of two narrow matrices."""
    changes, shapes, named = {}, _shapes(base), base._named()
    for name in _weights(base, strategy.layers):
        if strategy.rank and not name.endswith("bias"):  # that of a GRU has two axes, too
            inputs, outputs = shapes[name]
            down = stacks.first_down(inputs, strategy.rank, strategy.seed)
            changes[name + DOWN] = np.tile(down, (users, 1, 1))
            changes[name + UP] = np.zeros((users, strategy.rank, outputs), np.float32)
        else:
            changes[name] = np.zeros((users, *named[name].shape), np.float32)
    return changes


def _pulls(
    base: BaseModel, strategy: Strategy, importance: Mapping[str, np.ndarray] | None
) -> dict[str, tf.Tensor]:
    """How strongly each number is held, but for the narrow matrices that do not start at zero."""
    pulls = {}
    for name in _first_changes(base, strategy, users=1) if strategy.pull else ():
        if name.endswith(DOWN):
            continue
        held = _scale(name, strategy) ** -2 if importance is None else importance[name]
        pulls[name] = tf.constant(strategy.pull * held, tf.float32)
    return pulls


def _scale(name: str, strategy: Strategy) -> float:
    """How many times as far as a matrix this weight moves."""
    return strategy.bias_scale if name == "output/bias" else 1.0


def _check_importance(
    base: BaseModel, strategy: Strategy, importance: Mapping[str, np.ndarray] | None
) -> None:
    if importance is None:
        return
    for name in _weights(base, strategy.layers):
        if name not in importance or importance[name].shape != tuple(base._named()[name].shape):
            raise ValueError(f"importance must hold {name}, with the shape of that weight")


def _nll(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Loss of each target, ``(users, targets)``."""
    # Written out, as in masked_loss, this takes two thirds of the time of TensorFlow's own
    return ops.logsumexp(logits, axis=-1) - tf.gather(logits, targets, batch_dims=2)


def _mean(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean over each user's targets, ``(users,)``; NaN for a user without any."""
    inside = ops.cast(ops.not_equal(targets, PADDING), values.dtype)
    return ops.sum(values * inside, axis=1) / ops.sum(inside, axis=1)


def _sum(values: tf.Tensor) -> tf.Tensor:
    """Sum of all numbers of each user, ``(users,)``."""
    return ops.sum(values, axis=range(1, len(values.shape)))


def _where(chosen: np.ndarray, first: Changes, second: Changes) -> Changes:
    """The first changes for the users chosen, the second for the others."""
    return {
        name: ops.where(_beside(chosen, change), change, second[name])
        for name, change in first.items()
    }


def _beside(values: Any, change: tf.Tensor) -> tf.Tensor:
    """One value a user ``(users,)``, with as many axes as the change has."""
    return ops.reshape(values, (-1, *[1] * (len(change.shape) - 1)))


__all__ = ["FineTuned", "fisher", "personalize", "personalized"]
