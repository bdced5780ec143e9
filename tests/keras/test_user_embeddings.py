import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from companion import keeping
from companion.corpora import BEGIN, Corpus, split
from companion.files import CorruptedFileError
from companion.keras import base_model, training
from companion.keras import user_embeddings as embeddings
from companion.keras.base_model import BaseModel
from companion.keras.training import evaluate, masked_loss, train
from companion.keyboard import Keyboard
from companion.methods import PLACEMENTS, FittingConfig, UserEmbeddingConfig
from companion.personal import delete_state, load_states
from companion.settings import BaseModelConfig, TrainingConfig

WORDS, USERS = 17, np.array([3, 5, 9])
SHORT = TrainingConfig(epochs=2, batch_size=8)
VARIANTS = [  # all others are held against PyTorch, in tests/test_parity_user_embeddings.py
    (BaseModelConfig(cell=cell, embedding=5, hidden=7, layers=layers, dropout=0.3), placements)
    for cell, layers, placements in [("lstm", 1, ("input",)), ("gru", 2, PLACEMENTS)]
]
variants = pytest.mark.parametrize(
    ("base", "placements"), VARIANTS, ids=[f"{b.cell}{b.layers}{'+'.join(p)}" for b, p in VARIANTS]
)
BASE, DEFAULT = VARIANTS[0][0], ("film", "output")
WHO = np.array([5, 3, 9, 5])


def tokens(batch=4, time=6, seed=0):
    return np.random.default_rng(seed).integers(1, WORDS, size=(batch, time), dtype=np.int32)


def fresh(base=BASE, placements=DEFAULT, words=WORDS, users=USERS, **settings):
    """Embeddings as they are before training, and the base model below them."""
    below = BaseModel(words, base, seed=3)
    config = UserEmbeddingConfig(size=4, placements=placements, **settings)
    return embeddings.from_base(below, users, config, seed=1), below


def stirred(*arguments, scale=0.3, **settings):
    """Embeddings whose weights have all moved, as after training."""
    model, rng = fresh(*arguments, **settings)[0], np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign_add(rng.normal(scale=scale, size=weight.shape))
    table = model.vectors.embeddings
    table.assign(table.numpy().astype(np.float16))
    return model


@pytest.fixture(scope="module")
def model():
    """One for all tests that do not change it."""
    return stirred()


def logits(model, ids, users=None, training=False):
    """What the training calls."""
    inputs = ids if users is None else (ids, np.asarray(users, dtype=np.int32))
    return model(inputs, training=training).numpy()


def vectors(model):
    return model.vectors.embeddings.numpy()


def nudge(model):
    """The smallest change of a weight."""
    bias = model.network.to_words.bias.numpy()
    bias[3] += 1e-6
    model.network.to_words.bias.assign(bias)


def two_habits():
    """Four users: two always go on, two always stay in."""
    messages = [["go", "on"], ["stay", "in"]] * 2 * 20
    return split(Corpus.from_messages(messages, users=["ada", "ben", "cy", "di"] * 20))


DATA = two_habits()


def on_data(placements=DEFAULT, make=stirred, **settings):
    """Embeddings of the four users above."""
    return make(BASE, placements, len(DATA.vocabulary), DATA.known_users, **settings)


@variants
def test_predicts_as_the_base_model_at_first(base, placements):
    model, below = fresh(base, placements)
    for users in (WHO, None):
        np.testing.assert_allclose(
            model.log_probs(tokens(), users), below.log_probs(tokens()), atol=1e-6
        )
    assert np.abs(vectors(model)[:-1]).min() > 0
    assert not vectors(model)[-1].any()


@pytest.mark.parametrize("place", PLACEMENTS)
def test_each_placement_changes_the_prediction_once_trained(place):
    model, _ = on_data((place,), make=fresh)
    before = vectors(model)
    history = train(model, DATA, SHORT, progress=False)
    row = np.array([[BEGIN]])
    ada, ben, anyone = (model.log_probs(row, users) for users in ([0], [1], None))
    assert np.abs(ada - ben).max() > 1e-4
    assert np.abs(ada - anyone).max() > 1e-5
    assert (vectors(model) != before).any(1).all()  # anyone's, too
    assert history.validation[-1] < history.steps[0]


