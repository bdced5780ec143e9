from dataclasses import replace

import numpy as np
import pytest
import torch

from companion import parity
from companion.keras import practice as keras_practice
from companion.keras import user_memory as in_keras
from companion.pytorch import practice as pytorch_practice
from companion.pytorch import user_memory as in_pytorch
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users.memories import Memories
from companion.users.methods import READING, FittingConfig, UserMemoryConfig
from tests.test_parity_user_embeddings import DATA, TOKENS, USERS, below

SMALL = {"key": 3, "size": 5, "dropout": 0.0}
CONFIGS = [
    (
        BaseModelConfig(cell=cell, embedding=6, hidden=8, layers=layers, dropout=0.0),
        UserMemoryConfig(ways=ways, embedding=embedding, **SMALL),
    )
    for cell, layers, ways, embedding in [
        ("lstm", 1, READING, 0),
        ("gru", 2, READING, 4),
        *(("lstm", 1, (way,), 0) for way in READING),
    ]
]
configs = pytest.mark.parametrize(
    ("base", "config"),
    CONFIGS,
    ids=[f"{b.cell}{b.layers} {'+'.join(c.ways)} {c.embedding}" for b, c in CONFIGS],
)
LARGE_STEPS = TrainingConfig(
    epochs=8, batch_size=64, clip=0.5, learning_rate=0.01, weight_decay=0.01
)
NEW = DATA.test.first(4)
RNG = np.random.default_rng(0)


def in_torch(base, config):
    """A model all of whose weights have moved, as after training, and that remembers a text."""
    network = in_pytorch.from_base(below(base), DATA.train, config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    model = in_pytorch.UserMemory(network, Memories("", {})).eval()
    model.vocabulary = DATA.vocabulary
    memories = model.read(DATA.train)
    if config.embedding:
        memories = memories.with_vectors(RNG.normal(size=(len(memories), config.embedding)))
    return model.with_memories(memories)


def assert_alike(memories, others):
    """What both remember; keys are rounded to half precision, each in its own framework."""
    np.testing.assert_array_equal(memories.users, others.users)
    for user in memories.users:
        first, second = (each.of_users[user] for each in (memories, others))
        assert first.arrays.keys() == second.arrays.keys()
        np.testing.assert_array_equal(first.tokens, second.tokens)
        np.testing.assert_array_equal(first.lengths, second.lengths)
        np.testing.assert_allclose(first.keys, second.keys, atol=1e-3, rtol=1e-3)


@configs
def test_outputs_are_equal_from_equal_weights_in_both_directions(base, config):
    model = in_torch(base, config)
    twin = parity.user_memory_to_keras(model)
    for users in (USERS, None):
        first, second = model.log_probs(TOKENS, users), twin.log_probs(TOKENS, users)
        np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(model.log_probs(TOKENS, USERS) - model.log_probs(TOKENS)).max() > 1e-2
    states = [model.begin(20, USERS), twin.begin(20, USERS)]
    for column in TOKENS.T:
        (first, states[0]), (second, states[1]) = (
            m.step(column, state) for m, state in zip((model, twin), states, strict=True)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
    back = parity.user_memory_to_pytorch(twin)
    assert in_pytorch.fingerprint(back) == in_pytorch.fingerprint(model)
    again = parity.user_memory_to_keras(back)
    assert in_keras.fingerprint(again) == in_keras.fingerprint(twin)
    again.memories.check_made_for(in_keras.fingerprint(again))


@configs
def test_both_remember_alike(base, config):
    model = in_torch(base, config)
    twin = parity.user_memory_to_keras(model)
    twin.vocabulary = DATA.vocabulary
    assert_alike(model.read(NEW), twin.read(NEW))
    for each in (model, twin):
        each.log_probs(TOKENS, USERS)
        each.remember(int(USERS[0]), [5, 6, 7])
        each.forget(int(USERS[1]), own_words(USERS[1]))
    assert_alike(model.memories, twin.memories)
    first, second = (each.log_probs(TOKENS, USERS) for each in (model, twin))
    np.testing.assert_allclose(first, second, atol=2e-3)


def own_words(user):
    """Words of the first message of a user."""
    return DATA.train.words(int(np.flatnonzero(DATA.train.users == user)[0]))


@pytest.mark.parametrize("way", ["pointer", "all"])
def test_the_pointer_looks_at_the_same(way):
    base, config = CONFIGS[0]
    model = in_torch(base, config if way == "all" else replace(config, ways=(way,)))
    twin = parity.user_memory_to_keras(model)
    found = [each.attention(TOKENS[0], int(USERS[0])) for each in (model, twin)]
    np.testing.assert_allclose(*found, atol=1e-6)


def learners(base, config):
    """An untrained network in PyTorch and in Keras, and the vectors of its users."""
    network = in_pytorch.from_base(below(base), DATA.train, config)
    twin = parity.memory_network_to_keras(network)
    return [
        module.Learner(each, len(DATA.known_users), 0)
        for module, each in [(pytorch_practice, network), (keras_practice, twin)]
    ]


@configs
def test_training_curves_are_equal(base, config):
    first, second = learners(base, config)
    curves = [
        module.train(learner, DATA, LARGE_STEPS, progress=False)
        for module, learner in [(pytorch_practice, first), (keras_practice, second)]
    ]
    steps, others = (np.array(curve.steps) for curve in curves)
    assert len(steps) == len(others) >= 40
    np.testing.assert_allclose(steps[:40], others[:40], atol=1e-3)
    assert np.ptp(steps) > 0.3
    np.testing.assert_allclose(curves[0].training, curves[1].training, atol=1e-3)
    np.testing.assert_allclose(curves[0].validation, curves[1].validation, atol=1e-3)
    np.testing.assert_allclose(first.kept_vectors, second.kept_vectors, atol=1e-2)


def test_untrained_networks_begin_alike():
    base, config = CONFIGS[0]
    first = in_pytorch.from_base(below(base), DATA.train, config)
    second = in_keras.from_base(parity.to_keras(below(base)), DATA.train, config)
    arrays = parity.memory_network_to_keras(first)._named()
    for name, weight in second._named().items():
        assert weight.shape == arrays[name].shape
        if not {"ask/kernel", "value", "pool"} & {name, name.split("/")[0]}:  # drawn at random
            np.testing.assert_array_equal(weight.numpy(), arrays[name].numpy())


def fitted(model, twin, config=FittingConfig(steps=15)):
    """Vectors in PyTorch and in Keras."""
    model.vocabulary = twin.vocabulary = DATA.vocabulary
    found = [m.fit(n, NEW, config) for m, n in [(in_pytorch, model), (in_keras, twin)]]
    np.testing.assert_array_equal(found[0].users, found[1].users)
    return [np.stack([m.vector for m in each.of_users.values()]).astype(float) for each in found]


def test_fitted_vectors_are_equal():
    model = in_torch(*CONFIGS[1])
    first, second = fitted(model, parity.user_memory_to_keras(model))
    np.testing.assert_allclose(first, second, atol=2e-3)
    typical = np.mean([memory.vector for memory in model.memories.of_users.values()], axis=0)
    assert np.abs(first - typical).max() > 0.05


def test_another_adam_would_be_seen(monkeypatch):
    model = in_torch(*CONFIGS[1])
    monkeypatch.setattr(keras_practice, "FITTING_EPSILON", 0.1)
    first, second = fitted(model, parity.user_memory_to_keras(model))
    assert np.abs(first - second).max() > 3e-3
