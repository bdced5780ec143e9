from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from companion.keras import base_model, hypernetworks, training
from tests.hypernetworks import *  # noqa: F403  the tests that both twins must pass

PREFIX = "generators/"


def named(model):
    """Every weight, those of the generators by the names that the twins share."""
    inside = {n.removeprefix(PREFIX): weight for n, weight in model.network._named().items()}
    return {"vectors": model.vectors.embeddings, **inside}


def generators(model):
    return {
        name.removeprefix(PREFIX): weight.numpy()
        for name, weight in model.network._named().items()
        if name.startswith(PREFIX)
    }


def stir(model, scale=0.3, only=None):
    """Move weights at random; all of them, where none are named."""
    rng = np.random.default_rng(0)
    for name, weight in named(model).items():
        if only is None or name in only:
            weight.assign_add(scale * rng.normal(size=weight.shape))
    table = model.vectors.embeddings
    table.assign(table.numpy().astype(np.float16))  # as they are stored
    return model


def in_training(model, ids, users, seed):
    training._reseed(model, seed)
    return ops.log_softmax(model((ids, users.astype(np.int32)), training=True)).numpy()


def dropped(model, ids, users):
    """Sizes of what is dropped from, in training, in order."""
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        for layer in model.network.dropouts:
            call = layer.call
            note = lambda x, training, call=call: (  # noqa: E731
                sizes.append(x.shape[-1] * bool(training)) or call(x, training)
            )
            patch.setattr(layer, "call", note)
        in_training(model, ids, users, 0)
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
        vectors=lambda model: model.vectors.embeddings.numpy(),
    )


def test_all_weights_that_are_trained_have_a_name(twin):
    """So that they are saved, and seen by the fingerprint."""
    for base, writing in VARIANTS:  # noqa: F405
        model = fresh(twin, base, **writing)[0]  # noqa: F405
        kept = {id(weight) for weight in named(model).values()}
        assert kept == {id(weight) for weight in model.trainable_variables}
