import dataclasses

import keras
import numpy as np
import pytest
import torch

from companion import parity
from companion.corpora import Corpus, split
from companion.keras import base_model as in_keras
from companion.keras import training as keras_training
from companion.pytorch import base_model as in_pytorch
from companion.pytorch import training as pytorch_training
from companion.settings import ADAM_EPSILON, BaseModelConfig, TrainingConfig

CONFIGS = [
    BaseModelConfig(cell=cell, embedding=8, hidden=hidden, layers=layers, tied=tied, dropout=0.0)
    for cell in ("lstm", "gru")
    for hidden, layers, tied in [(12, 1, False), (12, 2, True), (8, 3, True)]
]
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}{c.layers}{c.tied}")
STEPS = TrainingConfig(
    epochs=5, batch_size=64, clip=0.5, learning_rate=0.01, weight_decay=0.01, patience=5
)


def zipfian_data():
    """Messages in which some words stand in a batch many times, as in life."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    sizes = rng.integers(1, 9, 900)
    messages = [[words[i] for i in rng.zipf(1.5, size) % 30] for size in sizes]
    return split(Corpus.from_messages(messages, users=[f"user {i % 6}" for i in range(900)]))


DATA = zipfian_data()
TOKENS = DATA.test.padded(np.arange(20))[0]


def in_torch(config):
    """A model whose biases are not zero, as after training; the untrained ones aside."""
    model = in_pytorch.BaseModel(len(DATA.vocabulary), config, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def difference(first, second):
    return np.abs(first.log_probs(TOKENS) - second.log_probs(TOKENS)).max()


@configs
def test_outputs_are_equal_from_equal_weights_in_both_directions(config):
    model = in_torch(config)
    twin = parity.to_keras(model)
    back = parity.to_pytorch(twin)
    assert difference(model, twin) < 1e-5
    assert in_pytorch.fingerprint(back) == in_pytorch.fingerprint(model)
    assert in_keras.fingerprint(parity.to_keras(back)) == in_keras.fingerprint(twin)


@pytest.mark.parametrize("config", CONFIGS[::3], ids=["lstm", "gru"])
def test_stepping_is_equal_too(config):
    model = in_torch(config)
    twin = parity.to_keras(model)
    states = [model.begin(20), twin.begin(20)]
    for column in TOKENS.T:
        (first, states[0]), (second, states[1]) = (
            m.step(column, state) for m, state in zip((model, twin), states, strict=True)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_both_biases_of_an_lstm_are_carried_over():
    model = in_torch(CONFIGS[0])
    with torch.no_grad():
        model.recurrent.bias_hh_l0.normal_()
    assert difference(model, parity.to_keras(model)) < 1e-5


def test_gates_in_the_wrong_order_would_be_seen(monkeypatch):
    monkeypatch.setattr(parity, "_GRU_GATES", (0, 1, 2))
    model = in_torch(CONFIGS[3])
    assert difference(model, parity.to_keras(model)) > 1e-3


def curves(model, twin, config=STEPS):
    """History of the training in PyTorch and in Keras."""
    first = pytorch_training.train(model, DATA, config, progress=False)
    second = keras_training.train(twin, DATA, config, progress=False)
    return first, second


def apart(first, second):
    """Largest difference of the losses of the first 50 steps."""
    assert len(first.steps) >= 50
    return np.abs(np.subtract(first.steps, second.steps))[:50].max()


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[4]], ids=["lstm", "two tied gru"])
def test_training_curves_are_equal(config):
    model = in_torch(config)
    twin = parity.to_keras(model)
    first, second = curves(model, twin)
    assert apart(first, second) < 1e-4
    np.testing.assert_allclose(first.validation, second.validation, atol=1e-4)
    np.testing.assert_allclose(first.training, second.training, atol=1e-4)
    assert difference(model, twin) < 1e-2


def plain_adam(config, total):
    """Adam as Keras has it, all settings equal."""
    return keras.optimizers.Adam(
        keras_training._Rate(config, total),
        epsilon=ADAM_EPSILON,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip,
    )


class OwnEpsilon(keras_training._Adam):
    """Ours, but for the place of epsilon: the step of Keras."""

    update_step = keras.optimizers.Adam.update_step


def fresh(config=CONFIGS[0]):
    """Initial weights: gradients are small, and epsilon counts."""
    return in_pytorch.BaseModel(len(DATA.vocabulary), config, seed=1)


@pytest.mark.parametrize("adam", [plain_adam, OwnEpsilon], ids=["plain", "epsilon"])
def test_the_default_adam_of_keras_parts_the_curves(monkeypatch, adam):
    model = fresh()
    twin = parity.to_keras(model)
    monkeypatch.setattr(keras_training, "_Adam", adam)
    assert apart(*curves(model, twin)) > 1e-3


def test_two_trained_biases_part_the_curves():
    model, other = fresh(), fresh()
    other.recurrent.bias_hh_l0.requires_grad_(True)
    config = dataclasses.replace(STEPS, weight_decay=0.0)
    first, second = (
        pytorch_training.train(m, DATA, config, progress=False) for m in (model, other)
    )
    assert apart(first, second) > 1e-3
