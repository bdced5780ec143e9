"""Weights from one twin to the other. The only module that loads both frameworks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from companion.keras import base_model as in_keras
from companion.keras import conditioned as conditioned_in_keras
from companion.keras import fine_tuning as tuned_in_keras
from companion.keras import hypernetworks as hyper_in_keras
from companion.keras import reading as reading_in_keras
from companion.keras import user_embeddings as embeddings_in_keras
from companion.keras import user_heads as heads_in_keras
from companion.keras import user_memory as memory_in_keras
from companion.pytorch import base_model as in_pytorch
from companion.pytorch import conditioned as conditioned_in_pytorch
from companion.pytorch import fine_tuning as tuned_in_pytorch
from companion.pytorch import hypernetworks as hyper_in_pytorch
from companion.pytorch import reading as reading_in_pytorch
from companion.pytorch import user_embeddings as embeddings_in_pytorch
from companion.pytorch import user_heads as heads_in_pytorch
from companion.pytorch import user_memory as memory_in_pytorch
from companion.users.stacks import DOWN, UP
from companion.users.states import PersonalStates

_RECURRENT = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel"}
_GRU_GATES = (1, 0, 2)  # PyTorch: reset, update, new; Keras: update, reset, new. Its own inverse


def to_keras(model: in_pytorch.BaseModel) -> in_keras.BaseModel:
    """The Keras model with the weights of a PyTorch model."""
    twin = in_keras.BaseModel(model.vocabulary_size, model.config)
    _fill_keras(twin, model)
    return twin


def to_pytorch(model: in_keras.BaseModel) -> in_pytorch.BaseModel:
    """The PyTorch model with the weights of a Keras model."""
    twin = in_pytorch.BaseModel(model.vocabulary_size, model.config)
    _fill_pytorch(twin, model)
    return twin


def user_embedding_to_keras(
    model: embeddings_in_pytorch.UserEmbedding,
) -> embeddings_in_keras.UserEmbedding:
    """The Keras user embeddings with the weights and vectors of those in PyTorch."""
    network = _network_in_keras(conditioned_in_keras.ConditionedNetwork, model.network)
    vectors = _array(model.vectors.weight)
    return embeddings_in_keras.UserEmbedding(network, model.known_users, vectors)


def user_embedding_to_pytorch(
    model: embeddings_in_keras.UserEmbedding,
) -> embeddings_in_pytorch.UserEmbedding:
    """The PyTorch user embeddings with the weights and vectors of those in Keras."""
    network = _network_in_pytorch(conditioned_in_pytorch.ConditionedNetwork, model.network)
    vectors = model.vectors.embeddings.numpy()
    return embeddings_in_pytorch.UserEmbedding(network, model.known_users, vectors)


def fine_tuned_to_keras(model: tuned_in_pytorch.FineTuned) -> tuned_in_keras.FineTuned:
    """The Keras model with the weights of a PyTorch model, and its changes for each user."""
    base, states = to_keras(model.base), model.states()
    arrays = _in_keras(states.arrays, base.config.cell)
    found = PersonalStates(in_keras.fingerprint(base), states.users, arrays)
    return tuned_in_keras.FineTuned(base, found)


def fine_tuned_to_pytorch(model: tuned_in_keras.FineTuned) -> tuned_in_pytorch.FineTuned:
    """The PyTorch model with the weights of a Keras model, and its changes for each user."""
    base, states = to_pytorch(model.base), model.states()
    names = in_pytorch.weights_of(base)
    arrays = _in_pytorch(states.arrays, names, base.config.cell)
    found = PersonalStates(in_pytorch.fingerprint(base), states.users, arrays)
    return tuned_in_pytorch.FineTuned(base, found)


def user_heads_to_keras(model: heads_in_pytorch.UserHeads) -> heads_in_keras.UserHeads:
    """The Keras user heads with the weights, vectors and temperature of those in PyTorch."""
    network = _network_in_keras(conditioned_in_keras.ConditionedNetwork, model.network)
    vectors, users = _array(model.vectors), model.known_users
    twin = heads_in_keras.UserHeads(
        network, model.config, users, vectors, model.shares, model.temperature
    )
    for name, layer in twin.evidence_of.items():
        kernel, *bias = (_array(weight) for weight in model.evidence_of[name].parameters())
        layer.set_weights([kernel.T if bias else kernel, *bias])  # a table has no bias
    return twin


def user_heads_to_pytorch(model: heads_in_keras.UserHeads) -> heads_in_pytorch.UserHeads:
    """The PyTorch user heads with the weights, vectors and temperature of those in Keras."""
    network = _network_in_pytorch(conditioned_in_pytorch.ConditionedNetwork, model.network)
    vectors, users = model.vectors.numpy(), model.known_users
    twin = heads_in_pytorch.UserHeads(
        network, model.config, users, vectors, model.shares, model.temperature
    )
    for name, layer in model.evidence_of.items():
        kernel, *bias = layer.get_weights()
        arrays = [kernel.T if bias else kernel, *bias]
        for weight, array in zip(twin.evidence_of[name].parameters(), arrays, strict=True):
            _copy(weight, array)
    return twin.eval()


def hypernetwork_to_keras(model: hyper_in_pytorch.Hypernetwork) -> hyper_in_keras.Hypernetwork:
    """The Keras hypernetwork with the weights, generators and vectors of one in PyTorch."""
    network = _network_in_keras(hyper_in_keras.GeneratedNetwork, model.network)
    vectors = _array(model.vectors.weight)
    return hyper_in_keras.Hypernetwork(network, model.known_users, vectors)


def hypernetwork_to_pytorch(model: hyper_in_keras.Hypernetwork) -> hyper_in_pytorch.Hypernetwork:
    """The PyTorch hypernetwork with the weights, generators and vectors of one in Keras."""
    network = _network_in_pytorch(hyper_in_pytorch.GeneratedNetwork, model.network)
    vectors = model.vectors.embeddings.numpy()
    return hyper_in_pytorch.Hypernetwork(network, model.known_users, vectors)


def memory_network_to_keras(
    network: reading_in_pytorch.MemoryNetwork,
) -> reading_in_keras.MemoryNetwork:
    """The Keras network that reads a user's text, with the weights of one in PyTorch."""
    twin = reading_in_keras.MemoryNetwork(network.vocabulary_size, network.reading, network.config)
    _fill_keras(twin, network)
    return twin


