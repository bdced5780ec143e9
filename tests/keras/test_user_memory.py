from types import SimpleNamespace

import numpy as np
import pytest

from companion.keras import base_model, user_memory
from companion.keras.reading import arrays_of
from tests.user_memory import *  # noqa: F403  the tests that both twins must pass
from tests.user_memory import TOKENS, WHO, remembering


def stir(network, scale):
    """Move all weights at random."""
    rng = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign_add(rng.normal(scale=scale, size=weight.shape))
    return network


def said(network, text, known):
    """What the training takes the mean of: one text, with another remembered."""
    return network.log_likelihood(network.read(text), network.read(known)).numpy()


def said_of_itself(network, text):
    """The same with itself remembered, as in training."""
    read = network._read(arrays_of(text))
    return network.log_likelihood(read, read).numpy()


def nudge(network):
    """The smallest change of a weight."""
    bias = network.to_words.bias
    bias.assign(bias.numpy() + 1e-6 * (np.arange(bias.shape[0]) == 3))


def weights(network):
    """All weights of a network that reads in every way, each matrix ``(in, out)``."""
    w = {name: weight.numpy() for name, weight in network._named().items()}
    named = {"value in": "value/0", "value out": "value/2", "pool": "pool/0", "ask": "ask"}
    found = {name: w[f"{layer}/kernel"] for name, layer in named.items()}
    found |= {f"{name} bias": w[f"{layer}/bias"] for name, layer in named.items()}
    return found | {
        "embedding": w["embedding"],
        "projection": w["projection/kernel"],
        "words": w["output/bias"],
        "film": w["film/kernel"],
        "guide bias": w["guide_bias/kernel"],
        "count weight": w["count_weight"],
        "count scale": w["count_scale"],
    }


def predicted(model, hidden, user):
    """Log-probabilities of one state, a user's memory being open."""
    (opened,) = model.begin(1, [user])[-1]
    return model.network.prediction(hidden[None], opened)[0].numpy()


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        name="Keras",
        base_model=base_model,
        memory=user_memory,
        stir=stir,
        said=said,
        said_of_itself=said_of_itself,
        nudge=nudge,
        weights=weights,
        predicted=predicted,
    )


def test_all_weights_that_are_trained_have_a_name(twin):
    """So that they are saved, and seen by the fingerprint."""
    network = remembering(twin, embedding=4).network
    kept = {id(weight) for weight in network._named().values()}
    assert kept == {id(weight) for weight in network.trainable_variables}


def test_few_traces_serve_all_users_and_lengths(twin):
    model = remembering(twin)
    for user in model.known_users:
        for messages in range(1, 4):
            model.with_memories(model.memories).log_probs(TOKENS[:messages], [user] * messages)
            model.remember(int(user), [5] * messages)
            model.log_probs(TOKENS, WHO)
    for traced in (model.network._prediction, model.network._summed):
        assert traced.experimental_get_tracing_count() <= 4
