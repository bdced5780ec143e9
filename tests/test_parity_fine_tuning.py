import numpy as np
import pytest
import torch

from companion import parity
from companion.corpora import Corpus, split
from companion.keras import adapting as adapting_in_keras
from companion.keras import fine_tuning as in_keras
from companion.pytorch import base_model
from companion.pytorch import fine_tuning as in_pytorch
from companion.settings import BaseModelConfig
from companion.users.strategies import Strategy

CONFIGS = [
    BaseModelConfig(cell=cell, embedding=6, hidden=hidden, layers=layers, tied=tied)
    for cell in ("lstm", "gru")
    for hidden, layers, tied in [(8, 1, True), (8, 2, False)]
]
ONE = {"passes": 3, "batches": 3, "learning_rate": 0.02}
STRATEGIES = {
    "all weights": Strategy(**ONE),
    "low rank": Strategy(**ONE, rank=2, pull=2.0),
    "adapter": Strategy(("output", "bias"), **ONE, rank=2, pull=2.0, bias_scale=10.0),
    "distillation": Strategy(**ONE, distillation=1.0),
    "best pass": Strategy(**{**ONE, "passes": 4}, early_stopping=True, gate=True),
}
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}{c.layers}{c.tied}")


def zipfian_data():
    """Messages of users who each have a favorite word, and words that stand in a batch often."""
    rng = np.random.default_rng(0)
    words, sizes = [f"w{i}" for i in range(20)], rng.integers(1, 7, 240)
    messages = [
        [words[i % 6]] + [words[j] for j in rng.zipf(1.5, size) % 20]
        for i, size in enumerate(sizes)
    ]
    return split(Corpus.from_messages(messages, users=[f"user {i % 6}" for i in range(240)]))


DATA = zipfian_data()
TEXT = DATA.train.of_users([0, 1, 3])
TOKENS, USERS = DATA.test.padded(np.arange(6))[0], np.array([0, 1, 3, 3, 1, 0])


def in_torch(config):
    """A base model whose weights have all moved, as after training; the untrained ones aside."""
    model = base_model.BaseModel(len(DATA.vocabulary), config, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def tuned(base, strategy=STRATEGIES["all weights"]):
    return in_pytorch.FineTuned(base, in_pytorch.personalize(base, TEXT, None, strategy))


def assert_equal(first, second):
    """Bit by bit."""
    first, second = first.states(), second.states()
    assert first.model == second.model
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name], strict=True)


@pytest.mark.parametrize("name", ["all weights", "low rank"])
@configs
def test_outputs_are_equal_from_equal_states_in_both_directions(config, name):
    model = tuned(in_torch(config), STRATEGIES[name])
    twin = parity.fine_tuned_to_keras(model)
    for users in (USERS, None):
        np.testing.assert_allclose(
            model.log_probs(TOKENS, users), twin.log_probs(TOKENS, users), atol=1e-5
        )
    assert np.abs(model.log_probs(TOKENS, USERS) - model.log_probs(TOKENS)).max() > 0.1
    states = [model.begin(6, USERS), twin.begin(6, USERS)]
    for column in TOKENS.T:
        (first, states[0]), (second, states[1]) = (
            m.step(column, state) for m, state in zip((model, twin), states, strict=True)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
    back = parity.fine_tuned_to_pytorch(twin)
    assert_equal(back, model)
    assert_equal(parity.fine_tuned_to_keras(back), twin)


def adapted(base, strategy, importance=None):
    """Changes in PyTorch and in Keras, both with the names and shapes of Keras."""
    twin = parity.to_keras(base)
    others = importance and parity._in_keras(importance, base.config.cell)
    first = in_pytorch.personalize(base, TEXT, None, strategy, DATA.validation, importance)
    second = in_keras.personalize(twin, TEXT, None, strategy, DATA.validation, others)
    first = parity.fine_tuned_to_keras(in_pytorch.FineTuned(base, first)).states()
    np.testing.assert_array_equal(first.users, second.users)
    assert first.arrays.keys() == second.arrays.keys()
    return first.arrays, second.arrays


def furthest(first, second):
    """The largest distance between two numbers."""
    return max(
        np.abs(array.astype(float) - second[name].astype(float)).max()
        for name, array in first.items()
    )


def check_changes(config, name):
    first, second = adapted(in_torch(config), STRATEGIES[name])
    assert furthest(first, second) < 1e-3
    assert max(np.abs(array).max() for array in first.values()) > 0.02


@configs
@pytest.mark.parametrize("name", ["all weights", "low rank"])
def test_changes_are_equal_from_equal_base_models(config, name):
    check_changes(config, name)


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[3]], ids=["lstm", "two untied gru"])
@pytest.mark.parametrize("name", ["adapter", "distillation", "best pass"])
def test_changes_are_equal_however_they_are_found(config, name):
    check_changes(config, name)


def test_fisher_information_is_equal():
    base = in_torch(CONFIGS[3])
    found = in_pytorch.fisher(base, DATA.train, 40, seed=2)
    others = in_keras.fisher(parity.to_keras(base), DATA.train, 40, seed=2)
    found = parity._in_keras(found, "gru")
    assert found.keys() == others.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, others[name], rtol=1e-3, atol=1e-7)


def test_changes_held_by_importance_are_equal():
    base = in_torch(CONFIGS[0])
    importance = in_pytorch.fisher(base, DATA.train, 40)
    first, second = adapted(base, Strategy(**ONE, pull=100.0), importance)
    assert furthest(first, second) < 1e-3


@pytest.mark.parametrize(("name", "other"), [("ADAM_EPSILON", 1e-2), ("ADAM_BETAS", (0.5, 0.999))])
def test_another_adam_would_be_seen(monkeypatch, name, other):
    monkeypatch.setattr(adapting_in_keras, name, other)
    first, second = adapted(in_torch(CONFIGS[0]), STRATEGIES["all weights"])
    assert furthest(first, second) > 3e-3
