import numpy as np
import pytest
import torch

from companion import parity
from companion.keras import hypernetworks as in_keras
from companion.keras import training as keras_training
from companion.pytorch import hypernetworks as in_pytorch
from companion.pytorch import training as pytorch_training
from companion.settings import BaseModelConfig
from companion.users.methods import BIASES, FittingConfig, HypernetworkConfig
from tests.test_parity_user_embeddings import CHANCE_OFF, DATA, STEPS, TOKENS, USERS, below

CONFIGS = [
    (
        BaseModelConfig(
            cell=cell, embedding=6, hidden=8, layers=layers, dropout=0.0, tied=layers == 1
        ),
        HypernetworkConfig(size=4, **ways, rank=2, chunk=50, **CHANCE_OFF),
    )
    for cell in ("lstm", "gru")
    for layers, ways in [
        (1, {}),
        (1, {"biases": ("words",)}),
        (2, {"input": "scale", "hidden": "scale", "output": "scale", "biases": BIASES}),
        (1, {"input": "low rank", "hidden": "low rank", "output": "low rank", "biases": BIASES}),
        (2, {"input": "chunks", "hidden": "chunks", "output": "chunks", "biases": ()}),
    ]
]
configs = pytest.mark.parametrize(
    ("base", "config"),
    CONFIGS,
    ids=[f"{b.cell}{b.layers} {c.input}-{c.output}-{'+'.join(c.biases)}" for b, c in CONFIGS],
)


def in_torch(base, config):
    """A model all of whose weights have moved, as after training; the untrained ones aside."""
    model = in_pytorch.from_base(below(base), DATA.known_users, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


@configs
def test_outputs_are_equal_from_equal_weights_in_both_directions(base, config):
    model = in_torch(base, config)
    twin = parity.hypernetwork_to_keras(model)
    for users in (USERS, None):
        first, second = model.log_probs(TOKENS, users), twin.log_probs(TOKENS, users)
        np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(model.log_probs(TOKENS, USERS) - model.log_probs(TOKENS)).max() > 1e-3
    states = [model.begin(20, USERS), twin.begin(20, USERS)]
    for column in TOKENS.T:
        (first, states[0]), (second, states[1]) = (
            m.step(column, state) for m, state in zip((model, twin), states, strict=True)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
    back = parity.hypernetwork_to_pytorch(twin)
    assert in_pytorch.fingerprint(back) == in_pytorch.fingerprint(model)
    np.testing.assert_array_equal(back.vectors.weight.detach(), model.vectors.weight.detach())
    again = parity.hypernetwork_to_keras(back)
    assert in_keras.fingerprint(again) == in_keras.fingerprint(twin)


@configs
def test_a_written_model_is_the_same_in_both(base, config):
    model = in_torch(base, config)
    twin = parity.hypernetwork_to_keras(model)
    first, second = parity.to_keras(model.for_user(1)), twin.for_user(1)
    for weight, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-6)


@configs
def test_equal_base_models_give_equal_beginnings(base, config):
    first = below(base)
    models = [
        module.from_base(model, DATA.known_users, config, seed=5)
        for module, model in [(in_pytorch, first), (in_keras, parity.to_keras(first))]
    ]
    table = models[1].vectors.embeddings.numpy()
    np.testing.assert_array_equal(models[0].vectors.weight.detach(), table)
    for model in models:
        np.testing.assert_allclose(
            model.log_probs(TOKENS, USERS), first.log_probs(TOKENS), atol=1e-5
        )


@pytest.mark.parametrize("config", [CONFIGS[i] for i in (0, 3, 9)], ids=["default", "lstm", "gru"])
def test_training_curves_are_equal(config):
    model = in_pytorch.from_base(below(config[0]), DATA.known_users, config[1])
    twin = parity.hypernetwork_to_keras(model)
    steps = pytorch_training.train(model, DATA, STEPS, progress=False).steps
    others = keras_training.train(twin, DATA, STEPS, progress=False).steps
    assert len(steps) >= 50
    np.testing.assert_allclose(steps[:50], others[:50], atol=1e-3)
    assert np.ptp(steps) > 0.5
    table = twin.vectors.embeddings.numpy()
    np.testing.assert_allclose(model.vectors.weight.detach(), table, atol=2e-2)


FEW = DATA.test.first(4)


@pytest.mark.parametrize("config", CONFIGS[1:4] + CONFIGS[9:], ids=lambda c: str(c[1].input))
def test_fitted_vectors_are_equal(config):
    model = in_torch(*config)
    twin, fitting = parity.hypernetwork_to_keras(model), FittingConfig(steps=15)
    found = [m.fit(n, FEW, fitting) for m, n in [(in_pytorch, model), (in_keras, twin)]]
    first, second = (states.arrays["vector"].astype(np.float64) for states in found)
    np.testing.assert_allclose(first, second, atol=2e-3)
    typical = model.vectors.weight.detach().numpy()[:-1].mean(0)
    assert np.abs(first - typical).max() > 0.01
