import dataclasses
import importlib
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import companion.keras
from companion.corpora import Corpus, split
from companion.keeping import cache as kept_things
from companion.keeping.files import CorruptedFileError
from companion.keras import training
from companion.keras.base_model import BaseModel, fingerprint, load, save, trained
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig, TrainingConfig

WORDS = 17
VARIANTS = [
    BaseModelConfig(cell=cell, embedding=5, hidden=hidden, layers=layers, tied=tied, dropout=0.3)
    for cell in ("lstm", "gru")
    for hidden, layers, tied in [(7, 1, False), (7, 2, True), (5, 1, True)]
]
variants = pytest.mark.parametrize("config", VARIANTS, ids=lambda c: f"{c.cell}{c.layers}{c.tied}")


def tokens(batch=4, time=6, seed=0):
    return np.random.default_rng(seed).integers(1, WORDS, size=(batch, time), dtype=np.int32)


def stirred(config):
    """A model whose biases are not zero, as after training."""
    model, rng = BaseModel(WORDS, config, seed=3), np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(scale=0.3, size=weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return stirred(VARIANTS[0])


@variants
def test_step_by_step_equals_the_full_pass(config):
    model = stirred(config)
    state, stepped = model.begin(4), []
    for column in tokens().T:
        log_probs, state = model.step(column, state)
        stepped.append(log_probs)
    np.testing.assert_allclose(np.stack(stepped, 1), model.log_probs(tokens()), atol=1e-5)


def test_a_step_leaves_the_state_before_it_alone(model):
    _, state = model.step(tokens()[:, 0], model.begin(4))
    before = [part.numpy() for layer in state for part in layer]
    model.step(tokens()[:, 1], state)
    after = [part.numpy() for layer in state for part in layer]
    np.testing.assert_array_equal(before, after)


@given(seed=st.integers(0, 99), padding=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_padding_changes_nothing_before_it(model, seed, padding):
    read = tokens(seed=seed)
    longer = np.pad(read, ((0, 0), (0, padding)))
    np.testing.assert_allclose(
        model.log_probs(longer)[:, : read.shape[1]], model.log_probs(read), atol=1e-6
    )


@given(order=st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_messages_of_a_batch_do_not_touch_each_other(model, order):
    np.testing.assert_allclose(
        model.log_probs(tokens()[order]), model.log_probs(tokens())[order], atol=1e-6
    )


def test_probabilities_sum_to_one_and_users_change_nothing(model):
    users = np.arange(4, dtype=np.int32)
    log_probs = model.log_probs(tokens(), users)
    assert log_probs.shape == (4, 6, WORDS)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(log_probs, model.log_probs(tokens()))
    backwards = model.log_probs(tokens()[::-1], np.arange(4)[::-1])
    np.testing.assert_allclose(backwards, log_probs[::-1], atol=1e-6)
    np.testing.assert_array_equal(model((tokens(), users)), model(tokens()))
    logits = model((tokens(), users))
    np.testing.assert_allclose(tf.nn.log_softmax(logits), log_probs, atol=1e-5)


def test_dropout_is_on_in_training_only(model):
    np.testing.assert_array_equal(model(tokens()), model(tokens(), training=False))
    assert not np.array_equal(model(tokens(), training=True), model(tokens(), training=True))


def test_one_trace_serves_all_shapes():
    model = BaseModel(WORDS, VARIANTS[0])
    for batch, time in [(1, 2), (3, 4), (5, 9)]:
        model.log_probs(tokens(batch, time))
    assert model._log_probs.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (np.array([[1, WORDS]]), ValueError, "token id 17 is outside the vocabulary: .* 0 to 16"),
        (np.array([[-1]]), ValueError, "token id -1"),
        (np.array([[1.0]]), TypeError, "must be integers .* not float64"),
        (np.array([1, 2]), ValueError, "must have 2 axes, not 1"),
    ],
)
def test_bad_tokens(model, wrong, error, says):
    with pytest.raises(error, match=says):
        model.log_probs(wrong)


@pytest.mark.parametrize(
    ("users", "error", "says"),
    [
        ([0, -4], ValueError, "user id -4 is outside the users known: ids go from 0 upwards"),
        ([0.0, 1.0], TypeError, "user ids must be integers"),
        ([0, 1, 2], ValueError, "users must be one for each message: 3 for 2"),
    ],
)
def test_bad_users(model, users, error, says):
    with pytest.raises(error, match=says):
        model.log_probs(tokens(batch=2), users)
    with pytest.raises(error, match=says):
        model.step(tokens(batch=2)[:, 0], model.begin(2), users)


def test_seed_decides_the_weights():
    first, same, other = (fingerprint(BaseModel(WORDS, VARIANTS[0], seed)) for seed in (1, 1, 2))
    assert first == same != other


def test_initial_weights_follow_the_shared_recipe():
    model = BaseModel(300, BaseModelConfig(embedding=40, hidden=50, tied=False))
    kernel, recurrent, bias = model.recurrent[0].get_weights()
    assert 0.04 < np.abs(model.embedding.get_weights()[0]).max() <= 0.05
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(50), atol=1e-5)
    output = model.to_words.kernel.numpy()
    for weight, reads, gives in [(kernel, 40, 200), (output, 50, 300)]:
        limit = (6 / (reads + gives)) ** 0.5
        assert 0.9 * limit < np.abs(weight).max() <= limit
    assert bias.tolist() == [0.0] * 50 + [1.0] * 50 + [0.0] * 100


