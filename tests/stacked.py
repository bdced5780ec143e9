"""What both twins of stacked must do; each twin's test file says how to get at its weights."""

import numpy as np
import pytest

from companion.settings import BaseModelConfig
from companion.users.stacks import DOWN, SCALE, UP

WORDS, USERS = 17, 3
TOKENS = np.random.default_rng(0).integers(1, WORDS, (USERS, 4, 6), dtype=np.int32)
CONFIGS = [
    BaseModelConfig(cell=cell, embedding=5, hidden=7, layers=layers, tied=tied)
    for cell in ("lstm", "gru")
    for layers, tied in [(1, True), (2, False)]
]
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}{c.layers}{c.tied}")
forms = pytest.mark.parametrize("form", ["whole", "low rank", "scale"])


def drawn(rng, *shape):
    return rng.normal(scale=0.3, size=(USERS, *shape)).astype(np.float32)


def changes_of(twin, model, form, only=()):
    """A change of every matrix in one of the forms, and of every bias."""
    rng, found = np.random.default_rng(1), {}
    for name, (shape, matrix) in twin.shapes(model).items():
        if only and name not in only:
            continue
        if matrix is None or form == "whole":
            found[name] = drawn(rng, *shape)
        elif form == "low rank":
            found |= {name + DOWN: drawn(rng, matrix[0], 2), name + UP: drawn(rng, 2, matrix[1])}
        else:
            found[name + SCALE] = drawn(rng, matrix[0])
    return found


def predicted(twin, network, changes):
    """Log-probabilities ``(users, messages, time, word)`` of the networks of all users."""
    hidden = twin.hidden(network, TOKENS, changes)
    flat = hidden.reshape(USERS, -1, hidden.shape[-1])
    logits = twin.words(network, flat, changes).reshape(*TOKENS.shape, WORDS).astype(float)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@forms
@configs
def test_each_network_is_the_base_model_with_changed_weights(twin, config, form):
    model = twin.stirred(config)
    network = twin.StackedNetwork(model)
    changes = changes_of(twin, model, form)
    found, own = predicted(twin, network, changes), twin.changed(network, model, changes)
    single = twin.stirred(config)
    for user in range(USERS):
        twin.assign(single, {name: w[user % len(w)] for name, w in own.items()})
        np.testing.assert_allclose(found[user], single.log_probs(TOKENS[user]), atol=1e-5)
    assert np.abs(found - np.stack([model.log_probs(own) for own in TOKENS])).max() > 0.1


def test_without_a_change_a_weight_is_everybodys(twin):
    model = twin.stirred(CONFIGS[0])
    network = twin.StackedNetwork(model)
    for name, weight in twin.changed(network, model, {}).items():
        np.testing.assert_array_equal(weight, twin.weights(model)[name][None])


@forms
@pytest.mark.parametrize("config", CONFIGS[:2], ids=["projection", "output"])
def test_what_changes_behind_the_recurrent_layers_can_be_had_apart(twin, config, form):
    model = twin.stirred(config)
    network = twin.StackedNetwork(model)
    changes = changes_of(twin, model, form, only=twin.last)
    hidden = drawn(np.random.default_rng(2), 4, config.hidden)
    apart = twin.words_apart(network, hidden, changes)
    expected = twin.words(network, hidden, changes) - twin.words(network, hidden, {})
    np.testing.assert_allclose(apart, expected, atol=1e-5)
    assert np.abs(apart).max() > 0.1
