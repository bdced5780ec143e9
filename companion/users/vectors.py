"""Models that keep a vector of each user: states, vectors of new users, saving and loading."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from companion.corpora import Corpus
from companion.keeping import files
from companion.settings import BaseModelConfig

from . import models, states
from .lifecycle import Life, check_text
from .methods import STORED, FittingConfig, HypernetworkConfig, UserEmbeddingConfig
from .models import LanguageModel
from .states import PersonalStates, table_of

V = TypeVar("V", bound="VectorModel")
_NETWORK = "network/"  # before the names of the network's weights in a file


class VectorModel(LanguageModel):
    """A model that keeps one vector of each user, and a last one for *anyone*.

    A twin says what its table holds, how a model on the same network is made for other users, which
    network the states are for, and how vectors are fitted: ``_table``, ``_like``, ``_fingerprint``
    and ``_fitted``.
    """

    network: Any
    vectors: Any

    def states(self) -> PersonalStates:
        """The vectors of all known users, ``{"vector": (users, size)}``, as they are kept."""
        vectors = self._table()[:-1].astype(STORED)
        return PersonalStates(self._fingerprint(), self.known_users, {"vector": vectors})

    def with_states(self, states: PersonalStates) -> Any:
        """The same network for the users of `states` instead; weights are shared, not copied.

        Users whom this model knows keep their names.

        Raises
        ------
        ValueError
            If the states were made for another network, or by another method.
        """
        states.check_made_for(self._fingerprint())
        other = self._like(states.users, table_of(states, self._table()[-1:]))
        other.vocabulary, other.user_names = self.vocabulary, self._names_of(states.users)
        return other

    def _table(self) -> np.ndarray:
        """One row a user and a last one for anyone, ``(users + 1, size)`` float32."""
        raise NotImplementedError

    def _like(self, users: np.ndarray, vectors: np.ndarray) -> Any:
        """A model on the same network for other users."""
        raise NotImplementedError

    def _fingerprint(self) -> str:
        """Of the network that the states are made for."""
        raise NotImplementedError

    def _fitted(self, corpus: Corpus, config: FittingConfig) -> np.ndarray:
        """Vectors of everybody who has a message in `corpus`, ``(users, size)``."""
        raise NotImplementedError


def fit(
    model: VectorModel, corpus: Corpus, config: FittingConfig = FittingConfig()
) -> PersonalStates:
    """Vectors of new users, fitted to their messages, the network being frozen.

    Parameters
    ----------
    model : VectorModel
        User embeddings, or a hypernetwork.
    corpus : Corpus
        The messages, of one user or of many; all users are fitted at once.
    config : FittingConfig

    Returns
    -------
    PersonalStates
        Of every user who has a message in `corpus`: ``{"vector": (users, size)}``.

    Raises
    ------
    ValueError
        If the corpus is empty or has another vocabulary than the model, if the model knows fewer
        than two users, whose vectors then have no spread, or if a fitted number is not finite.

    Notes
    -----
    Where no vector enters the recurrent layers, all hidden states are kept: 512 bytes a token by
    default.
    """
    check_text(model.vocabulary, model.vocabulary_size, corpus)
    if len(model.known_users) < 2:
        raise ValueError(f"model must know at least 2 users, not {len(model.known_users)}")
    vectors = model._fitted(corpus, config).astype(STORED)
    return PersonalStates(model._fingerprint(), corpus.active_users, {"vector": vectors})


@dataclass(frozen=True)
class VectorLife(Life[V]):
    """The life of models that keep vectors; see :func:`vector_life`."""

    def fitted_vectors(
        self, model: V, corpus: Corpus, config: FittingConfig = FittingConfig()
    ) -> PersonalStates:
        """What :func:`fit` gives, from the cache folder if it was fitted before."""
        users = files.fingerprint({"vectors": model._table()})
        key = {"model": model._fingerprint(), "users": users, "config": config}
        return self.fitted(corpus, lambda: fit(model, corpus, config), **key)


def vector_life(
    kind: Callable[..., V],
    network: Callable[..., Any],
    config: type[UserEmbeddingConfig | HypernetworkConfig],
    called: tuple[str, str],
    framework: tuple[ModuleType, ...],
    base_model: ModuleType,
    code: tuple[ModuleType, ...],
) -> VectorLife[V]:
    """How models of this kind are kept: a network and the vectors of its users.

    Parameters
    ----------
    kind : callable
        Made as ``kind(network, users, vectors)``.
    network : callable
        Made as ``network(vocabulary_size, config, base_config)``.
    config : type
        Of what says how the network reads the vectors.
    called : (str, str)
        The method and the framework, such as ``("user embedding", "PyTorch")``.
    framework, code : tuple of modules
        As in :class:`companion.users.lifecycle.Life`.
    base_model : module
        The twin's, which reads and assigns weights.
    """

    def arrays(model: V) -> dict[str, np.ndarray]:
        weights = base_model.weights_of(model.network)
        named = {_NETWORK + name: weight for name, weight in weights.items()}
        return {**named, "vectors": model._table().astype(STORED), "users": model.known_users}

    def make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> V:
        users, vectors = arrays.pop("users"), arrays.pop("vectors").astype(np.float32)
        base = BaseModelConfig(**settings["base"])
        made = network(settings["vocabulary_size"], config(**settings["config"]), base)
        named = {name.removeprefix(_NETWORK): array for name, array in arrays.items()}
        base_model.assign(made, named, path)
        return kind(made, users, vectors)

    method, twin = called
    kind_and_name = f"{method} in {twin}", f"{method} {twin.lower()}"
    code = *code, base_model, sys.modules[__name__], states, models
    return VectorLife(*kind_and_name, framework, code, arrays, settings_of, make)


def settings_of(model: Any) -> dict[str, Any]:
    """What decides a model that reads vectors besides its arrays."""
    return {
        "vocabulary_size": model.vocabulary_size,
        "config": asdict(model.network.reading),
        "base": asdict(model.network.config),
    }
