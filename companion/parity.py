"""Weights from one twin to the other. The only module that loads both frameworks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from companion.keras import base_model as in_keras
from companion.keras import user_embeddings as embeddings_in_keras
from companion.pytorch import base_model as in_pytorch
from companion.pytorch import user_embeddings as embeddings_in_pytorch

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
    network = embeddings_in_keras.ConditionedNetwork(
        model.vocabulary_size, model.network.reading, model.network.config
    )
    _fill_keras(network, model.network)
    for place, path in network.paths.items():
        path.kernel.assign(_array(model.network.paths[place].weight).T)
    vectors = _array(model.vectors.weight)
    return embeddings_in_keras.UserEmbedding(network, model.known_users, vectors)


def user_embedding_to_pytorch(
    model: embeddings_in_keras.UserEmbedding,
) -> embeddings_in_pytorch.UserEmbedding:
    """The PyTorch user embeddings with the weights and vectors of those in Keras."""
    network = embeddings_in_pytorch.ConditionedNetwork(
        model.vocabulary_size, model.network.reading, model.network.config
    )
    _fill_pytorch(network, model.network)
    for place, path in network.paths.items():
        _copy(path.weight, model.network.paths[place].kernel.numpy().T)
    vectors = model.vectors.embeddings.numpy()
    return embeddings_in_pytorch.UserEmbedding(network, model.known_users, vectors)


def _fill_keras(twin: in_keras.BaseModel, model: in_pytorch.BaseModel) -> None:
    """Give a Keras model the weights of the layers that every model has."""
    weights = in_pytorch.weights_of(model)
    twin.embedding.embeddings.assign(weights["embedding.weight"])
    twin.to_words.bias.assign(weights["output.bias"])
    if twin.projection is not None:
        twin.projection.kernel.assign(weights["projection.weight"].T)
    if not model.config.tied:
        twin.to_words.kernel.assign(weights["output.weight"].T)
    for place, layer in enumerate(twin.recurrent):
        kernel, recurrent, *biases = (
            _gates(weights[f"recurrent.{part}_l{place}"], model.config.cell)
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # Keras adds up the biases of an LSTM beforehand; a GRU resets only the second
        bias = np.stack(biases) if model.config.cell == "gru" else sum(biases)
        layer.set_weights([kernel.T, recurrent.T, bias])


def _fill_pytorch(twin: in_pytorch.BaseModel, model: in_keras.BaseModel) -> None:
    """Give a PyTorch model the weights of the layers that every model has."""
    _copy(twin.embedding.weight, model.embedding.embeddings.numpy())
    _copy(twin.output.bias, model.to_words.bias.numpy())
    if model.projection is not None:
        _copy(twin.projection.weight, model.projection.kernel.numpy().T)
    if not model.config.tied:
        _copy(twin.output.weight, model.to_words.kernel.numpy().T)
    for place, layer in enumerate(model.recurrent):
        kernel, recurrent, bias = layer.get_weights()
        biases = bias if model.config.cell == "gru" else (bias, np.zeros_like(bias))
        parts = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
        parts |= dict(zip(("bias_ih", "bias_hh"), biases, strict=True))
        for part, array in parts.items():
            weight = getattr(twin.recurrent, f"{part}_l{place}")
            _copy(weight, _gates(array, model.config.cell))


def _gates(array: np.ndarray, cell: str) -> np.ndarray:
    """The gates of a cell, stacked along the first axis, in the order of the other framework."""
    if cell == "lstm":
        return array  # input, forget, cell, output in both
    parts = np.split(array, len(_GRU_GATES))
    return np.concatenate([parts[gate] for gate in _GRU_GATES])


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().numpy()


@torch.no_grad()
def _copy(weight: Tensor, array: np.ndarray) -> None:
    weight.copy_(torch.tensor(array))


__all__ = ["to_keras", "to_pytorch", "user_embedding_to_keras", "user_embedding_to_pytorch"]
