import numpy as np
import pytest
import torch

from companion import parity
from companion.keras import training as keras_training
from companion.keras import user_heads as in_keras
from companion.pytorch import training as pytorch_training
from companion.pytorch import user_heads as in_pytorch
from companion.settings import BaseModelConfig
from companion.users.methods import UserHeadsConfig
from tests.test_parity_user_embeddings import DATA, STEPS, TOKENS, USERS, below

EVIDENCE = [("word",), ("state",), ("word", "state")]


def untrained(evidence=("word",), cell="lstm", **settings):
    base = below(BaseModelConfig(cell=cell, embedding=6, hidden=8, dropout=0.0))
    config = UserHeadsConfig(size=4, evidence=evidence, dropout=0.0, **settings)
    shares = 2.0 ** np.arange(len(DATA.known_users))
    return in_pytorch.from_base(base, DATA.known_users, shares, config).eval()


def stirred(*arguments):
    """A model all of whose weights have moved, as after training; the untrained ones aside."""
    model, generator = untrained(*arguments), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    model.temperature = 1.5
    return model


@pytest.mark.parametrize("evidence", EVIDENCE, ids="+".join)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_outputs_are_equal_from_equal_weights_in_both_directions(evidence, cell):
    model = stirred(evidence, cell)
    twin = parity.user_heads_to_keras(model)
    np.testing.assert_allclose(model.evidence(TOKENS), twin.evidence(TOKENS), atol=1e-4)
    for users in (USERS, None):
        first, second = model.log_probs(TOKENS, users), twin.log_probs(TOKENS, users)
        np.testing.assert_allclose(first, second, atol=1e-4)
    states = [model.begin(20), twin.begin(20)]
    for place, column in enumerate(TOKENS.T):
        for number, one in enumerate((model, twin)):
            found, states[number] = one.step(column, states[number])
            np.testing.assert_allclose(found, second[:, place], atol=1e-4)
    back = parity.user_heads_to_pytorch(twin)
    assert in_pytorch.fingerprint(back) == in_pytorch.fingerprint(model)
    assert back.temperature == pytest.approx(1.5)


def test_beliefs_are_equal_and_guide_alike():
    model = stirred()
    twin = parity.user_heads_to_keras(model)
    first = in_pytorch.believed(model, DATA.validation, stay=0.9, doubt=2.0)
    second = in_keras.believed(twin, DATA.validation, stay=0.9, doubt=2.0)
    beliefs = [states.arrays["belief"].astype(float) for states in (first, second)]
    np.testing.assert_allclose(*beliefs, atol=1e-2)
    assert np.ptp(beliefs[0]) > 0.5
    guided = model.with_states(first), twin.with_states(second)
    np.testing.assert_allclose(*(one.log_probs(TOKENS, USERS) for one in guided), atol=1e-3)


@pytest.mark.parametrize(
    ("evidence", "untold"),
    [(EVIDENCE[2], 0.0), *((evidence, 1.0) for evidence in EVIDENCE)],
    ids=["told", "word", "state", "word+state"],
)
def test_training_curves_are_equal(evidence, untold):
    model = untrained(evidence, untold=untold, weight=0.5)
    twin = parity.user_heads_to_keras(model)
    steps = pytorch_training.train(model, DATA, STEPS, progress=False).steps
    others = keras_training.train(twin, DATA, STEPS, progress=False).steps
    assert len(steps) >= 50
    np.testing.assert_allclose(steps[:50], others[:50], atol=2e-3)
    assert np.ptp(steps) > 0.5
    vectors = model.vectors.detach().numpy(), twin.vectors.numpy()
    np.testing.assert_allclose(*vectors, atol=2e-2)
    assert np.abs(vectors[0] - untrained(evidence).vectors.detach().numpy()).max() > 0.1
