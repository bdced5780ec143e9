from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from companion.keras import adapting, base_model, training
from companion.keras import fine_tuning as tuning
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from tests.fine_tuning import *  # noqa: F403  the tests that both twins must pass
from tests.fine_tuning import FEW, LAST, LATER, TEXT, Strategy, steps_of

EMBEDDING, BIAS = "embedding", "output/bias"


def stir(model, seed):
    """Move all weights at random."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(scale=0.1, size=weight.shape))
    return model


def put(model, name, value):
    """Set the numbers of the last row of a weight, those of the last word."""
    array = model._named()[name].numpy()
    array[-1] = value
    model._named()[name].assign(array)


def logits(model, ids, users=None):
    """What the training calls."""
    return model(ids if users is None else (ids, users)).numpy()


def fall_to_zero(rate, steps):
    """Adam as PyTorch has it."""
    fall = keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0)
    return training.LateEpsilonAdam(fall, *ADAM_BETAS, epsilon=ADAM_EPSILON)


def by_loop(base, user, strategy, importance=None):
    """Changes of a copy of the base model, trained on a user's messages the plain way."""
    model = base_model.BaseModel(base.vocabulary_size, base.config)
    start, steps = base_model.weights_of(base), steps_of(user, strategy)
    base_model.assign(model, start, "")
    frozen = () if "recurrent" in strategy.layers else ("embedding", "recurrent")
    weights = {name: w for name, w in model._named().items() if not name.startswith(frozen)}
    scale = {name: strategy.bias_scale if name == BIAS else 1.0 for name in weights}
    adams = {s: fall_to_zero(strategy.learning_rate * s, len(steps)) for s in {*scale.values()}}
    text = TEXT.of_users(user)
    for inputs, targets in steps:
        with tf.GradientTape() as tape:
            read = model(inputs)
            loss = training.masked_loss(read, targets)
            for name, weight in weights.items():
                held = importance[name] if importance else scale[name] ** -2
                squares = tf.reduce_sum(held * (weight.value - start[name]) ** 2)
                loss += strategy.pull / 2 * squares / (text.n_tokens + len(text))
            if strategy.distillation:
                apart = tf.nn.log_softmax(base(inputs))
                divergence = tf.reduce_sum(tf.exp(apart) * (apart - tf.nn.log_softmax(read)), -1)
                loss += strategy.distillation * tf.reduce_mean(divergence[targets != 0])
        found = tape.gradient(loss, {name: weight.value for name, weight in weights.items()})
        for size, adam in adams.items():
            names = [name for name in weights if scale[name] == size]
            moved = [weights[name] for name in names]
            adam.apply([tf.convert_to_tensor(found[name]) for name in names], moved)
    return {name: weight.numpy() - start[name] for name, weight in weights.items()}


def gradients(model, row, place, word):
    """Gradient of the log-probability of a word at one place of a message."""
    with tf.GradientTape() as tape:
        log_prob = tf.nn.log_softmax(model(row[None])[0, place])[word]
    found = tape.gradient(log_prob, {name: w.value for name, w in model._named().items()})
    return {name: tf.convert_to_tensor(gradient).numpy() for name, gradient in found.items()}


def product(name, down, up):
    """The change of a weight that two narrow matrices make."""
    change = down @ up
    return change.swapaxes(1, 2) if name == EMBEDDING else change


@pytest.fixture(scope="module")
def twin():
    return SimpleNamespace(
        name="Keras",
        tuning=tuning,
        adapting=adapting,
        base_model=base_model,
        training=training,
        stir=stir,
        put=put,
        logits=logits,
        by_loop=by_loop,
        gradients=gradients,
        product=product,
        embedding=EMBEDDING,
        projection="projection/kernel",
        bias=BIAS,
    )


def test_one_trace_serves_all_groups(base, monkeypatch):
    made, make = [], adapting._Objective
    monkeypatch.setattr(
        adapting, "_Objective", lambda *given: made.append(make(*given)) or made[-1]
    )
    strategy = Strategy(LAST, **FEW, rank=2, early_stopping=True)
    tuning.personalize(base, TEXT, None, strategy, LATER, group_size=2)
    [objective] = made
    steps = objective.gradients, objective.validation_loss, objective.read
    assert [step.experimental_get_tracing_count() for step in steps] == [1, 1, 1]