def by_hand(model, row, vector):
    """Logits of a concatenation LSTM of one layer, each gate written out."""
    kernel, recurrent, bias = model.network.recurrent[0].get_weights()
    words, projection, to_words = (
        weight.numpy()
        for weight in (
            model.network.embedding.embeddings,
            model.network.projection.kernel,
            model.network.to_words.bias,
        )
    )
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    h, c, found = np.zeros(7), np.zeros(7), []
    for token in row:
        x = np.concatenate([words[token], vector])
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(words @ (h @ projection) + to_words)
    return np.array(found)


def test_the_input_placement_equals_the_concatenation_written_out():
    model = stirred(BASE, ("input",))
    rows = [1, 0, 2, 1]  # of the table, whom WHO names
    expected = [by_hand(model, m, vectors(model)[r]) for m, r in zip(tokens(), rows, strict=True)]
    np.testing.assert_allclose(logits(model, tokens(), WHO), expected, atol=1e-5)


@variants
def test_step_by_step_equals_the_full_pass(base, placements):
    model = stirred(base, placements)
    for users in (WHO, None):
        state, stepped = model.begin(4, users), []
        for column in tokens().T:
            log_probs, state = model.step(column, state)
            stepped.append(log_probs)
        np.testing.assert_allclose(
            np.stack(stepped, 1), model.log_probs(tokens(), users), atol=1e-5
        )


def test_who_types_is_settled_at_the_beginning(model):
    state = model.begin(4, WHO)
    first, same = (model.step(tokens()[:, 0], state, users)[0] for users in (None, WHO[::-1]))
    np.testing.assert_array_equal(first, same)
    other, _ = model.step(tokens()[:, 0], model.begin(4, WHO[::-1]))
    assert np.abs(first - other).max() > 1e-3


def test_probabilities_sum_to_one(model):
    log_probs = model.log_probs(tokens(), WHO)
    assert log_probs.shape == (4, 6, WORDS)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("place", PLACEMENTS)
def test_padding_changes_nothing_before_it(place):
    model = stirred(BASE, (place,))
    longer = np.pad(tokens(), ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        logits(model, longer, WHO)[:, :6], logits(model, tokens(), WHO), atol=1e-5
    )


@pytest.mark.parametrize("place", PLACEMENTS)
def test_messages_of_a_batch_do_not_touch_each_other(place):
    model, order = stirred(BASE, (place,)), [2, 0, 3, 1]
    np.testing.assert_allclose(
        logits(model, tokens()[order], WHO[order]), logits(model, tokens(), WHO)[order], atol=1e-5
    )


@pytest.mark.parametrize(
    ("users", "error", "says"),
    [
        ([3, 4], ValueError, "user 4 is none of the 3 users known"),
        ([3, 99], ValueError, "user 99 is none of the 3 users known.* fit this user's state"),
        ([3, -1], ValueError, "user id -1 is outside"),
        ([3.0, 5.0], TypeError, "user ids must be integers"),
        ([3], ValueError, "users must be one for each message: 1 for 2"),
    ],
)
def test_bad_users(model, users, error, says):
    with pytest.raises(error, match=says):
        model.log_probs(tokens(2), users)
    with pytest.raises(error, match=says):
        model.begin(2, users)


def test_bad_tokens(model):
    with pytest.raises(ValueError, match="token id 17 is outside the vocabulary"):
        model.log_probs(np.array([[WORDS]]), [3])
    with pytest.raises(TypeError, match="must be integers"):
        model.step(np.array([1.0]), model.begin(1))


def test_no_users_and_ids_of_nobody_are_anyone(model):
    anyone = logits(model, tokens())
    for nobody in ([4, 0, 8, 6], [10, 11, 2**31 - 1, 99], [-1, -2, -3, -99]):
        np.testing.assert_array_equal(logits(model, tokens(), nobody), anyone)
    assert np.abs(logits(model, tokens(), WHO) - anyone).max() > 1e-3
    np.testing.assert_allclose(tf.nn.log_softmax(anyone), model.log_probs(tokens()), atol=1e-6)


def in_training(model, users, seed=0):
    """Logits as in training, from this random state."""
    training._reseed(model, seed)
    return logits(model, tokens(), users, training=True)


def test_user_dropout_reads_messages_as_anyones():
    still = dataclasses.replace(BASE, dropout=0.0)
    model = stirred(still, user_dropout=0.999, dropout=0.0)
    np.testing.assert_allclose(in_training(model, WHO), logits(model, tokens()), atol=1e-6)
    model = stirred(still, user_dropout=0.5, dropout=0.0)
    own = logits(model, tokens(), WHO)
    drawn = {tuple(np.isclose(in_training(model, WHO, seed), own).all((1, 2))) for seed in range(8)}
    assert len(drawn) > 2  # message by message, another draw every time


