from types import SimpleNamespace

import pytest
import torch

from companion.pytorch import base_model, user_memory
from companion.pytorch.training import evaluating
from tests.user_memory import *  # noqa: F403  the tests that both twins must pass


def stir(network, scale):
    """Move all weights that are trained, at random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * scale)
    return network.eval()


@torch.inference_mode()
def said(network, text, known):
    """What the training takes the mean of: one text, with another remembered."""
    return network.log_likelihood(network.read(text), network.read(known)).numpy()


@torch.inference_mode()
def said_of_itself(network, text):
    """The same with itself remembered, as in training."""
    read = network.read(text)
    return network.log_likelihood(read, read).numpy()


@torch.no_grad()
def nudge(network):
    """The smallest change of a weight."""
    network.output.bias[3] += 1e-6


def weights(network):
    """All weights of a network that reads in every way, each matrix ``(in, out)``."""
    w = {name: weight.detach().numpy().T for name, weight in network.named_parameters()}
    named = {"value in": "value.0", "value out": "value.2", "pool": "pool.0", "ask": "ask"}
    found = {name: w[f"{layer}.weight"] for name, layer in named.items()}
    found |= {f"{name} bias": w[f"{layer}.bias"] for name, layer in named.items()}
    return found | {
        "embedding": w["embedding.weight"].T,
        "projection": w["projection.weight"],
        "words": w["output.bias"],
        "film": w["film.weight"],
        "guide bias": w["guide_bias.weight"],
        "count weight": w["count_weight"],
        "count scale": w["count_scale"],
    }


def predicted(model, hidden, user):
    """Log-probabilities of one state, a user's memory being open."""
    (opened,) = model.begin(1, [user])[-1]
    with evaluating(model):
        return model.network.prediction(torch.from_numpy(hidden)[None], opened)[0].numpy()


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        name="PyTorch",
        base_model=base_model,
        memory=user_memory,
        stir=stir,
        said=said,
        said_of_itself=said_of_itself,
        nudge=nudge,
        weights=weights,
        predicted=predicted,
    )


def test_what_is_trained_or_loaded_is_in_evaluation_mode(twin, cache, tmp_path):
    from tests.user_memory import trained

    for _ in range(2):
        model, _ = trained(twin)
        assert not any(layer.training for layer in model.modules())
    user_memory.save(model, tmp_path / "model")
    assert not any(layer.training for layer in user_memory.load(tmp_path / "model").modules())
