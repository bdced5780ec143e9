from types import SimpleNamespace

import pytest
import torch

from companion.pytorch import base_model, training, user_heads
from tests.user_heads import *  # noqa: F403  the tests that both twins must pass


def stir(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model.eval()


def predict(model, ids, vectors):
    """What the word head says, guided by these vectors ``(message, step, size)``."""
    with training.evaluating(model):
        hidden = model.network.hidden(torch.tensor(ids), None)
        return model.network.words(hidden, torch.tensor(vectors)).log_softmax(-1).numpy()


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        heads=user_heads,
        base_model=base_model,
        training=training,
        stir=stir,
        predict=predict,
        table=lambda model: model.evidence_of["word"].weight.detach().numpy(),
        vectors=lambda model: model.vectors.detach().numpy(),
    )
