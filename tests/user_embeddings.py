"""What both twins of user_embeddings must do; each twin's file says how to get at its weights."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from companion.corpora import BEGIN, PADDING, Corpus, split
from companion.keeping import cache as kept_things
from companion.keeping.files import CorruptedFileError
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users.methods import PLACEMENTS, FittingConfig, UserEmbeddingConfig
from companion.users.states import PersonalStates
from companion.users.store import SqliteStore

WORDS, USERS = 17, np.array([3, 5, 9])
WHO = np.array([5, 3, 9, 5])
CONFIG, SHORT = UserEmbeddingConfig(size=4), TrainingConfig(epochs=2, batch_size=8)
VARIANTS = [
    (BaseModelConfig(cell=cell, embedding=5, hidden=7, layers=layers, dropout=0.3), placements)
    for cell in ("lstm", "gru")
    for layers, placements in [(1, (place,)) for place in PLACEMENTS] + [(2, PLACEMENTS)]
]
NAMES = [f"{base.cell}{base.layers}{'+'.join(placements)}" for base, placements in VARIANTS]
variants = pytest.mark.parametrize(("base", "placements"), VARIANTS, ids=NAMES)
BASE, DEFAULT = VARIANTS[0][0], ("film", "output")
STILL = replace(BASE, dropout=0.0)


def tokens(batch=4, time=6, seed=0):
    return np.random.default_rng(seed).integers(1, WORDS, size=(batch, time), dtype=np.int32)


def fresh(twin, base=BASE, placements=DEFAULT, words=WORDS, users=USERS, **settings):
    """Embeddings as they are before training, and the base model below them."""
    below = twin.base_model.BaseModel(words, base, seed=3)
    config = UserEmbeddingConfig(size=4, placements=placements, **settings)
    return twin.embeddings.from_base(below, users, config, seed=1), below


def stirred(twin, *arguments, scale=0.3, **settings):
    """Embeddings whose weights have all moved, as after training."""
    return twin.stir(fresh(twin, *arguments, **settings)[0], scale)


@pytest.fixture(scope="module")
def model(twin):
    """One for all tests that do not change it."""
    return stirred(twin)


@pytest.fixture(scope="module", params=VARIANTS, ids=NAMES)
def variant(twin, request):
    """One of each kind, for all tests that do not change it."""
    return stirred(twin, *request.param)


def nudge(twin, model):
    """The smallest change of a weight."""
    twin.add(twin.bias(model), 1e-6 * np.eye(WORDS, dtype=np.float32)[3])


def two_habits():
    """Four users: two always go on, two always stay in."""
    messages = [["go", "on"], ["stay", "in"]] * 2 * 20
    return split(Corpus.from_messages(messages, users=["ada", "ben", "cy", "di"] * 20))


DATA = two_habits()
NEW = DATA.train.of_users([0, 1]).first(5)


def on_data(twin, placements=DEFAULT, make=stirred, **settings):
    """Embeddings of the four users above."""
    return make(twin, BASE, placements, len(DATA.vocabulary), DATA.known_users, **settings)


def on_which(twin, seed=1):
    """A base model to train embeddings of the four users on."""
    return twin.base_model.BaseModel(len(DATA.vocabulary), BASE, seed=seed)


@variants
def test_predicts_as_the_base_model_at_first(twin, base, placements):
    model, below = fresh(twin, base, placements)
    for users in (WHO, None):
        np.testing.assert_allclose(
            model.log_probs(tokens(), users), below.log_probs(tokens()), atol=1e-6
        )
    vectors = twin.vectors(model)
    assert np.abs(vectors[:-1]).min() > 0
    assert not vectors[-1].any()


@pytest.mark.parametrize("place", PLACEMENTS)
def test_each_placement_changes_the_prediction_once_trained(twin, place):
    model, _ = on_data(twin, (place,), make=fresh)
    before = twin.vectors(model)
    history = twin.training.train(model, DATA, SHORT, progress=False)
    row = np.array([[BEGIN]])
    ada, ben, anyone = (model.log_probs(row, users) for users in ([0], [1], None))
    assert np.abs(ada - ben).max() > 1e-4
    assert np.abs(ada - anyone).max() > 1e-5
    assert (twin.vectors(model) != before).any(1).all()  # anyone's, too
    assert history.validation[-1] < history.steps[0]


def by_hand(weights, row, vector):
    """Logits of a concatenation LSTM of one layer, each gate written out."""
    h, c, found = np.zeros(7), np.zeros(7), []
    for token in row:
        x = np.concatenate([weights["embedding"][token], vector])
        sums = x @ weights["input"] + h @ weights["recurrent"] + weights["gates"]
        i, f, g, o = np.split(sums, 4)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        found.append(weights["embedding"] @ (h @ weights["projection"]) + weights["words"])
    return np.array(found)


def test_the_input_placement_equals_the_concatenation_written_out(twin):
    model = stirred(twin, BASE, ("input",))
    weights, table = twin.lstm(model), twin.vectors(model)
    rows = [1, 0, 2, 1]  # of the table, whom WHO names
    expected = [by_hand(weights, m, table[r]) for m, r in zip(tokens(), rows, strict=True)]
    np.testing.assert_allclose(twin.logits(model, tokens(), WHO), expected, atol=1e-5)


def test_step_by_step_equals_the_full_pass(variant):
    for users in (WHO, None):
        state, stepped = variant.begin(4, users), []
        for column in tokens().T:
            log_probs, state = variant.step(column, state)
            stepped.append(log_probs)
        np.testing.assert_allclose(
            np.stack(stepped, 1), variant.log_probs(tokens(), users), atol=1e-5
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
def test_padding_changes_nothing_before_it(twin, place):
    model = stirred(twin, BASE, (place,))
    found = twin.logits(model, np.pad(tokens(), ((0, 0), (0, 3))), WHO)
    np.testing.assert_allclose(found[:, :6], twin.logits(model, tokens(), WHO), atol=1e-6)


@pytest.mark.parametrize("place", PLACEMENTS)
def test_messages_of_a_batch_do_not_touch_each_other(twin, place):
    model, order = stirred(twin, BASE, (place,)), [2, 0, 3, 1]
    found = twin.logits(model, tokens()[order], WHO[order])
    np.testing.assert_allclose(found, twin.logits(model, tokens(), WHO)[order], atol=1e-6)


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


def test_no_users_and_ids_of_nobody_are_anyone(twin):
    model = stirred(twin, users=np.array([0, 5, 9]))  # 0 is whom negative ids could be taken for
    anyone = twin.logits(model, tokens())
    for nobody in ([4, 1, 8, 6], [10, 11, 2**31 - 1, 99], [-1, -2, -3, -99]):
        np.testing.assert_array_equal(twin.logits(model, tokens(), nobody), anyone)
    assert np.abs(twin.logits(model, tokens(), WHO) - anyone).max() > 1e-3
    np.testing.assert_allclose(log_softmax(anyone, -1), model.log_probs(tokens()), atol=1e-6)


def test_user_dropout_reads_messages_as_anyones(twin):
    model = stirred(twin, STILL, user_dropout=0.999, dropout=0.0)
    found = twin.in_training(model, tokens(), WHO, 0)
    np.testing.assert_allclose(found, twin.logits(model, tokens()), atol=1e-6)
    model = stirred(twin, STILL, user_dropout=0.5, dropout=0.0)
    own = twin.logits(model, tokens(), WHO)
    read = [twin.in_training(model, tokens(), WHO, seed) for seed in range(8)]
    drawn = {tuple(np.isclose(found, own).all((1, 2))) for found in read}
    assert len(drawn) > 2  # message by message, another draw every time


def in_training_only(twin, model):
    """Dropout is drawn anew in training, and is off outside of it."""
    first, other = (twin.in_training(model, tokens(), WHO, seed) for seed in (0, 1))
    assert np.abs(first - other).max() > 1e-3
    still, again = (twin.logits(model, tokens(), WHO) for _ in range(2))
    np.testing.assert_array_equal(still, again)


def test_dropout_of_the_vector_is_on_in_training_only(twin):
    in_training_only(twin, stirred(twin, STILL, user_dropout=0.0, dropout=0.5))
    model = stirred(twin, STILL, user_dropout=0.0, dropout=0.0)
    found = twin.in_training(model, tokens(), WHO, 0)
    np.testing.assert_allclose(found, twin.logits(model, tokens(), WHO), atol=1e-6)


@pytest.mark.parametrize("part", ["hidden", "words"])
def test_dropout_of_the_base_model_stays_before_and_behind_its_layers(twin, monkeypatch, part):
    model = stirred(twin, replace(BASE, dropout=0.5), user_dropout=0.0, dropout=0.0)
    ones = twin.tensor(np.ones((4, 6, 7), np.float32))
    without = {"hidden": lambda tokens, vectors: ones, "words": lambda hidden, vectors: hidden}
    monkeypatch.setattr(model.network, part, without[part])
    in_training_only(twin, model)


def test_training_can_be_repeated(twin):
    first, again = on_data(twin), on_data(twin)
    histories = [twin.training.train(m, DATA, SHORT, progress=False) for m in (first, again)]
    assert histories[0].steps == histories[1].steps
    np.testing.assert_array_equal(twin.vectors(first), twin.vectors(again))


def test_the_seed_decides_the_first_vectors(twin):
    below = twin.base_model.BaseModel(WORDS, BASE)
    first, same, other = (
        twin.vectors(twin.embeddings.from_base(below, USERS, CONFIG, seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first[:-1] != other[:-1]).all()


def test_saved_model_comes_back(twin, variant, tmp_path):
    twin.embeddings.save(variant, tmp_path / "model")
    loaded = twin.embeddings.load(tmp_path / "model")
    assert loaded.network.config == variant.network.config
    assert loaded.network.reading == variant.network.reading
    assert twin.embeddings.fingerprint(loaded) == twin.embeddings.fingerprint(variant)
    for users in (WHO, None):
        expected = variant.log_probs(tokens(), users)
        np.testing.assert_array_equal(loaded.log_probs(tokens(), users), expected)


def test_a_damaged_or_foreign_file_is_refused(twin, tmp_path):
    model, below = fresh(twin)
    twin.embeddings.save(model, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[:-9])
    with pytest.raises(CorruptedFileError, match="truncated"):
        twin.embeddings.load(tmp_path / "model")
    twin.base_model.save(below, tmp_path / "base")
    says = f"holds a base model in {twin.name}, not a user embedding"
    with pytest.raises(ValueError, match=says):
        twin.embeddings.load(tmp_path / "base")
    with pytest.raises(FileNotFoundError):
        twin.embeddings.load(tmp_path / "nothing")


def test_a_file_with_other_weights_is_refused(twin, tmp_path):
    model = stirred(twin)
    model.network.reading = replace(model.network.reading, placements=("film",))
    twin.embeddings.save(model, tmp_path / "model")
    with pytest.raises(CorruptedFileError, match="other weights than its configuration"):
        twin.embeddings.load(tmp_path / "model")


def test_fingerprint_sees_the_network_and_not_the_users(twin):
    model = stirred(twin)
    before, vectors = twin.embeddings.fingerprint(model), twin.vectors(model)
    twin.add(twin.table(model), 1.0)
    assert (twin.vectors(model) != vectors).all()
    assert twin.embeddings.fingerprint(model) == before
    nudge(twin, model)
    assert twin.embeddings.fingerprint(model) != before


def test_states_are_256_bytes_a_user_by_default(twin):
    below = twin.base_model.BaseModel(WORDS, BASE)
    states = twin.embeddings.from_base(below, USERS).states()
    assert (len(states), states.bytes_per_user) == (3, 256)
    assert states.users.tolist() == [3, 5, 9]


def test_states_can_be_saved_loaded_and_deleted_one_by_one(twin, model, tmp_path):
    network = twin.embeddings.fingerprint(model)
    with SqliteStore(tmp_path / "states") as store:
        store.put(model.states())
        again = model.with_states(store.get(network))
        store.delete(5)
        left = model.with_states(store.get(network))
    np.testing.assert_array_equal(again.log_probs(tokens(), WHO), model.log_probs(tokens(), WHO))
    np.testing.assert_array_equal(again.log_probs(tokens()), model.log_probs(tokens()))
    with pytest.raises(ValueError, match="user 5 is none of the 2 users known"):
        left.log_probs(tokens(1), [5])
    np.testing.assert_array_equal(
        left.log_probs(tokens(2), [3, 9]), model.log_probs(tokens(2), [3, 9])
    )
    assert left.network is model.network


def test_states_of_another_network_are_refused(twin, tmp_path):
    model = stirred(twin)
    states = model.states()
    states.save(tmp_path / "states")
    nudge(twin, model)
    for kept in (states, PersonalStates.load(tmp_path / "states")):
        with pytest.raises(ValueError, match="were made for the network"):
            model.with_states(kept)


def test_states_of_another_method_are_refused(model):
    states = replace(model.states(), arrays={"bias": np.zeros((3, 2))})
    with pytest.raises(ValueError, match=r"\['bias'\], no vector"):
        model.with_states(states)


def loss(model, corpus):
    """Mean loss of a corpus, whose users the model knows."""
    inputs, targets = corpus.padded(np.arange(len(corpus)))
    read = model.log_probs(inputs, corpus.users)
    found = np.take_along_axis(read, targets[..., None], axis=-1)[..., 0]
    return -found[targets != PADDING].mean()


@pytest.mark.parametrize("placements", [("input",), ("state",), DEFAULT], ids="+".join)
def test_fitting_lowers_the_loss_and_touches_nothing_else(twin, placements):
    model = on_data(twin, placements, scale=1.0)
    network, table = twin.embeddings.fingerprint(model), twin.vectors(model)
    states = twin.embeddings.fit(model, NEW)
    assert twin.embeddings.fingerprint(model) == network
    np.testing.assert_array_equal(twin.vectors(model), table)
    assert states.users.tolist() == [0, 1]
    typical = table[:-1].mean(0, keepdims=True).repeat(2, axis=0)
    before, after = (
        model.with_states(replace(states, arrays={"vector": vectors}))
        for vectors in (typical, states.arrays["vector"])
    )
    for user in (0, 1):
        own = NEW.of_users(user)
        assert loss(after, own) < loss(before, own) - 0.01


def test_users_are_fitted_as_if_each_were_alone(twin):
    model = on_data(twin)
    together = twin.embeddings.fit(model, NEW)
    for user in (0, 1):
        alone = twin.embeddings.fit(model, NEW.of_users(user))
        np.testing.assert_allclose(
            alone.arrays["vector"], together.of([user]).arrays["vector"], atol=2e-3
        )


def test_a_stronger_pull_keeps_vectors_closer_to_the_typical_one(twin):
    model = on_data(twin)
    typical, apart = twin.vectors(model)[:-1].mean(0), []
    for pull in (0.0, 1.0, 100.0):
        vectors = twin.embeddings.fit(model, NEW, FittingConfig(pull=pull)).arrays["vector"]
        apart.append(np.abs(vectors - typical).mean())
    assert apart[0] > apart[1] > apart[2]


def test_what_cannot_be_fitted_is_refused(twin):
    model = on_data(twin)
    with pytest.raises(ValueError, match="corpus is empty"):
        twin.embeddings.fit(model, NEW.select(np.array([], dtype=int)))
    with pytest.raises(ValueError, match="model has a vocabulary of"):
        twin.embeddings.fit(stirred(twin, words=5), NEW)
    with pytest.raises(ValueError, match="must know at least 2 users, not 1"):
        twin.embeddings.fit(model.with_states(model.states().of([1])), NEW)


def test_fitting_ends_near_the_minimum(twin):
    model = on_data(twin, scale=1.0)
    states = [twin.embeddings.fit(model, NEW, FittingConfig(steps=steps)) for steps in (40, 160)]
    first, second = (model.with_states(s) for s in states)
    for user in (0, 1):
        own = NEW.of_users(user)
        assert abs(loss(first, own) - loss(second, own)) < 0.2


def test_vectors_that_are_not_finite_are_refused(twin):
    model = on_data(twin, scale=1.0)
    with pytest.raises(ValueError, match="vector of user 0 holds numbers that are not finite"):
        twin.embeddings.fit(model, NEW, FittingConfig(learning_rate=1e9))


@pytest.mark.parametrize(
    ("users", "rows", "says"),
    [([-1, 3], 3, "user id -1"), ([3, 3], 3, "ascending"), ([5, 3], 3, "ascending"),
     ([], 1, "at least one"), ([3, 5], 2, r"must have shape \(3, 4\)")],
)  # fmt: skip
def test_a_table_that_does_not_fit_its_users_is_refused(twin, model, users, rows, says):
    table = np.zeros((rows, 4), np.float32)
    with pytest.raises(ValueError, match=says):
        twin.embeddings.UserEmbedding(model.network, np.array(users, int), table)


def test_keyboard_suggests_what_this_user_would_type(twin):
    model, vocabulary = on_data(twin), DATA.vocabulary
    for user in (0, 1):
        keyboard = Keyboard(model, vocabulary, user=user)
        best = model.log_probs(np.array([[BEGIN]]), [user])[0, 0, 4:].argsort()[::-1][:3] + 4
        assert keyboard.suggest([]) == vocabulary.decode(best)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    return tmp_path


def test_fitted_once_and_kept(twin, cache, monkeypatch):
    model = on_data(twin, scale=1.0)
    made = twin.embeddings.fitted(model, NEW)
    monkeypatch.setattr(twin.embeddings, "fit", None)  # not asked again
    kept = twin.embeddings.fitted(model, NEW)
    np.testing.assert_array_equal(made.arrays["vector"], kept.arrays["vector"])
    assert kept.users.tolist() == made.users.tolist()
    assert kept.model == twin.embeddings.fingerprint(model)
    with pytest.raises(TypeError):
        twin.embeddings.fitted(model, NEW, FittingConfig(pull=2.0))


def test_trained_once_and_kept_with_its_history(twin, cache, monkeypatch):
    below = on_which(twin)
    before = twin.base_model.fingerprint(below)
    model, history = twin.embeddings.trained(DATA, below, CONFIG, SHORT, progress=False)
    assert twin.base_model.fingerprint(below) == before
    monkeypatch.setattr(twin.training, "train", None)  # a second training would fail
    again, same = twin.embeddings.trained(DATA, below, CONFIG, SHORT, progress=False)
    assert twin.embeddings.fingerprint(again) == twin.embeddings.fingerprint(model)
    np.testing.assert_array_equal(twin.vectors(again), twin.vectors(model))
    assert same == history
    assert twin.training.evaluate(again, DATA.test) == twin.training.evaluate(model, DATA.test)


@pytest.fixture
def key_of(twin, monkeypatch):
    """The key under which a training is kept; nothing is trained."""
    monkeypatch.setattr(kept_things, "kept", lambda key, *_, **__: key)
    return lambda *arguments: kept_things.file_name(twin.embeddings.trained(*arguments))


def test_everything_that_decides_is_in_the_key(twin, monkeypatch, key_of):
    below, other = on_which(twin), on_which(twin, seed=2)
    calls = [
        (DATA, below, CONFIG, SHORT),
        (replace(DATA, validation=DATA.test), below, CONFIG, SHORT),
        (DATA, other, CONFIG, SHORT),
        (DATA, below, replace(CONFIG, dropout=0.3), SHORT),
        (DATA, below, CONFIG, replace(SHORT, seed=1)),
    ]
    keys = [key_of(*call) for call in calls]
    monkeypatch.setattr(twin.library, "__version__", "9.9")
    keys.append(key_of(*calls[0]))
    monkeypatch.setattr(twin.embeddings, "VECTOR_SPREAD", 0.2)
    keys.append(key_of(*calls[0]))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "module",
    [
        "corpora.batches",
        "users.states",
        "twin.base_model",
        "twin.training",
        "twin.user_embeddings",
        "settings",
    ],
)
def test_code_that_decides_is_in_the_key(twin, monkeypatch, key_of, module):
    read, below = inspect.getsource, on_which(twin)
    decides = f"companion.{module}".replace("twin", twin.name.lower())
    key = key_of(DATA, below, CONFIG, SHORT)

    def changed(of):
        return read(of) + "# changed" * (of.__name__ == decides)

    monkeypatch.setattr(inspect, "getsource", changed)
    assert key_of(DATA, below, CONFIG, SHORT) != key
