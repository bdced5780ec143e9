from types import SimpleNamespace

import pytest
import torch
from torch import nn

from companion.pytorch import base_model, hypernetworks, training
from tests.hypernetworks import *  # noqa: F403  the tests that both twins must pass

PREFIX = "network.generators."


def named(model):
    """Every weight, those of the generators by the names that the twins share."""
    for name, weight in model.named_parameters():
        path = name.removeprefix(PREFIX)
        yield name if path == name else path.replace(".weight", "/kernel").replace(".", "/"), weight


def generators(model):
    inside = {name.removeprefix("network.") for name, _ in model.named_parameters()}
    assert any(name.startswith("generators.") for name in inside)
    return {name: w.detach().numpy().copy() for name, w in named(model) if name[:2] in ("re", "ou")}


def stir(model, scale=0.3, only=None):
    """Move weights at random; all that are trained, where none are named."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in named(model):
            if weight.requires_grad and (only is None or name.removesuffix(".weight") in only):
                weight.add_(torch.randn(weight.shape, generator=generator) * scale)
        model.vectors.weight.copy_(model.vectors.weight.half())  # as they are stored
    return model.eval()


def in_training(model, ids, users, seed):
    torch.manual_seed(seed)
    found = model.train()(torch.tensor(ids), torch.tensor(users)).detach()
    model.eval()
    return found.log_softmax(-1).numpy()


def dropped(model, ids, users):
    """Sizes of what is dropped from, in training, in order."""
    sizes = []
    hook = model.network.dropout.register_forward_hook(lambda _, x, y: sizes.append(y.shape[-1]))
    in_training(model, ids, users, 0)
    hook.remove()
    return sizes


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        hyper=hypernetworks,
        base_model=base_model,
        training=training,
        generators=generators,
        stir=stir,
        in_training=in_training,
        dropped=dropped,
        vectors=lambda model: model.vectors.weight.detach().numpy().copy(),
    )


def test_a_model_on_its_way_to_a_device_stays_one(twin):
    """The network that is written reads the weights that are trained, also after a move."""
    model = fresh(twin)[0].to("cpu", torch.float64)  # noqa: F405
    inside = dict(model.network.named_parameters())
    for name, weight in model.network.stacked.weights.items():
        assert weight is inside[name]
    assert isinstance(model.network.generators, nn.ModuleDict)
