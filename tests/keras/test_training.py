import dataclasses
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from companion.corpora import PADDING, Corpus, split
from companion.keras import training
from companion.keras.base_model import BaseModel, fingerprint
from companion.keras.training import evaluate, masked_loss, train
from companion.settings import BaseModelConfig, TrainingConfig, learning_rate_at

SMALL = BaseModelConfig(embedding=6, hidden=8, dropout=0.1, tied=False)
SHORT = TrainingConfig(epochs=3, batch_size=8, learning_rate=0.01)


def small_data(seed=0):
    """Messages that count up from a random number: what comes next is almost certain."""
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(8)]
    starts, lengths = rng.integers(0, 4, 80), rng.integers(1, 5, 80)
    messages = [words[a : a + n] for a, n in zip(starts, lengths, strict=True)]
    return split(Corpus.from_messages(messages, users=["ada", "ben"] * 40))


DATA = small_data()
STEPS = -(-len(DATA.train) // 8)


def model():
    return BaseModel(len(DATA.vocabulary), SMALL, seed=1)


def run(built, config=SHORT):
    return train(built, DATA, config, progress=False)


def test_loss_leaves_padding_out_and_counts_every_token_once():
    logits = np.random.default_rng(0).normal(size=(3, 4, 9)).astype(np.float32)
    targets = np.array([[4, 5, 2, 0], [6, 2, 0, 0], [4, 5, 6, 2]], dtype=np.int32)
    log_probs = tf.nn.log_softmax(logits).numpy()
    each = [log_probs[i, j, t] for i, row in enumerate(targets) for j, t in enumerate(row) if t]
    assert float(masked_loss(logits, targets)) == pytest.approx(-np.mean(each), abs=1e-6)
    of_keras = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PADDING)
    assert float(masked_loss(logits, targets)) == pytest.approx(float(of_keras(targets, logits)))
    changed = np.where((targets == PADDING)[..., None], 99.0, logits).astype(np.float32)
    assert float(masked_loss(changed, targets)) == float(masked_loss(logits, targets))


def test_training_learns_and_can_be_repeated(capsys):
    built, again = model(), model()
    long = dataclasses.replace(SHORT, epochs=12)
    first = run(built, long)
    assert first.validation[-1] < first.validation[0] - 0.4
    assert len(first.steps) == 12 * STEPS
    assert len(first.training) == len(first.seconds) == 12
    assert capsys.readouterr().err == ""
    second = train(again, DATA, long, progress=True)
    assert "training" in capsys.readouterr().err
    assert second.steps == first.steps
    assert fingerprint(again) == fingerprint(built)


def test_the_first_batches_may_be_of_one_width():
    lengths = [4] * 12 + [2, 3, 5, 6, 7, 8] * 2  # one pool only, so that equal lengths meet
    messages = [["on"] * n for n in lengths]
    data = split(Corpus.from_messages(messages, users=["ada", "ben"] * 12))
    config = TrainingConfig(epochs=2, batch_size=2, pool=1)
    history = train(BaseModel(len(data.vocabulary), SMALL), data, config, progress=False)
    assert len(history.validation) == 2


def test_evaluate_is_the_mean_over_tokens():
    built = model()
    inputs, targets = DATA.test.padded(np.arange(len(DATA.test)))
    log_probs = built.log_probs(inputs)
    each = np.take_along_axis(log_probs, targets[..., None].astype(int), -1)[..., 0]
    assert evaluate(built, DATA.test) == pytest.approx(-each[targets != PADDING].mean(), abs=1e-5)
    with pytest.raises(ValueError, match="corpus is empty"):
        evaluate(built, DATA.test.select(np.array([], dtype=int)))


def losses(monkeypatch, values):
    """Make the validation losses what the test says, and record the weights behind each."""
    seen, left = [], iter(values)

    def evaluate(built, corpus):
        seen.append(fingerprint(built))
        value = next(left)
        return value if isinstance(value, float) else value()

    monkeypatch.setattr(training, "evaluate", evaluate)
    return seen


def test_early_stopping_brings_the_best_weights_back(monkeypatch):
    seen = losses(monkeypatch, [3.0, 2.0, 2.0, 2.1, 1.0])
    built = model()
    history = run(built, dataclasses.replace(SHORT, epochs=9, patience=2))
    assert history.validation == [3.0, 2.0, 2.0, 2.1]
    assert (history.best_epoch, history.best_loss) == (1, 2.0)
    assert fingerprint(built) == seen[1]