def memory_network_to_pytorch(
    network: reading_in_keras.MemoryNetwork,
) -> reading_in_pytorch.MemoryNetwork:
    """The PyTorch network that reads a user's text, with the weights of one in Keras."""
    twin = reading_in_pytorch.MemoryNetwork(
        network.vocabulary_size, network.reading, network.config
    )
    _fill_pytorch(twin, network)
    return twin.eval()


def user_memory_to_keras(model: memory_in_pytorch.UserMemory) -> memory_in_keras.UserMemory:
    """The Keras user memory with the weights of one in PyTorch, and what it remembers."""
    network = memory_network_to_keras(model.network)
    memories = replace(model.memories, model=in_keras.fingerprint(network))
    return memory_in_keras.UserMemory(network, memories)


def user_memory_to_pytorch(model: memory_in_keras.UserMemory) -> memory_in_pytorch.UserMemory:
    """The PyTorch user memory with the weights of one in Keras, and what it remembers."""
    network = memory_network_to_pytorch(model.network)
    memories = replace(model.memories, model=in_pytorch.fingerprint(network))
    return memory_in_pytorch.UserMemory(network, memories).eval()


def _network_in_keras(
    kind: type[conditioned_in_keras.ConditionedNetwork],
    network: conditioned_in_pytorch.ConditionedNetwork,
) -> conditioned_in_keras.ConditionedNetwork:
    """The Keras network of this kind with the weights of one in PyTorch that reads vectors."""
    twin = kind(network.vocabulary_size, network.reading, network.config)
    _fill_keras(twin, network)
    return twin


def _network_in_pytorch(
    kind: type[conditioned_in_pytorch.ConditionedNetwork],
    network: conditioned_in_keras.ConditionedNetwork,
) -> conditioned_in_pytorch.ConditionedNetwork:
    """The PyTorch network of this kind with the weights of one in Keras that reads vectors."""
    twin = kind(network.vocabulary_size, network.reading, network.config)
    _fill_pytorch(twin, network)
    return twin


def _fill_keras(twin: in_keras.BaseModel, model: in_pytorch.BaseModel) -> None:
    """Give a Keras model the weights of a PyTorch model."""
    weights = twin._named()
    for name, array in _in_keras(in_pytorch.weights_of(model), model.config.cell).items():
        weights[name].assign(array)


