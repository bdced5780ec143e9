"""Hypernetworks in Keras: a network that writes another network's weights for each user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from companion.corpora import Split
from companion.history import History
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import writing
from companion.users.methods import HYPERNETWORK_TRAINING, HypernetworkConfig
from companion.users.stacks import DOWN, SCALE
from companion.users.vectors import fit
from companion.users.writing import Weights, generators_of

from . import generators, stacked, user_embeddings
from .base_model import BaseModel
from .conditioned import ConditionedNetwork
from .stacked import Changes, StackedNetwork, State
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
        config.check_writable(base)
        super().__init__(vocabulary_size, config, base, seed)
        seeds = keras.random.SeedGenerator(seed)
        for part in self.generators.values():
            for each in part:
                each.initialize(seeds)
        self.stacked = _TrainedNetwork(self)

    def build(self, input_shape: Any = None) -> None:
        """The base model's weights, and the generators of them."""
        super().build()
        named = super()._named()
        layers = [f"recurrent/{place}" for place in range(self.config.layers)]
        parts = ("kernel", "recurrent_kernel", "bias")
        inputs, hiddens, gates = (tuple(f"{layer}/{part}" for layer in layers) for part in parts)
        last = "output/kernel" if self.projection is None else "projection/kernel"
        shapes = {name: tuple(weight.shape) for name, weight in named.items()}
        shapes |= {name: shapes[name][-1:] for name in gates}  # of a GRU's two rows, one is written
        weights = Weights(inputs, hiddens, gates, last, "output/bias", shapes)
        self.generators = generators_of(weights, self.reading, generators)

    def hidden(self, tokens: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        if not self.reads_early:  # the framework's own layer
            return super().hidden(tokens, vectors)
        hidden, _ = self.stacked.hidden(tokens[:, None], self.recurrent_changes(vectors))
        return hidden[:, 0]

    def words(self, hidden: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Logits ``(batch, time, word)`` of states ``(batch, time, hidden)``.

        The vectors are ``(batch, 1, size)``: the same at every step.
        """
        changes = self.output_changes(vectors[:, 0])
        return self.stacked.words(self.dropouts[-1](hidden), changes)

    def begin_with(self, vectors: tf.Tensor) -> tuple[State, Changes]:
        """The state before any token; its last part is what was written for these vectors."""
        zeros = self.stacked._zeros(len(vectors), 1)
        changes = self.recurrent_changes(vectors) | self.output_changes(vectors)
        return [zeros] * self.config.layers, changes

    def advance(self, tokens: tf.Tensor, state: tuple[State, Changes]) -> tuple[tf.Tensor, tuple]:
        """Logits ``(batch, word)`` after one more token ``(batch,)``, and the state then."""
        carried, changes = state
        hidden, carried = self.stacked.hidden(tokens[:, None, None], changes, carried)
        return self.stacked.words(hidden[:, 0], changes)[:, 0], (carried, changes)

    @property
    def reads_early(self) -> bool:
        """Whether weights of the recurrent layers are written."""
        return len(self.generators["recurrent"]) > 0

    def recurrent_changes(self, vectors: tf.Tensor) -> Changes:
        """Changes of the recurrent layers' weights, for vectors ``(batch, size)``."""
        written = _written(self.generators["recurrent"], vectors)
        return _of_gru(written) if self.config.cell == "gru" else written

    def output_changes(self, vectors: tf.Tensor) -> Changes:
        """Changes of the weights behind the recurrent layers, for vectors ``(batch, size)``."""
        return _written(self.generators["output"], vectors)

    def _named(self) -> dict[str, keras.Variable]:
        weights = super()._named()
        for part, made in self.generators.items():
            for place, generator in enumerate(made):
                named = _weights_of(generator).items()
                weights |= {f"generators/{part}/{place}/{name}": w for name, w in named}
        return weights


class _TrainedNetwork(StackedNetwork):
    """The network of each message, the base model's weights being trained, with dropout."""

    def __init__(self, network: BaseModel) -> None:
        super().__init__(network)
        self.dropouts = {f"recurrent/{place}": d for place, d in enumerate(network.dropouts)}

    def _gates(self, inputs: tf.Tensor, layer: str, bias: tf.Tensor, changes: Changes) -> tf.Tensor:
        """Dropout of all that a recurrent layer reads from below."""
        return super()._gates(self.dropouts[layer](inputs), layer, bias, changes)


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

    def for_user(self, user: int | None = None) -> BaseModel:
        """A plain model with this user's weights, written once: it costs what a base model costs.

        Parameters
        ----------
        user : int, optional
            A known user; anyone, where not given.

        Returns
        -------
        companion.keras.base_model.BaseModel
            A copy: it does not change when this network is trained on.

        Raises
        ------
        TypeError, ValueError
            If the user is not known.
        """
        model = BaseModel(self.vocabulary_size, self.network.config)
        vector = self._vectors_of(None if user is None else np.array([user]), 1)  # (1, size)
        _, changes = self.network.begin_with(vector)
        for name, weight in model._named().items():
            weight.assign(self.network.stacked.changed(name, changes)[0])
        model.vocabulary = self.vocabulary
        return model


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
    base : companion.keras.base_model.BaseModel
        Where the network's weights start; all of them are trained on. It is not changed.
    config : HypernetworkConfig
    training : TrainingConfig
        Its seed decides the first vectors and generators too.
    progress : bool, optional
        As in :func:`companion.keras.base_model.trained`, whose results it has.
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


def _written(made: Sequence[keras.layers.Layer], vectors: tf.Tensor) -> Changes:
    """What these generators write for vectors ``(batch, size)``."""
    written: Changes = {}
    for generator in made:
        written |= generator(vectors)
    return written


def _weights_of(generator: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Weights of a generator, by the names that it gives them and their layers."""
    found = {}
    for name, part in vars(generator).items():
        if isinstance(part, keras.Variable):
            found[name] = part
        elif isinstance(part, keras.layers.Layer):
            found |= {f"{name}/{weight.name}": weight for weight in part.weights}
    return found


def _of_gru(written: Changes) -> Changes:
    """What was written, with the gates and the bias of a GRU as Keras has them.

    The reset gate is written first, as PyTorch has it: a chunk holds the same numbers in both. Of
    the two rows of a bias, that of the inputs is written.
    """
    changes: Changes = {}
    for name, change in written.items():
        if not name.endswith((DOWN, SCALE)):
            reset, update, new = ops.split(change, 3, axis=-1)
            change = ops.concatenate([update, reset, new], axis=-1)
        if name.endswith("bias"):
            change = ops.stack([change, ops.zeros_like(change)], axis=1)  # (batch, 2, gates)
        changes[name] = change
    return changes


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
