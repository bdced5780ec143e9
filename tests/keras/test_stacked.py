from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from companion.keras.adapting import shapes_of
from companion.keras.base_model import BaseModel, weights_of
from companion.keras.stacked import StackedNetwork
from tests.stacked import *  # noqa: F403  the tests that both twins must pass
from tests.stacked import WORDS


def stirred(config):
    model, rng = BaseModel(WORDS, config, seed=3), np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(scale=0.3, size=weight.shape))
    return model


def assign(model, arrays):
    for name, weight in model._named().items():
        weight.assign(arrays[name])


def shapes(model):
    """Shapes of all weights to change, and, of matrices, ``(in, out)``."""
    found = {name: tuple(weight.shape) for name, weight in model._named().items()}
    matrices = {name: None if name.endswith("bias") else s for name, s in shapes_of(model).items()}
    return {name: (shape, matrices[name]) for name, shape in found.items()}


def tensors(changes):
    return {name: ops.convert_to_tensor(array) for name, array in changes.items()}


@pytest.fixture
def twin():
    return SimpleNamespace(
        StackedNetwork=StackedNetwork,
        stirred=stirred,
        assign=assign,
        weights=weights_of,
        shapes=shapes,
        last=("projection/kernel", "output/kernel", "output/bias"),
        hidden=lambda network, tokens, changes: network.hidden(tokens, tensors(changes))[0].numpy(),
        words=lambda network, hidden, changes: network.words(
            ops.convert_to_tensor(hidden), tensors(changes)
        ).numpy(),
        words_apart=lambda network, hidden, changes: network.words_apart(
            ops.convert_to_tensor(hidden), tensors(changes)
        ).numpy(),
        changed=lambda network, model, changes: {
            name: np.array(network.changed(name, tensors(changes))) for name in weights_of(model)
        },
    )
