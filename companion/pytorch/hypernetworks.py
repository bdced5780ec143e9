"""Hypernetworks in PyTorch: a network that writes another network's weights for each user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from companion.corpora import Split
from companion.history import History
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import writing
from companion.users.methods import HYPERNETWORK_TRAINING, HypernetworkConfig
from companion.users.vectors import fit
from companion.users.writing import Weights, generators_of

from . import generators, stacked, user_embeddings
from .base_model import BaseModel, rows_among
from .conditioned import ConditionedNetwork
from .generators import Bias
from .stacked import Changes, StackedNetwork
from .training import evaluating
from .user_embeddings import UserEmbedding, fingerprint


class GeneratedNetwork(ConditionedNetwork):
    """The base model's network, with weights that are written anew for every vector.

    What the generators write is a change of the base model's weights, of the same form as
    fine-tuning learns. At first it is zero. It is written once for a message, not at every step.

    Parameters
    ----------
    vocabulary_size : int
    config : HypernetworkConfig
        The size of the vector, which weights are written, and how.
    base : BaseModelConfig
    seed : int

    Raises
    ------
    ValueError
        If the output matrix is to be written, and the base model's is its embedding.
    """

    reading: HypernetworkConfig

    def __init__(
        self,
        vocabulary_size: int,
        config: HypernetworkConfig = HypernetworkConfig(),
        base: BaseModelConfig = BaseModelConfig(),
        seed: int = 0,
    ) -> None:
        super().__init__(vocabulary_size, config, base, seed)

    @property
    def stacked(self) -> StackedNetwork:
        """The network of each message, computed together, with the weights as they are now."""
        return _TrainedNetwork(self)

    def hidden(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        if not self.reads_early:  # the framework's own layer, which is quicker
            return super().hidden(tokens, vectors)
        hidden, _ = self.stacked.hidden(tokens[:, None], self.recurrent_changes(vectors))
        return hidden[:, 0]

    def words(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        """Logits ``(batch, time, word)`` of states ``(batch, time, hidden)``.

        The vectors are ``(batch, 1, size)``: the same at every step.
        """
        return self.stacked.words(self.dropout(hidden), self.output_changes(vectors[:, 0]))

    def begin_with(self, vectors: Tensor) -> tuple[Any, ...]:
        """The state before any token; its last part is what was written for these vectors."""
        return None, self.recurrent_changes(vectors) | self.output_changes(vectors)

    def advance(self, tokens: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple]:
        """Logits ``(batch, word)`` after one more token ``(batch,)``, and the state then."""
        (carried, changes), stacked = state, self.stacked
        hidden, carried = stacked.hidden(tokens[:, None, None], changes, carried)
        return stacked.words(hidden[:, 0], changes)[:, 0], (carried, changes)

    @property
    def reads_early(self) -> bool:
        """Whether weights of the recurrent layers are written."""
        return len(self._of("recurrent")) > 0

    def recurrent_changes(self, vectors: Tensor) -> Changes:
        """Changes of the recurrent layers' weights, for vectors ``(batch, size)``."""
        return _written(self._of("recurrent"), vectors)

    def output_changes(self, vectors: Tensor) -> Changes:
        """Changes of the weights behind the recurrent layers, for vectors ``(batch, size)``."""
        return _written(self._of("output"), vectors)

    def _of(self, part: str) -> nn.ModuleList:
        """The generators of the weights of one part of the network."""
        return cast("nn.ModuleList", self.generators[part])  # a ModuleDict says Module only

    def _build(self, config: BaseModelConfig) -> None:
        """The base model's layers, and the generators of their weights."""
        self.reading.check_writable(config)
        super()._build(config)
        shapes = {name: tuple(w.shape) for name, w in self.named_parameters()}
        inputs, hiddens, gates = (
            tuple(name for name in shapes if part in name)
            for part in ("weight_ih", "weight_hh", "bias_ih")
        )
        last = "projection.weight" if self.projection is not None else "output.weight"
        weights = Weights(inputs, hiddens, gates, last, "output.bias", shapes)
        parts = generators_of(weights, self.reading, generators)
        self.generators = nn.ModuleDict({n: nn.ModuleList(made) for n, made in parts.items()})

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        super()._initialize(generator)
        for part in self.generators:
            for each in self._of(part):
                cast("Bias", each).initialize(generator)  # as every generator has it


