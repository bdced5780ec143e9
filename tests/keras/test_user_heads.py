from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from companion.keras import base_model, training, user_heads
from tests.user_heads import *  # noqa: F403  the tests that both twins must pass


def stir(model):
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(scale=0.3, size=weight.shape))
    return model


def predict(model, ids, vectors):
    """What the word head says, guided by these vectors ``(message, step, size)``."""
    hidden = model.network.hidden(ops.convert_to_tensor(ids), None)
    return ops.log_softmax(model.network.words(hidden, ops.convert_to_tensor(vectors))).numpy()


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        heads=user_heads,
        base_model=base_model,
        training=training,
        stir=stir,
        predict=predict,
        table=lambda model: model.evidence_of["word"].embeddings.numpy(),
        vectors=lambda model: model.vectors.numpy(),
    )
