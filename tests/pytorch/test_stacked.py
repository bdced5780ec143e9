from types import SimpleNamespace

import pytest
import torch

from companion.pytorch.base_model import BaseModel, weights_of
from companion.pytorch.stacked import StackedNetwork
from tests.stacked import *  # noqa: F403  the tests that both twins must pass
from tests.stacked import WORDS


def stirred(config):
    model, generator = BaseModel(WORDS, config, seed=3).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


@torch.no_grad()
def assign(model, arrays):
    for name, array in arrays.items():
        model.get_parameter(name).copy_(torch.tensor(array))


def shapes(model):
    """Shapes of all weights to change, and, of matrices, ``(in, out)``."""
    trained = {n: tuple(w.shape) for n, w in model.named_parameters() if w.requires_grad}
    return {n: (shape, shape[::-1] if len(shape) == 2 else None) for n, shape in trained.items()}


def tensors(changes):
    return {name: torch.tensor(array) for name, array in changes.items()}


@pytest.fixture
def twin():
    return SimpleNamespace(
        StackedNetwork=StackedNetwork,
        stirred=stirred,
        assign=assign,
        weights=weights_of,
        shapes=shapes,
        last=("projection.weight", "output.weight", "output.bias"),
        hidden=lambda network, tokens, changes: network.hidden(
            torch.tensor(tokens), tensors(changes)
        )[0].numpy(),
        words=lambda network, hidden, changes: network.words(
            torch.tensor(hidden), tensors(changes)
        ).numpy(),
        words_apart=lambda network, hidden, changes: network.words_apart(
            torch.tensor(hidden), tensors(changes)
        ).numpy(),
        changed=lambda network, model, changes: {
            name: network.changed(name, tensors(changes)).numpy() for name in weights_of(model)
        },
    )
