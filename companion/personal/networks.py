"""Networks that know their users, by the names of framework and method; anyone is welcome."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from companion.corpora import Corpus, Split, Vocabulary
from companion.history import History
from companion.settings import TrainingConfig
from companion.users import PersonalStates
from companion.users.methods import HYPERNETWORK_TRAINING, USER_EMBEDDING_TRAINING
from companion.users.states import rows_of

from .settings import FRAMEWORKS, PersonalizerSettings

PACKAGES = {"pytorch": "torch", "keras": "keras"}
VECTORS = {
    "user_embedding": ("user_embeddings", USER_EMBEDDING_TRAINING),
    "hypernetwork": ("hypernetworks", HYPERNETWORK_TRAINING),
}
NOBODY = 0  # whose vector of zeros stands where a table must not be empty


def chosen_framework(name: str | None) -> str:
    """The framework asked for; where none is, PyTorch, or Keras where PyTorch is not installed.

    Raises
    ------
    ValueError
        If it is no framework.
    ImportError
        If it is not installed; the message says how to get it.
    """
    if name is None:
        name = next((one for one in FRAMEWORKS if find_spec(PACKAGES[one])), FRAMEWORKS[0])
    if name not in FRAMEWORKS:
        raise ValueError(f"framework must be one of {FRAMEWORKS}, not {name!r}")
    if not find_spec(PACKAGES[name]):
        raise ImportError(
            f"framework={name!r} is not installed: pip install 'one-network-many-users[{name}]'"
        )
    return name


def twin(framework: str, module: str) -> ModuleType:
    """A module of one of the twins, loaded now."""
    return importlib.import_module(f"companion.{framework}.{module}")


@dataclass(frozen=True)
class Trial:
    """What was tried for a personal network, and what it gave.

    Parameters
    ----------
    rate : float
        Learning rate.
    passes : int
        Passes over the text.
    loss : float
        On validation text, the n-gram mixed in, nats per token.
    """

    rate: float
    passes: int
    loss: float = float("nan")


class PersonalNetwork:
    """A network and the states of some users; whoever has none is read as anyone.

    Parameters
    ----------
    framework, method : str
        Which twin, and one of its networks; `method` is ``""`` for a base model.
    network : Model of the twin
        A base model, or a network that reads vectors, without anybody's.
    states : PersonalStates, optional
        Nobody has one, if not given.
    """

    def __init__(
        self, framework: str, method: str, network: Any, states: PersonalStates | None = None
    ) -> None:
        self.framework, self.method, self.network, self.states = framework, method, network, states
        self._seated = self._with(states)

    @property
    def vocabulary_size(self) -> int:
        """Words the network reads and predicts, special tokens included."""
        return self.network.vocabulary_size

    @property
    def fingerprint(self) -> str:
        """Of the network, not of its users: what their states are made for."""
        module = "user_embeddings" if self.method in VECTORS else "base_model"
        return twin(self.framework, module).fingerprint(self.network)

    @property
    def known_users(self) -> np.ndarray:
        """Ids of the users with a state of their own, ascending."""
        return np.zeros(0, dtype=np.int64) if self.states is None else self.states.users

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the next token, ``(message, step, word)``."""
        known = self._known(users, len(tokens))
        if known.all() or not known.any():
            return self._seated.log_probs(tokens, users if known.all() else None)
        told = self._seated.log_probs(tokens[known], np.asarray(users)[known])
        found = np.empty((*tokens.shape, told.shape[-1]), dtype=told.dtype)
        found[known], found[~known] = told, self._seated.log_probs(tokens[~known], None)
        return found

    def begin(self, batch: int, users: np.ndarray | None = None) -> Any:
        """The state before any token of messages by these users, all of them known or none."""
        known = self._known(users, batch)
        if known.any() and not known.all():
            raise ValueError("users must all have a state of their own, or none of them")
        return self._seated.begin(batch, users if known.all() else None)

    def step(
        self, tokens: np.ndarray, state: Any, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Read one token per message; log-probabilities ``(batch, word)`` and the new state."""
        known = self._known(users, len(tokens)).all()
        return self._seated.step(tokens, state, users if known else None)

    def with_states(self, states: PersonalStates | None) -> PersonalNetwork:
        """The same network with the states of other users."""
        return PersonalNetwork(self.framework, self.method, self.network, states)

    def without(self, user: int) -> PersonalNetwork:
        """The same network without the state of one user."""
        if user not in self.known_users:
            return self
        others = np.setdiff1d(self.known_users, [user])
        return self.with_states(self.states.of(others) if len(others) else None)  # type: ignore[union-attr]

    def fitted(
        self, corpus: Corpus, settings: PersonalizerSettings, trial: Trial
    ) -> PersonalStates:
        """States of everybody who has a message in `corpus`, the network staying as it is."""
        if self.method == "adapter":
            strategy = replace(settings.adapter, learning_rate=trial.rate, passes=trial.passes)
            personalize = twin(self.framework, "fine_tuning").personalize
            return personalize(self.network, corpus, strategy=strategy, progress=False)
        return twin(self.framework, "user_embeddings").fit(self._seated, corpus)

    def rename(self, vocabulary: Vocabulary) -> None:
        """Say which words the ids stand for."""
        self.network.vocabulary = vocabulary

    def save(self, path: Path) -> None:
        """Write the network, its vocabulary and nobody's state."""
        _module(self.framework, self.method).save(self.network, path)

    def _known(self, users: np.ndarray | None, messages: int) -> np.ndarray:
        if users is None:
            return np.zeros(messages, dtype=bool)
        known = self.known_users
        return rows_of(known, np.asarray(users)) < len(known)

    def _with(self, states: PersonalStates | None) -> Any:
        if states is None:
            return self.network
        if self.method == "adapter":
            return twin(self.framework, "fine_tuning").FineTuned(self.network, states)
        return self.network.with_states(states)


def load_network(framework: str, method: str, path: Path) -> PersonalNetwork:
    """What :meth:`PersonalNetwork.save` wrote: a network without anybody's state."""
    return PersonalNetwork(framework, method, _module(framework, method).load(path))


def train_base(
    framework: str, data: Split, settings: PersonalizerSettings, progress: bool | None
) -> tuple[PersonalNetwork, History]:
    """The base network of everybody, trained."""
    model = twin(framework, "base_model").BaseModel(
        len(data.vocabulary), settings.base, seed=settings.seed
    )
    training = settings.training_on(len(data.train))
    history = twin(framework, "training").train(model, data, training, progress)
    model.vocabulary = data.vocabulary
    return PersonalNetwork(framework, "", model), history


def train_personal(
    method: str,
    base: PersonalNetwork,
    data: Split,
    settings: PersonalizerSettings,
    trial: Trial,
    progress: bool | None,
) -> PersonalNetwork:
    """A personal network on top of a base network, trained at one rate for some passes."""
    framework = base.framework
    if method == "adapter":
        empty = PersonalNetwork(framework, method, base.network)
        return empty.with_states(empty.fitted(data.train, settings, trial))
    module, training = twin(framework, VECTORS[method][0]), VECTORS[method][1]
    training = replace(training, learning_rate=trial.rate, epochs=trial.passes, seed=settings.seed)
    config = getattr(settings, method)
    model = module.from_base(base.network, data.known_users, config, settings.seed)
    twin(framework, "training").train(model, data, training, progress)
    return PersonalNetwork(framework, method, _without_users(model), model.states())


def own_rate(method: str, settings: PersonalizerSettings) -> float:
    """The learning rate that a method has by default."""
    if method == "adapter":
        return settings.adapter.learning_rate
    training: TrainingConfig = VECTORS[method][1]
    return training.learning_rate


def _without_users(model: Any) -> Any:
    """The same network without anybody's vector, but for the zeros that a table must hold."""
    vectors = np.zeros((1, model.network.reading.size), dtype=np.float16)
    nobody = PersonalStates(model.states().model, np.array([NOBODY]), {"vector": vectors})
    return model.with_states(nobody)


def _module(framework: str, method: str) -> ModuleType:
    """Where the networks of a method are saved and loaded: an adapter's is a base model."""
    return twin(framework, VECTORS[method][0] if method in VECTORS else "base_model")


__all__ = [
    "PersonalNetwork",
    "Trial",
    "chosen_framework",
    "load_network",
    "own_rate",
    "train_base",
    "train_personal",
]