def test_dropout_of_the_vector_is_on_in_training_only():
    still = dataclasses.replace(BASE, dropout=0.0)
    model = stirred(still, user_dropout=0.0, dropout=0.5)
    assert np.abs(in_training(model, WHO) - in_training(model, WHO, seed=1)).max() > 1e-3
    np.testing.assert_array_equal(logits(model, tokens(), WHO), logits(model, tokens(), WHO))
    model = stirred(still, user_dropout=0.0, dropout=0.0)
    np.testing.assert_allclose(in_training(model, WHO), logits(model, tokens(), WHO), atol=1e-6)


@pytest.mark.parametrize(
    ("part", "without"),
    [
        ("hidden", lambda tokens, vectors: tf.ones((4, 6, 7))),
        ("words", lambda hidden, vectors: hidden),
    ],
)
def test_dropout_of_the_base_model_stays_before_and_behind_its_layers(monkeypatch, part, without):
    model = stirred(dataclasses.replace(BASE, dropout=0.5), user_dropout=0.0, dropout=0.0)
    monkeypatch.setattr(model.network, part, without)
    assert np.abs(in_training(model, WHO) - in_training(model, WHO, seed=1)).max() > 1e-3
    np.testing.assert_array_equal(logits(model, tokens(), WHO), logits(model, tokens(), WHO))


def test_one_trace_serves_all_shapes_and_all_users_of_a_network():
    model = stirred()
    for batch, time in [(1, 2), (3, 4), (5, 9)]:
        model.log_probs(tokens(batch, time))
        model.with_states(model.states()).log_probs(tokens(batch, time), [3] * batch)
    assert model.network._log_probs.experimental_get_tracing_count() == 1


def test_training_can_be_repeated():
    first, again = on_data(), on_data()
    histories = [train(model, DATA, SHORT, progress=False) for model in (first, again)]
    assert histories[0].steps == histories[1].steps
    np.testing.assert_array_equal(vectors(first), vectors(again))