def press_ctrl_c():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores Ctrl-C
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_keeps_the_best_weights(monkeypatch, caplog):
    seen = losses(monkeypatch, [3.0, 2.0, 2.5, press_ctrl_c])
    built = model()
    history = run(built, dataclasses.replace(SHORT, epochs=9))
    assert history.interrupted
    assert history.validation == [3.0, 2.0, 2.5]
    assert fingerprint(built) == seen[1]
    assert "interrupted" in caplog.text


def test_ctrl_c_in_the_first_epoch_keeps_what_was_reached(monkeypatch):
    built = model()
    before, note = fingerprint(built), training._Recorder.on_train_batch_end

    def later(recorder, batch, logs=None):
        note(recorder, batch, logs)
        if batch == 3:
            press_ctrl_c()

    monkeypatch.setattr(training._Recorder, "on_train_batch_end", later)
    history = run(built)
    assert history.interrupted
    assert len(history.steps) == 4
    assert history.best_epoch is None
    assert fingerprint(built) != before


def test_nan_in_the_loss_names_the_place_and_keeps_the_best(monkeypatch):
    built = model()
    best = []

    def poison(*_):
        best.append(fingerprint(built))
        if len(best) == 2:
            built.to_words.bias.assign(np.full(built.to_words.bias.shape, np.nan))
        return 3.0 if len(best) == 1 else 4.0

    monkeypatch.setattr(training, "evaluate", poison)
    says = f"the loss is not finite in epoch 3 after {2 * STEPS} steps: try a learning_rate below"
    with pytest.raises(FloatingPointError, match=says):
        run(built)
    assert fingerprint(built) == best[0]


@tf.custom_gradient
def explosive(x):
    return tf.identity(x), lambda gradient: gradient * np.inf


def test_an_infinite_gradient_is_stopped_before_it_is_used(monkeypatch):
    finite = training.masked_loss
    monkeypatch.setattr(training, "masked_loss", lambda x, y: finite(explosive(x), y))
    built = model()
    before = fingerprint(built)
    with pytest.raises(FloatingPointError, match="norm of the gradient is not finite in epoch 1"):
        run(built)
    assert fingerprint(built) == before


def test_rows_of_an_embedding_are_added_up_before_clipping():
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0], [3.0]]), [1, 1, 2], (3, 1))
    stepped = []
    for gradient in (slices, tf.convert_to_tensor(slices)):
        table = keras.Variable(np.zeros((3, 1), np.float32))
        optimizer = training._Adam(dataclasses.replace(SHORT, clip=0.1, weight_decay=0.0), total=9)
        optimizer.apply([gradient], [table])
        stepped.append([table.numpy(), *(state.numpy() for state in optimizer.variables[1:])])
    for sparse, dense in zip(*stepped, strict=True):
        np.testing.assert_array_equal(sparse, dense)
    momentum = stepped[0][1]
    assert momentum[:, 0].tolist() == pytest.approx([0, 0.1 * 0.1 / 2**0.5, 0.1 * 0.1 / 2**0.5])


def test_rates_are_those_of_the_shared_schedule():
    rate = training._Rate(SHORT, total=20)
    expected = [learning_rate_at(step, 20, SHORT) for step in range(20)]
    np.testing.assert_allclose([float(rate(step)) for step in range(20)], expected, rtol=1e-6)


def test_frozen_weights_stay():
    built = model()
    built.embedding.trainable = False
    before = built.embedding.get_weights()[0]
    kernel = built.to_words.kernel.numpy()
    run(built, dataclasses.replace(SHORT, epochs=1))
    np.testing.assert_array_equal(built.embedding.get_weights()[0], before)
    assert not np.array_equal(built.to_words.kernel.numpy(), kernel)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_nothing_to_train_on_is_an_error(part):
    empty = DATA.train.select(np.array([], dtype=int))
    with pytest.raises(ValueError, match=f"data.{part} is empty"):
        train(model(), dataclasses.replace(DATA, **{part: empty}), SHORT, progress=False)


def test_a_model_that_lacks_words_is_refused():
    words = len(DATA.vocabulary)
    with pytest.raises(ValueError, match=f"vocabulary of {words - 1} words, but data has {words}"):
        run(BaseModel(words - 1, SMALL))
