from types import SimpleNamespace

import pytest
import torch

from companion.pytorch import base_model, training
from companion.pytorch import user_embeddings as embeddings
from tests.user_embeddings import *  # noqa: F403  the tests that both twins must pass
from tests.user_embeddings import CONFIG, DATA, NEW, SHORT, FittingConfig, fresh, on_data, on_which


def stir(model, scale=0.3):
    """Move all weights that are trained, at random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * scale)
        model.vectors.weight.copy_(model.vectors.weight.half())  # as they are stored
    return model.eval()


@torch.no_grad()
def add(weight, amount):
    weight += torch.as_tensor(amount)


def logits(model, ids, users=None):
    """What the training calls."""
    users = None if users is None else torch.tensor(users)
    return model(torch.tensor(ids), users).detach().numpy()


def in_training(model, ids, users, seed):
    """Logits as in training, from this random state."""
    torch.manual_seed(seed)
    found = logits(model.train(), ids, users)
    model.eval()
    return found


def lstm(model):
    """Weights of a network of one LSTM layer, each matrix ``(in, out)``."""
    w = {name: weight.detach().numpy() for name, weight in model.network.named_parameters()}
    return {
        "embedding": w["embedding.weight"],
        "input": w["recurrent.weight_ih_l0"].T,
        "recurrent": w["recurrent.weight_hh_l0"].T,
        "gates": w["recurrent.bias_ih_l0"],
        "projection": w["projection.weight"].T,
        "words": w["output.bias"],
    }


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        name="PyTorch",
        library=torch,
        embeddings=embeddings,
        base_model=base_model,
        training=training,
        stir=stir,
        add=add,
        logits=logits,
        in_training=in_training,
        lstm=lstm,
        tensor=torch.tensor,
        bias=lambda model: model.network.output.bias,
        table=lambda model: model.vectors.weight,
        vectors=lambda model: model.vectors.weight.detach().numpy().copy(),
    )


def test_training_ends_in_evaluation_mode(twin):
    model, _ = on_data(twin, make=fresh)
    training.train(model.train(), DATA, SHORT, progress=False)
    assert not any(layer.training for layer in model.modules())


def test_what_is_trained_or_kept_is_in_evaluation_mode(twin, cache):
    for _ in range(2):
        model, _ = embeddings.trained(DATA, on_which(twin), CONFIG, SHORT, progress=False)
        assert not any(layer.training for layer in model.modules())


def test_fitting_leaves_the_mode_as_it_was(twin):
    model = on_data(twin, scale=1.0).train()
    embeddings.fit(model, NEW, FittingConfig(steps=1))
    assert all(layer.training for layer in model.modules())