def test_the_seed_decides_the_first_vectors():
    below = BaseModel(WORDS, BASE)
    config = UserEmbeddingConfig(size=4)
    first, same, other = (
        vectors(embeddings.from_base(below, USERS, config, seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first[:-1] != other[:-1]).all()


@variants
def test_saved_model_comes_back(tmp_path, base, placements):
    model = stirred(base, placements)
    embeddings.save(model, tmp_path / "model")
    loaded = embeddings.load(tmp_path / "model")
    assert (loaded.network.config, loaded.network.reading) == (base, model.network.reading)
    assert embeddings.fingerprint(loaded) == embeddings.fingerprint(model)
    np.testing.assert_array_equal(loaded.log_probs(tokens(), WHO), model.log_probs(tokens(), WHO))
    np.testing.assert_array_equal(loaded.log_probs(tokens()), model.log_probs(tokens()))


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    model, below = fresh()
    embeddings.save(model, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[:-9])
    with pytest.raises(CorruptedFileError, match="truncated"):
        embeddings.load(tmp_path / "model")
    base_model.save(below, tmp_path / "base")
    with pytest.raises(ValueError, match="holds a base model in Keras, not a user embedding"):
        embeddings.load(tmp_path / "base")
    with pytest.raises(FileNotFoundError):
        embeddings.load(tmp_path / "nothing")


def test_a_file_with_other_weights_is_refused(tmp_path):
    model = stirred()
    model.network.reading = dataclasses.replace(model.network.reading, placements=("film",))
    embeddings.save(model, tmp_path / "model")
    with pytest.raises(CorruptedFileError, match="other weights than its configuration"):
        embeddings.load(tmp_path / "model")


def test_fingerprint_sees_the_network_and_not_the_users():
    model = stirred()
    before = embeddings.fingerprint(model)
    model.vectors.embeddings.assign_add(np.ones((4, 4)))
    assert embeddings.fingerprint(model) == before
    nudge(model)
    assert embeddings.fingerprint(model) != before


def test_states_are_256_bytes_a_user_by_default():
    below = BaseModel(WORDS, BASE)
    states = embeddings.from_base(below, USERS).states()
    assert (len(states), states.bytes_per_user) == (3, 256)
    assert states.users.tolist() == [3, 5, 9]


def test_states_can_be_saved_loaded_and_deleted_one_by_one(model, tmp_path):
    model.states().save(tmp_path)
    again = model.with_states(load_states(tmp_path, embeddings.fingerprint(model)))
    np.testing.assert_array_equal(again.log_probs(tokens(), WHO), model.log_probs(tokens(), WHO))
    np.testing.assert_array_equal(again.log_probs(tokens()), model.log_probs(tokens()))
    delete_state(tmp_path, 5)
    left = model.with_states(load_states(tmp_path, embeddings.fingerprint(model)))
    with pytest.raises(ValueError, match="user 5 is none of the 2 users known"):
        left.log_probs(tokens(1), [5])
    np.testing.assert_array_equal(
        left.log_probs(tokens(2), [3, 9]), model.log_probs(tokens(2), [3, 9])
    )
    assert left.network is model.network


def test_states_of_another_network_are_refused(tmp_path):
    model = stirred()
    states = model.states()
    states.save(tmp_path)
    nudge(model)
    with pytest.raises(ValueError, match="were made for the network"):
        model.with_states(states)
    with pytest.raises(ValueError, match="were made for the network"):
        load_states(tmp_path, embeddings.fingerprint(model))


NEW = DATA.train.of_users([0, 1]).first(5)


def loss(model, users, corpus=NEW):
    """Mean loss of a corpus read with the vectors of these users, or of one for all."""
    inputs, targets = corpus.padded(np.arange(len(corpus)))
    return float(masked_loss(model.log_probs(inputs, users), targets))


@pytest.mark.parametrize("placements", [("input",), ("state",), DEFAULT])
def test_fitting_lowers_the_loss_and_touches_nothing_else(placements):
    model = on_data(placements, scale=1.0)
    network, table = embeddings.fingerprint(model), vectors(model)
    states = embeddings.fit(model, NEW)
    assert embeddings.fingerprint(model) == network
    np.testing.assert_array_equal(vectors(model), table)
    assert states.users.tolist() == [0, 1]
    fitted, typical = model.with_states(states), table[:-1].mean(0, keepdims=True)
    before = model.with_states(
        dataclasses.replace(states, arrays={"vector": typical.repeat(2, axis=0)})
    )
    for user in (0, 1):
        own = NEW.of_users(user)
        assert loss(fitted, own.users, own) < loss(before, own.users, own) - 0.01


def test_users_are_fitted_as_if_each_were_alone():
    model = on_data()
    together = embeddings.fit(model, NEW)
    for user in (0, 1):
        alone = embeddings.fit(model, NEW.of_users(user))
        np.testing.assert_allclose(
            alone.arrays["vector"], together.of([user]).arrays["vector"], atol=2e-3
        )


def test_a_stronger_pull_keeps_vectors_closer_to_the_typical_one():
    model = on_data()
    typical = vectors(model)[:-1].mean(0)
    apart = [
        np.abs(embeddings.fit(model, NEW, FittingConfig(pull=p)).arrays["vector"] - typical).mean()
        for p in (0.0, 1.0, 100.0)
    ]
    assert apart[0] > apart[1] > apart[2]


def test_what_cannot_be_fitted_is_refused():
    model = on_data()
    with pytest.raises(ValueError, match="corpus is empty"):
        embeddings.fit(model, NEW.select(np.array([], dtype=int)))
    with pytest.raises(ValueError, match="outside the vocabulary"):
        embeddings.fit(stirred(words=5, users=USERS), NEW)
    with pytest.raises(ValueError, match="must know at least 2 users, not 1"):
        embeddings.fit(model.with_states(model.states().of([1])), NEW)


def test_fitting_ends_near_the_minimum():
    model = on_data(scale=1.0)
    states = [embeddings.fit(model, NEW, FittingConfig(steps=steps)) for steps in (40, 160)]
    first, second = (model.with_states(s) for s in states)
    for user in (0, 1):
        own = NEW.of_users(user)
        assert abs(loss(first, own.users, own) - loss(second, own.users, own)) < 0.2


def test_fitted_once_and_kept(cache, monkeypatch):
    model = on_data(scale=1.0)
    made = embeddings.fitted(model, NEW)
    monkeypatch.setattr(embeddings, "fit", None)  # not asked again
    kept = embeddings.fitted(model, NEW)
    np.testing.assert_array_equal(made.arrays["vector"], kept.arrays["vector"])
    assert kept.users.tolist() == made.users.tolist()
    assert kept.model == embeddings.fingerprint(model)
    with pytest.raises(TypeError):
        embeddings.fitted(model, NEW, FittingConfig(pull=2.0))


def test_vectors_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="vector of user 0 holds numbers that are not finite"):
        embeddings.fit(on_data(scale=1.0), NEW, FittingConfig(learning_rate=1e9))


@pytest.mark.parametrize(
    ("users", "rows", "says"),
    [([-1, 3], 3, "user id -1"), ([3, 3], 3, "ascending"), ([5, 3], 3, "ascending"),
     ([], 1, "at least one"), ([3, 5], 2, r"must have shape \(3, 4\)")],
)  # fmt: skip
def test_a_table_that_does_not_fit_its_users_is_refused(users, rows, says):
    network = fresh()[0].network
    with pytest.raises(ValueError, match=says):
        embeddings.UserEmbedding(network, np.array(users, int), np.zeros((rows, 4), np.float32))


def test_states_of_another_method_are_refused():
    model = fresh()[0]
    states = dataclasses.replace(model.states(), arrays={"bias": np.zeros((3, 2))})
    with pytest.raises(ValueError, match=r"\['bias'\], no vector"):
        model.with_states(states)


def test_keyboard_suggests_what_this_user_would_type():
    model, vocabulary = on_data(), DATA.vocabulary
    for user in (0, 1):
        keyboard = Keyboard(model, vocabulary, user=user)
        best = model.log_probs(np.array([[BEGIN]]), [user])[0, 0, 4:].argsort()[::-1][:3] + 4
        assert keyboard.suggest([]) == vocabulary.decode(best)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    return tmp_path


CONFIG = UserEmbeddingConfig(size=4)


def on_which():
    return BaseModel(len(DATA.vocabulary), BASE, seed=1)


def test_trained_once_and_kept_with_its_history(cache, monkeypatch):
    below = on_which()
    before = base_model.fingerprint(below)
    model, history = embeddings.trained(DATA, below, CONFIG, SHORT, progress=False)
    assert base_model.fingerprint(below) == before
    monkeypatch.setattr(training, "train", None)  # a second training would fail
    again, same = embeddings.trained(DATA, below, CONFIG, SHORT, progress=False)
    assert embeddings.fingerprint(again) == embeddings.fingerprint(model)
    np.testing.assert_array_equal(vectors(again), vectors(model))
    assert same == history
    assert evaluate(again, DATA.test) == evaluate(model, DATA.test)


@pytest.fixture
def key_of(monkeypatch):
    """The key under which a training is kept; nothing is trained."""
    monkeypatch.setattr(keeping, "kept", lambda key, *_, **__: key)
    return lambda *arguments: keeping.file_name(embeddings.trained(*arguments))


def test_everything_that_decides_is_in_the_key(monkeypatch, key_of):
    below, other = on_which(), BaseModel(len(DATA.vocabulary), BASE, seed=2)
    calls = [
        (DATA, below, CONFIG, SHORT),
        (dataclasses.replace(DATA, validation=DATA.test), below, CONFIG, SHORT),
        (DATA, other, CONFIG, SHORT),
        (DATA, below, dataclasses.replace(CONFIG, dropout=0.3), SHORT),
        (DATA, below, CONFIG, dataclasses.replace(SHORT, seed=1)),
    ]
    keys = [key_of(*call) for call in calls]
    monkeypatch.setattr(keras, "__version__", "9.9")
    keys.append(key_of(*calls[0]))
    monkeypatch.setattr(embeddings, "VECTOR_SPREAD", 0.2)
    keys.append(key_of(*calls[0]))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "module",
    [
        "corpora.batches",
        "personal",
        "keras.base_model",
        "keras.training",
        "keras.user_embeddings",
        "settings",
    ],
)
def test_code_that_decides_is_in_the_key(monkeypatch, key_of, module):
    read, below = inspect.getsource, on_which()
    key = key_of(DATA, below, CONFIG, SHORT)

    def changed(of):
        return read(of) + "# changed" * (of.__name__ == f"companion.{module}")

    monkeypatch.setattr(inspect, "getsource", changed)
    assert key_of(DATA, below, CONFIG, SHORT) != key
