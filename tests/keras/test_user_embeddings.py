from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from companion.keras import base_model, training
from companion.keras import user_embeddings as embeddings
from tests.user_embeddings import *  # noqa: F403  the tests that both twins must pass
from tests.user_embeddings import stirred, tokens


def stir(model, scale=0.3):
    """Move all weights at random."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(scale=scale, size=weight.shape))
    table = model.vectors.embeddings
    table.assign(table.numpy().astype(np.float16))  # as they are stored
    return model


def logits(model, ids, users=None, training=False):
    """What the training calls."""
    inputs = ids if users is None else (ids, np.asarray(users, dtype=np.int32))
    return model(inputs, training=training).numpy()


def in_training(model, ids, users, seed):
    """Logits as in training, from this random state."""
    training._reseed(model, seed)
    return logits(model, ids, users, training=True)


def lstm(model):
    """Weights of a network of one LSTM layer, each matrix ``(in, out)``."""
    kernel, recurrent, bias = model.network.recurrent[0].get_weights()
    return {
        "embedding": model.network.embedding.embeddings.numpy(),
        "input": kernel,
        "recurrent": recurrent,
        "gates": bias,
        "projection": model.network.projection.kernel.numpy(),
        "words": model.network.to_words.bias.numpy(),
    }


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        name="Keras",
        library=keras,
        embeddings=embeddings,
        base_model=base_model,
        training=training,
        stir=stir,
        add=lambda weight, amount: weight.assign(weight.numpy() + amount),
        logits=logits,
        in_training=in_training,
        lstm=lstm,
        tensor=ops.convert_to_tensor,
        bias=lambda model: model.network.to_words.bias,
        table=lambda model: model.vectors.embeddings,
        vectors=lambda model: model.vectors.embeddings.numpy(),
    )


def test_one_trace_serves_all_shapes_and_all_users_of_a_network(twin):
    model = stirred(twin)
    for batch, time in [(1, 2), (3, 4), (5, 9)]:
        model.log_probs(tokens(batch, time))
        model.with_states(model.states()).log_probs(tokens(batch, time), [3] * batch)
    assert model.network._log_probs.experimental_get_tracing_count() == 1
