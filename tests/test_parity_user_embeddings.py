import numpy as np
import pytest
import torch

from companion import parity
from companion.corpora import Corpus, split
from companion.keras import fitting as fitting_in_keras
from companion.keras import training as keras_training
from companion.keras import user_embeddings as in_keras
from companion.pytorch import base_model
from companion.pytorch import training as pytorch_training
from companion.pytorch import user_embeddings as in_pytorch
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users.methods import PLACEMENTS, FittingConfig, UserEmbeddingConfig

CHANCE_OFF = {"user_dropout": 0.0, "dropout": 0.0}
CONFIGS = [
    (
        BaseModelConfig(cell=cell, embedding=6, hidden=8, layers=layers, dropout=0.0),
        UserEmbeddingConfig(size=4, placements=placements, **CHANCE_OFF),
    )
    for cell in ("lstm", "gru")
    for layers, placements in [
        (1, ("input",)),
        (1, ("state",)),
        (1, ("film", "output")),
        (2, PLACEMENTS),
    ]
]
configs = pytest.mark.parametrize(
    ("base", "config"),
    CONFIGS,
    ids=[f"{base.cell}{base.layers}{'+'.join(config.placements)}" for base, config in CONFIGS],
)
STEPS = TrainingConfig(epochs=5, batch_size=32, clip=0.5, learning_rate=0.01, weight_decay=0.01)


def zipfian_data():
    """Messages of users who each have a favorite word, and words that stand in a batch often."""
    rng = np.random.default_rng(0)
    words, sizes = [f"w{i}" for i in range(20)], rng.integers(1, 7, 480)
    messages = [
        [words[i % 6]] + [words[j] for j in rng.zipf(1.5, size) % 20]
        for i, size in enumerate(sizes)
    ]
    return split(Corpus.from_messages(messages, users=[f"user {i % 6}" for i in range(480)]))


DATA = zipfian_data()
TOKENS = DATA.test.padded(np.arange(20))[0]
USERS = DATA.test.users[:20]


def below(base):
    return base_model.BaseModel(len(DATA.vocabulary), base, seed=1)


def in_torch(base, config):
    """A model all of whose weights have moved, as after training; the untrained ones aside."""
    model = in_pytorch.from_base(below(base), DATA.known_users, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model


@configs
def test_outputs_are_equal_from_equal_weights_in_both_directions(base, config):
    model = in_torch(base, config)
    twin = parity.user_embedding_to_keras(model)
    for users in (USERS, None):
        np.testing.assert_allclose(
            model.log_probs(TOKENS, users), twin.log_probs(TOKENS, users), atol=1e-5
        )
    states = [model.begin(20, USERS), twin.begin(20, USERS)]
    for place, column in enumerate(TOKENS.T):
        (first, states[0]), (second, states[1]) = (
            m.step(column, state) for m, state in zip((model, twin), states, strict=True)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
        np.testing.assert_allclose(second, model.log_probs(TOKENS, USERS)[:, place], atol=1e-5)
    back = parity.user_embedding_to_pytorch(twin)
    assert in_pytorch.fingerprint(back) == in_pytorch.fingerprint(model)
    np.testing.assert_array_equal(back.vectors.weight.detach(), model.vectors.weight.detach())
    again = parity.user_embedding_to_keras(back)
    assert in_keras.fingerprint(again) == in_keras.fingerprint(twin)


@configs
def test_equal_base_models_give_equal_beginnings(base, config):
    first = below(base)
    models = [
        module.from_base(model, DATA.known_users, config, seed=5)
        for module, model in [(in_pytorch, first), (in_keras, parity.to_keras(first))]
    ]
    table = models[1].vectors.embeddings.numpy()
    np.testing.assert_array_equal(models[0].vectors.weight.detach(), table)
    read = torch.tensor(TOKENS), torch.tensor(USERS)
    in_first, in_second = models[0](*read).detach(), models[1]((TOKENS, USERS))
    np.testing.assert_allclose(in_first, in_second, atol=1e-5)


def curves(base, config):
    """Losses of the first steps of a training in PyTorch and in Keras, and the two models."""
    first = below(base)
    model = in_pytorch.from_base(first, DATA.known_users, config)
    twin = in_keras.from_base(parity.to_keras(first), DATA.known_users, config)
    steps = pytorch_training.train(model, DATA, STEPS, progress=False).steps
    others = keras_training.train(twin, DATA, STEPS, progress=False).steps
    assert len(steps) >= 50
    return np.array(steps)[:50], np.array(others)[:50], model, twin


@pytest.mark.parametrize(("base", "config"), [CONFIGS[2], CONFIGS[7]], ids=["default", "all"])
def test_training_curves_are_equal(base, config):
    steps, others, model, twin = curves(base, config)
    np.testing.assert_allclose(steps, others, atol=1e-3)
    assert np.ptp(steps) > 0.5
    table = twin.vectors.embeddings.numpy()
    np.testing.assert_allclose(model.vectors.weight.detach(), table, atol=1e-2)


FEW = DATA.test.first(4)


def fitted(model, twin, config=FittingConfig()):
    """Vectors in PyTorch and in Keras."""
    found = [m.fit(n, FEW, config) for m, n in [(in_pytorch, model), (in_keras, twin)]]
    np.testing.assert_array_equal(found[0].users, found[1].users)
    return [states.arrays["vector"].astype(np.float64) for states in found]


@configs
def test_fitted_vectors_are_equal(base, config):
    model = in_torch(base, config)
    first, second = fitted(model, parity.user_embedding_to_keras(model))
    np.testing.assert_allclose(first, second, atol=1e-3)
    typical = model.vectors.weight.detach().numpy()[:-1].mean(0)
    assert np.abs(first - typical).max() > 0.05


def test_another_adam_would_be_seen(monkeypatch):
    model = in_torch(*CONFIGS[2])
    monkeypatch.setattr(fitting_in_keras, "FITTING_EPSILON", 0.1)
    first, second = fitted(model, parity.user_embedding_to_keras(model))
    assert np.abs(first - second).max() > 3e-3