def _fill_pytorch(twin: in_pytorch.BaseModel, model: in_keras.BaseModel) -> None:
    """Give a PyTorch model the weights of a Keras model."""
    weights = dict(twin.named_parameters())
    arrays = in_keras.weights_of(model)
    for name, array in _in_pytorch(arrays, weights, model.config.cell).items():
        _copy(weights[name], array)


def _in_keras(arrays: Mapping[str, np.ndarray], cell: str) -> dict[str, np.ndarray]:
    """Weights of a PyTorch model, or changes of them, with the names and shapes of Keras.

    Changes have one axis more, of users, before all others; low-rank ones have the suffixes
    ``DOWN`` and ``UP`` and the same shapes in both.
    """
    found = {}
    for name, array in arrays.items():
        weight, side = _parted(name)
        if "bias_hh" in name:  # goes where bias_ih goes
            continue
        if "bias_ih" in name:
            array = _one_bias(array, arrays.get(name.replace("bias_ih", "bias_hh")), cell)
        elif not side:
            array = _turned(array, weight)
        found[_name_in_keras(weight) + side] = _gates(array, name, cell)
    return found


def _in_pytorch(
    arrays: Mapping[str, np.ndarray], weights: Iterable[str], cell: str
) -> dict[str, np.ndarray]:
    """Weights of a Keras model, or changes of them, with the names and shapes of PyTorch.

    An LSTM's second bias is left out: in our models it is zero, and stays so.
    """
    found = {}
    for name in (weight + side for weight in weights for side in ("", DOWN, UP)):
        weight, side = _parted(name)
        array = arrays.get(_name_in_keras(weight) + side)
        if array is None or (cell == "lstm" and "bias_hh" in name):
            continue
        array = _gates(array, name, cell)
        if cell == "gru" and "bias_" in name:
            array = array[..., int("bias_hh" in name), :]
        found[name] = array if side else _turned(array, weight)
    return found


def _parted(name: str) -> tuple[str, str]:
    """The name of a weight, and which of two narrow matrices changes it, if one does."""
    weight = name.removesuffix(DOWN).removesuffix(UP)
    return weight, name[len(weight) :]


def _name_in_keras(weight: str) -> str:
    """What Keras calls this weight of PyTorch."""
    if weight == "embedding.weight":
        return "embedding"
    recurrent = re.fullmatch(r"recurrent\.(\w+)_l(\d+)", weight)
    if recurrent:
        return f"recurrent/{recurrent[2]}/{_RECURRENT.get(recurrent[1], 'bias')}"
    return weight.replace(".weight", "/kernel").replace(".", "/")


def _turned(array: np.ndarray, weight: str) -> np.ndarray:
    """Matrices stand the other way round; the embedding, and what is no matrix, do not."""
    if ".weight" not in weight or weight == "embedding.weight":
        return array
    return array.swapaxes(-1, -2)


def _one_bias(first: np.ndarray, second: np.ndarray | None, cell: str) -> np.ndarray:
    """Keras adds up the biases of an LSTM beforehand; a GRU resets only the second."""
    if second is None:
        return first
    return np.stack([first, second], axis=-2) if cell == "gru" else first + second


def _gates(array: np.ndarray, name: str, cell: str) -> np.ndarray:
    """The gates of a cell, side by side along the last axis, in the other framework's order."""
    if cell == "lstm" or not name.startswith("recurrent.") or name.endswith(DOWN):
        return array  # input, forget, cell, output in both
    parts = np.split(array, len(_GRU_GATES), axis=-1)
    return np.concatenate([parts[gate] for gate in _GRU_GATES], axis=-1)


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().numpy()


@torch.no_grad()
def _copy(weight: Tensor, array: np.ndarray) -> None:
    weight.copy_(torch.tensor(array))


__all__ = [
    "fine_tuned_to_keras",
    "fine_tuned_to_pytorch",
    "hypernetwork_to_keras",
    "hypernetwork_to_pytorch",
    "memory_network_to_keras",
    "memory_network_to_pytorch",
    "to_keras",
    "to_pytorch",
    "user_embedding_to_keras",
    "user_embedding_to_pytorch",
    "user_heads_to_keras",
    "user_heads_to_pytorch",
    "user_memory_to_keras",
    "user_memory_to_pytorch",
]