class _TrainedNetwork(StackedNetwork):
    """The network of each message, the base model's weights being trained, with dropout."""

    def __init__(self, network: BaseModel) -> None:
        self.config, self.dropout = network.config, network.dropout
        self.weights = dict(network.named_parameters())

    def _gates(self, inputs: Tensor, name: str, changes: Changes) -> Tensor:
        """Dropout of all that a recurrent layer reads from below."""
        return super()._gates(self.dropout(inputs), name, changes)


class Hypernetwork(UserEmbedding):
    """A network whose weights are written for whoever is typing, from a learned vector of theirs.

    Parameters
    ----------
    network : GeneratedNetwork
    users : array_like
        Ids of the users it knows, ascending.
    vectors : np.ndarray
        One row a user and a last one for *anyone*, ``(users + 1, size)``.
    """

    network: GeneratedNetwork

    def for_user(self, user: int | None = None) -> BaseModel:
        """A plain model with this user's weights, written once: it costs what a base model costs.

        Parameters
        ----------
        user : int, optional
            A known user; anyone, where not given.

        Returns
        -------
        companion.pytorch.base_model.BaseModel
            A copy: it does not change when this network is trained on.

        Raises
        ------
        TypeError, ValueError
            If the user is not known.
        """
        model = BaseModel(self.vocabulary_size, self.network.config).to(self.vectors.weight)
        users = None if user is None else np.array([user])
        with evaluating(self):
            vector = self.vectors(rows_among(self.ids, self._known(users, 1), 1))  # (1, size)
            changes = self.network.begin_with(vector)[-1]
        with torch.no_grad():
            stacked = self.network.stacked
            for name, weight in model.named_parameters():
                weight.copy_(stacked.changed(name, changes)[0])
        model.vocabulary = self.vocabulary
        return model.eval()


def trained(
    data: Split,
    base: BaseModel,
    config: HypernetworkConfig = HypernetworkConfig(),
    training: TrainingConfig = HYPERNETWORK_TRAINING,
    progress: bool | None = None,
) -> tuple[Hypernetwork, History]:
    """A hypernetwork trained on `data` from a base model on, kept as base models are.

    Parameters
    ----------
    data : Split
    base : companion.pytorch.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : HypernetworkConfig
    training : TrainingConfig
        Its seed decides the first vectors and generators too.
    progress : bool, optional
        As in :func:`companion.pytorch.base_model.trained`, whose results it has.
    """
    return user_embeddings.trained_as(LIFE, from_base, data, base, config, training, progress)


def from_base(
    base: BaseModel,
    users: Sequence[int] | np.ndarray,
    config: HypernetworkConfig = HypernetworkConfig(),
    seed: int = 0,
) -> Hypernetwork:
    """An untrained hypernetwork on top of a base model: at first, it predicts as that does.

    The first vectors are drawn at random, since all changes that are written start at zero.
    """
    network = GeneratedNetwork(base.vocabulary_size, config, base.config, seed)
    return user_embeddings.on_top(Hypernetwork, network, base, users, seed)


def _written(made: nn.ModuleList, vectors: Tensor) -> Changes:
    """What these generators write for vectors ``(batch, size)``."""
    written: Changes = {}
    for generator in made:
        written |= generator(vectors)
    return written


LIFE = user_embeddings.life_of(
    Hypernetwork,
    GeneratedNetwork,
    HypernetworkConfig,
    "hypernetwork",
    (sys.modules[__name__], generators, stacked, writing),
)
fitted, save, load = LIFE.fitted_vectors, LIFE.save, LIFE.load


__all__ = [
    "GeneratedNetwork",
    "Hypernetwork",
    "fingerprint",
    "fit",
    "fitted",
    "from_base",
    "load",
    "save",
    "trained",
]