def test_every_layer_starts_with_other_weights():
    first, second = BaseModel(9, BaseModelConfig(embedding=4, hidden=4, layers=2)).recurrent
    assert not np.array_equal(first.get_weights()[0], second.get_weights()[0])


def test_tied_output_shares_the_embedding():
    model = BaseModel(WORDS, VARIANTS[1])
    sizes = [int(np.prod(w.shape)) for w in model.trainable_variables]
    assert sizes.count(WORDS * 5) == 1
    assert WORDS * 7 not in sizes


@variants
def test_saved_model_comes_back(tmp_path, config):
    model = stirred(config)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.config == config
    assert fingerprint(loaded) == fingerprint(model)
    np.testing.assert_array_equal(loaded(tokens()), model(tokens()))


def test_a_file_with_other_weights_is_refused(tmp_path):
    model = BaseModel(WORDS, VARIANTS[0])
    model.config = dataclasses.replace(model.config, hidden=6)
    save(model, tmp_path / "model")
    with pytest.raises(CorruptedFileError, match="other weights than its configuration"):
        load(tmp_path / "model")


def test_fingerprint_sees_the_smallest_change():
    model = BaseModel(WORDS, VARIANTS[0])
    before = fingerprint(model)
    bias = model.to_words.bias.numpy()
    bias[3] += 1e-7
    model.to_words.bias.assign(bias)
    assert fingerprint(model) != before


def test_keyboard_on_a_real_model():
    corpus = Corpus.from_messages([["see", "you"], ["so", "soon"]], users=["ada", "ben"])
    keyboard = Keyboard(BaseModel(len(corpus.vocabulary), VARIANTS[0]), corpus.vocabulary, user=1)
    assert set(keyboard.suggest(["you"], "so")) == {"so", "soon"}
    assert len(keyboard.suggest(["you", "see"])) == 3


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    return tmp_path


def small_data():
    rng = np.random.default_rng(0)
    messages = [["go", "on", "and", "on"][: rng.integers(1, 5)] for _ in range(40)]
    return split(Corpus.from_messages(messages, users=["ada", "ben"] * 20))


SMALL = BaseModelConfig(embedding=4, hidden=4)
SHORT = TrainingConfig(epochs=2, batch_size=8)


def test_trained_once_and_kept_with_its_history(cache, monkeypatch):
    model, history = trained(small_data(), SMALL, SHORT, progress=False)
    monkeypatch.setattr(training, "train", None)  # a second training would fail
    again, same = trained(small_data(), SMALL, SHORT, progress=False)
    assert fingerprint(again) == fingerprint(model)
    assert same == history


@pytest.fixture
def key_of(monkeypatch):
    """The key under which a training is kept; nothing is trained."""
    monkeypatch.setattr(kept_things, "kept", lambda key, *_, **__: key)
    return lambda *arguments: kept_things.file_name(trained(*arguments))


def test_everything_that_decides_is_in_the_key(monkeypatch, key_of):
    data = small_data()
    other = dataclasses.replace(data, validation=data.test)
    calls = [
        (data, SMALL, SHORT),
        (other, SMALL, SHORT),
        (data, dataclasses.replace(SMALL, hidden=5), SHORT),
        (data, SMALL, dataclasses.replace(SHORT, seed=1)),
    ]
    keys = [key_of(*call) for call in calls]
    monkeypatch.setattr(keras, "__version__", "9.9")
    keys.append(key_of(*calls[0]))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "module",
    [
        "checks",
        "corpora.batches",
        "corpora.corpus",
        "corpora.vocabulary",
        "history",
        "keras.base_model",
        "keras.training",
        "settings",
    ],
)
def test_code_that_decides_is_in_the_key(monkeypatch, key_of, module):
    read = inspect.getsource
    key = key_of(small_data(), SMALL, SHORT)

    def changed(of):
        return read(of) + "# changed" * (of.__name__ == f"companion.{module}")

    monkeypatch.setattr(inspect, "getsource", changed)
    assert key_of(small_data(), SMALL, SHORT) != key


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match=r"backend is jax: set .* KERAS_BACKEND to tensorflow"):
        importlib.reload(companion.keras)
