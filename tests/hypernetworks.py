"""What both twins of hypernetworks must do; each twin's file says how to get at its weights."""

from dataclasses import replace

import numpy as np
import pytest

from companion.corpora import BEGIN, Corpus, split
from companion.keeping.files import CorruptedFileError
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users.methods import BIASES, WAYS, FittingConfig, HypernetworkConfig
from companion.users.store import SqliteStore

WORDS, USERS = 17, np.array([3, 5, 9])
WHO = np.array([5, 3, 9, 5])
BASE = BaseModelConfig(embedding=5, hidden=7, dropout=0.3)
STILL = replace(BASE, dropout=0.0)
LEARNING = BaseModelConfig(embedding=8, hidden=16, dropout=0.1)
VARIANTS = [
    (
        replace(BASE, cell=cell, layers=1 + (way == "scale"), tied=way != "chunks"),
        {"input": way, "hidden": way, "output": way, "biases": BIASES},
    )
    for cell in ("lstm", "gru")
    for way in WAYS
]
NAMES = [f"{base.cell} {writing['input']}" for base, writing in VARIANTS]
variants = pytest.mark.parametrize(("base", "writing"), VARIANTS, ids=NAMES)
LATE = {"output": "low rank", "biases": ("words",)}  # the recurrent layers are everybody's
EVERY = VARIANTS[2][1]
TRAINING = TrainingConfig(epochs=8, batch_size=8, learning_rate=0.03)
SHORT = replace(TRAINING, epochs=1)


def tokens(batch=4, time=6, seed=0):
    return np.random.default_rng(seed).integers(1, WORDS, size=(batch, time), dtype=np.int32)


def opposite_habits():
    """Four users begin alike; two of them always end in one way, two in the other."""
    lines = {"ada": ("go on", "stay on"), "ben": ("go in", "stay in")}
    lines |= {"cy": lines["ada"], "di": lines["ben"]}
    messages = [own[turn % 2].split() for turn in range(40) for own in lines.values()]
    return split(Corpus.from_messages(messages, users=[*lines] * 40))


DATA = opposite_habits()
NEW = DATA.train.of_users([0, 1]).first(6)


def fresh(twin, base=BASE, words=WORDS, users=USERS, seed=1, **settings):
    """A hypernetwork as it is before training, and the base model below it."""
    below = twin.base_model.BaseModel(words, base, seed=3)
    config = HypernetworkConfig(**{"size": 4, "rank": 2, "chunk": 50, **settings})
    return twin.hyper.from_base(below, users, config, seed=seed), below


def stirred(twin, base=BASE, scale=0.3, **settings):
    """One whose weights have all moved, as after training."""
    return twin.stir(fresh(twin, base, **settings)[0], scale)


@pytest.fixture(scope="module", params=VARIANTS, ids=NAMES)
def model(twin, request):
    """One of each kind, for all tests that do not change it."""
    base, writing = request.param
    return stirred(twin, base, **writing)


def on_data(twin, make=stirred, base=BASE, **settings):
    """One that knows the four users above."""
    return make(twin, base, words=len(DATA.vocabulary), users=DATA.known_users, **settings)


def stepped(model, ids, users):
    state, found = model.begin(len(ids), users), []
    for column in ids.T:
        log_probs, state = model.step(column, state)
        found.append(log_probs)
    return np.stack(found, 1)


@variants
def test_at_first_it_predicts_as_the_base_model(twin, base, writing):
    model, below = fresh(twin, base, **writing)
    for users in (None, WHO):
        found = model.log_probs(tokens(), users)
        np.testing.assert_allclose(found, below.log_probs(tokens()), atol=1e-5)
    vectors = twin.vectors(model)
    assert np.abs(vectors[:-1]).min() > 0
    assert not vectors[-1].any()


@variants
def test_it_does_so_only_because_the_last_layers_are_zero(twin, base, writing):
    model, below = fresh(twin, base, **writing)
    expected = below.log_probs(tokens())
    first, last = (
        [n for n in twin.generators(model) if any(f"/{part}/" in f"{n}/" for part in parts)]
        for parts in (["down", "chunks", "of_user", "of_chunk"], ["change", "up", "write"])
    )
    assert sorted(first + last) == sorted(twin.generators(model))
    twin.stir(model, 0.3, first)
    np.testing.assert_allclose(model.log_probs(tokens(), WHO), expected, atol=1e-5)
    for name in last:
        twin.stir(model, 20.0, [name])
        assert np.abs(model.log_probs(tokens(), WHO) - expected).max() > 1e-4, name
        twin.stir(model, -20.0, [name])
        np.testing.assert_allclose(model.log_probs(tokens(), WHO), expected, atol=1e-5)


def test_each_user_is_served_by_the_weights_written_for_them(model):
    together = model.log_probs(tokens(), WHO)
    for user in USERS:
        own = user == WHO
        alone = model.for_user(int(user)).log_probs(tokens()[own])
        np.testing.assert_allclose(together[own], alone, atol=1e-4)
    anyone = model.log_probs(tokens())
    np.testing.assert_allclose(anyone, model.for_user().log_probs(tokens()), atol=1e-4)
    assert np.abs(together - anyone).max() > 0.01
    np.testing.assert_allclose(np.exp(together).sum(-1), 1, atol=1e-5)


def test_step_by_step_is_the_same(model):
    for users in (None, WHO):
        found = stepped(model, tokens(), users)
        np.testing.assert_allclose(found, model.log_probs(tokens(), users), atol=1e-4)


def test_weights_are_written_once_a_message_and_not_at_every_step(twin, monkeypatch):
    model, written = stirred(twin, BASE, hidden="low rank", output="scale"), []
    for part in ("recurrent_changes", "output_changes"):
        write = getattr(model.network, part)
        noted = lambda vectors, write=write: written.append(1) or write(vectors)  # noqa: E731
        monkeypatch.setattr(model.network, part, noted)
    state = model.begin(4, WHO)
    assert len(written) == 2
    for column in tokens().T:
        _, state = model.step(column, state)
    assert len(written) == 2
    model.log_probs(tokens(), WHO)
    assert len(written) == 4


def test_step_by_step_where_only_the_output_is_written(twin):
    model = stirred(twin, **LATE)
    found = stepped(model, tokens(), WHO)
    np.testing.assert_allclose(found, model.log_probs(tokens(), WHO), atol=1e-5)


def test_who_types_is_settled_at_the_beginning(twin):
    model = stirred(twin)
    state = model.begin(4, WHO)
    first, same = (model.step(tokens()[:, 0], state, users)[0] for users in (None, WHO[::-1]))
    np.testing.assert_array_equal(first, same)
    other, _ = model.step(tokens()[:, 0], model.begin(4, WHO[::-1]))
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("writing", [LATE, EVERY], ids=["output", "every matrix"])
def test_messages_of_a_batch_and_later_tokens_do_not_matter(twin, writing):
    model, order = stirred(twin, **writing), [2, 0, 3, 1]
    expected = model.log_probs(tokens(), WHO)
    found = model.log_probs(tokens()[order], WHO[order])
    np.testing.assert_allclose(found, expected[order], atol=1e-5)
    padded, changed = np.pad(tokens(), ((0, 0), (0, 3))), tokens()
    changed[:, 4:] = tokens(seed=1)[:, 4:]
    np.testing.assert_allclose(model.log_probs(padded, WHO)[:, :6], expected, atol=1e-5)
    after = model.log_probs(changed, WHO)
    np.testing.assert_allclose(after[:, :4], expected[:, :4], atol=1e-5)
    assert np.abs(after - expected).max() > 1e-3


@pytest.mark.parametrize("writing", [LATE, EVERY], ids=["output", "every matrix"])
def test_dropout_is_on_in_training_only(twin, writing):
    off = {"user_dropout": 0.0, "dropout": 0.0}
    model = stirred(twin, **writing, **off)
    first, other = (twin.in_training(model, tokens(), WHO, seed) for seed in (0, 1))
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_array_equal(model.log_probs(tokens(), WHO), model.log_probs(tokens(), WHO))
    model = stirred(twin, STILL, **writing, **off)
    found = twin.in_training(model, tokens(), WHO, 0)
    np.testing.assert_allclose(found, model.log_probs(tokens(), WHO), atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_stands_before_every_recurrent_layer_and_behind_the_last(twin, layers):
    base = replace(BASE, layers=layers, dropout=0.5)
    model = stirred(twin, base, **EVERY, user_dropout=0.0, dropout=0.0)
    sizes = twin.dropped(model, tokens(), WHO)
    assert sizes == [base.embedding, *[base.hidden] * layers]


def test_user_dropout_reads_messages_as_anyones(twin):
    model = stirred(twin, STILL, user_dropout=0.999, dropout=0.0)
    found = twin.in_training(model, tokens(), WHO, 0)
    np.testing.assert_allclose(found, model.log_probs(tokens()), atol=1e-5)


@pytest.mark.parametrize(
    ("users", "error", "says"),
    [
        ([3, 4], ValueError, "user 4 is none of the 3 users known"),
        ([3, -1], ValueError, "user id -1 is outside"),
        ([3.0, 5.0], TypeError, "user ids must be integers"),
        ([3], ValueError, "users must be one for each message: 1 for 2"),
    ],
)
def test_bad_users_are_refused(twin, users, error, says):
    model = fresh(twin)[0]
    for ask in (lambda: model.log_probs(tokens(2), users), lambda: model.begin(2, users)):
        with pytest.raises(error, match=says):
            ask()


def test_no_weights_are_written_for_whom_it_does_not_know(twin):
    model = fresh(twin)[0]
    with pytest.raises(ValueError, match="user 4 is none of the 3 users known"):
        model.for_user(4)
    with pytest.raises(TypeError, match="user ids must be integers"):
        model.for_user(3.0)


def test_bad_tokens_are_refused(twin):
    model = fresh(twin)[0]
    with pytest.raises(ValueError, match="token id 17 is outside the vocabulary"):
        model.log_probs(np.array([[WORDS]]), [3])
    with pytest.raises(TypeError, match="must be integers"):
        model.step(np.array([1.0]), model.begin(1))


def test_an_output_layer_that_is_the_embedding_is_not_written(twin):
    same = replace(BASE, hidden=BASE.embedding)
    with pytest.raises(ValueError, match="output must be 'none', not 'scale', where the output"):
        fresh(twin, same, output="scale")
    model = stirred(twin, same, input="low rank", output="none")
    found = model.for_user(5).log_probs(tokens())
    np.testing.assert_allclose(model.log_probs(tokens(), np.full(4, 5)), found, atol=1e-5)


def test_the_seed_decides_vectors_and_generators(twin):
    first, same, other = (fresh(twin, seed=seed, **EVERY)[0] for seed in (1, 1, 2))
    assert twin.hyper.fingerprint(first) == twin.hyper.fingerprint(same)
    assert twin.hyper.fingerprint(first) != twin.hyper.fingerprint(other)
    np.testing.assert_array_equal(twin.vectors(first), twin.vectors(same))
    assert (twin.vectors(first)[:-1] != twin.vectors(other)[:-1]).all()


def test_the_first_narrow_matrix_is_as_that_of_fine_tuning(twin):
    config = replace(BASE, hidden=400)
    model, _ = fresh(twin, config, output="low rank", rank=3)
    [drawn] = [w for name, w in twin.generators(model).items() if name.endswith("down/bias")]
    assert np.square(drawn.reshape(400, 3)).sum(0) == pytest.approx(1.0, abs=0.25)


def test_the_first_chunks_are_of_unit_spread(twin):
    model, _ = fresh(twin, input="chunks", chunk=1)
    [drawn] = [w for name, w in twin.generators(model).items() if name.endswith("/chunks")]
    assert drawn.shape == (4 * 7 * 5, 16)
    assert (drawn.mean(), drawn.std()) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))


def test_saved_and_loaded_it_is_the_same(twin, model, tmp_path):
    twin.hyper.save(model, tmp_path / "model")
    again = twin.hyper.load(tmp_path / "model")
    assert again.network.config == model.network.config
    assert again.network.reading == model.network.reading
    assert twin.hyper.fingerprint(again) == twin.hyper.fingerprint(model)
    for users in (None, WHO):
        found = again.log_probs(tokens(), users)
        np.testing.assert_array_equal(found, model.log_probs(tokens(), users))


def test_an_altered_or_foreign_file_is_refused(twin, tmp_path):
    model, below = fresh(twin)
    twin.hyper.save(model, tmp_path / "model")
    content = bytearray((tmp_path / "model").read_bytes())
    content[-9] ^= 1
    (tmp_path / "altered").write_bytes(content)
    with pytest.raises(CorruptedFileError):
        twin.hyper.load(tmp_path / "altered")
    model.network.reading = replace(model.network.reading, biases=("words",))
    twin.hyper.save(model, tmp_path / "other")
    with pytest.raises(CorruptedFileError, match="other weights than its configuration"):
        twin.hyper.load(tmp_path / "other")
    twin.base_model.save(below, tmp_path / "base")
    with pytest.raises(ValueError, match=r"holds a base model in .*, not a hypernetwork"):
        twin.hyper.load(tmp_path / "base")


def test_a_fingerprint_sees_the_generators_and_not_the_users(twin):
    model = fresh(twin)[0]
    before = twin.hyper.fingerprint(model)
    twin.stir(model, 0.1, ["vectors"])
    assert twin.hyper.fingerprint(model) == before
    twin.stir(model, 0.1, [next(iter(twin.generators(model)))])
    assert twin.hyper.fingerprint(model) != before


def test_what_is_kept_of_a_user_is_a_vector(twin, tmp_path):
    below = twin.base_model.BaseModel(WORDS, BASE)
    assert twin.hyper.from_base(below, USERS).states().bytes_per_user == 256
    model = stirred(twin)
    with SqliteStore(tmp_path / "states") as store:
        store.put(model.states())
        store.delete(5)
        left = model.with_states(store.get(twin.hyper.fingerprint(model)))
    told = np.array([3, 9])
    found, expected = (m.log_probs(tokens(2), told) for m in (left, model))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(left.for_user(9).log_probs(tokens(2))[1], expected[1], atol=1e-5)
    with pytest.raises(ValueError, match="user 5 is none of the 2 users known"):
        left.log_probs(tokens(1), [5])


def test_states_of_another_network_are_refused(twin):
    model = stirred(twin)
    states = model.states()
    twin.stir(model, 0.1)
    with pytest.raises(ValueError, match="were made for the network"):
        model.with_states(states)
    states = replace(model.states(), arrays={"bias": np.zeros((3, 2))})
    with pytest.raises(ValueError, match=r"\['bias'\], no vector"):
        model.with_states(states)


def test_a_written_model_is_a_copy_and_fits_a_keyboard(twin):
    model = on_data(twin)
    written = model.for_user(1)
    row = np.array([[BEGIN]])
    before = written.log_probs(row)
    best = before[0, 0, 4:].argsort()[::-1][:3] + 4
    for keyboard in (Keyboard(written, DATA.vocabulary), Keyboard(model, DATA.vocabulary, user=1)):
        assert keyboard.suggest([]) == DATA.vocabulary.decode(best)
    twin.stir(model, 0.3)
    np.testing.assert_array_equal(written.log_probs(row), before)


def ends(model, user=None):
    """Probabilities that "on" follows "go" and "stay"; if not, "in" does."""
    go, stay, on = (DATA.vocabulary.words.index(word) for word in ("go", "stay", "on"))
    rows = np.array([[BEGIN, go], [BEGIN, stay]])
    found = model.log_probs(rows, None if user is None else np.full(2, user))[:, 1]
    return np.exp(found[:, on])


@pytest.fixture(scope="module")
def below(twin):
    """A base model, which has learned that what follows is a matter of chance."""
    return twin.base_model.trained(DATA, LEARNING, TRAINING, progress=False)[0]


FIRM = {"size": 4, "rank": 2, "chunk": 50, "dropout": 0.0}
WRITINGS = pytest.mark.parametrize(
    "writing",
    [{}, LATE, {"output": "none", "biases": ("gates",)}, EVERY | {"input": "chunks", "size": 8}],
    ids=["default", "late", "gates", "every matrix"],
)


@WRITINGS
def test_training_learns_opposite_habits(twin, below, writing):
    config = HypernetworkConfig(**FIRM | writing)
    first = twin.hyper.from_base(below, DATA.known_users, config, TRAINING.seed)
    model, history = twin.hyper.trained(DATA, below, config, TRAINING, progress=False)
    assert np.abs(ends(below) - 0.5).max() < 0.25
    for user, likely in enumerate([True, False, True, False]):
        assert np.abs(ends(model, user) - likely).max() < 0.25
        np.testing.assert_allclose(ends(model.for_user(user)), ends(model, user), atol=1e-4)
    losses = [twin.training.evaluate(m, DATA.test) for m in (model, below)]
    assert losses[0] < losses[1] - 0.1
    assert min(history.validation) < losses[1] - 0.1
    for name, weight in twin.generators(model).items():
        assert np.abs(weight - twin.generators(first)[name]).max() > 1e-3, name
    vectors = twin.vectors(model)
    assert (vectors != twin.vectors(first)).any(1).all()  # anyone's, too
    np.testing.assert_array_equal(vectors, vectors.astype(np.float16))


def test_with_users_shuffled_it_learns_nobodys_habits(twin, below):
    rng = np.random.default_rng(0)
    mixed, later = (
        replace(corpus, users=rng.permutation(corpus.users))
        for corpus in (DATA.train, DATA.validation)
    )
    config = HypernetworkConfig(**FIRM)  # as above: one of the two is in the cache already
    losses = []
    for data in (DATA, replace(DATA, train=mixed, validation=later)):
        model, _ = twin.hyper.trained(data, below, config, TRAINING, progress=False)
        losses.append(twin.training.evaluate(model, DATA.test))
    assert losses[0] < losses[1] - 0.1


def test_training_can_be_repeated_and_is_kept(twin, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    base = twin.base_model.BaseModel(len(DATA.vocabulary), BASE, seed=1)
    before, config = twin.base_model.fingerprint(base), HypernetworkConfig(size=4)
    model, history = twin.hyper.trained(DATA, base, config, SHORT, progress=False)
    other = twin.hyper.from_base(base, DATA.known_users, config, SHORT.seed)
    steps = twin.training.train(other, DATA, SHORT, progress=False).steps
    np.testing.assert_allclose(steps, history.steps, atol=1e-6)
    assert twin.base_model.fingerprint(base) == before
    monkeypatch.setattr(twin.training, "train", None)  # a second training would fail
    again, same = twin.hyper.trained(DATA, base, config, SHORT, progress=False)
    assert twin.hyper.fingerprint(again) == twin.hyper.fingerprint(model)
    np.testing.assert_array_equal(twin.vectors(again), twin.vectors(model))
    assert same == history


@pytest.mark.parametrize("writing", [LATE, EVERY], ids=["output", "every matrix"])
def test_fitting_lowers_the_loss_and_touches_nothing_else(twin, writing):
    model = on_data(twin, scale=0.6, **writing)
    network, table = twin.hyper.fingerprint(model), twin.vectors(model)
    states = twin.hyper.fit(model, NEW)
    assert twin.hyper.fingerprint(model) == network == states.model
    np.testing.assert_array_equal(twin.vectors(model), table)
    typical = np.repeat(table[:-1].mean(0, keepdims=True), 2, axis=0)
    before, after = (
        model.with_states(replace(states, arrays={"vector": vectors}))
        for vectors in (typical, states.arrays["vector"])
    )
    for user in (0, 1):
        own = NEW.of_users(user)
        loss, earlier = (twin.training.evaluate(m, own) for m in (after, before))
        assert loss < earlier - 0.01


@pytest.mark.parametrize("writing", [LATE, EVERY], ids=["output", "every matrix"])
def test_users_are_fitted_as_if_each_were_alone(twin, writing):
    model, config = on_data(twin, **writing), FittingConfig(steps=15)
    together = twin.hyper.fit(model, NEW, config)
    for user in (0, 1):
        alone = twin.hyper.fit(model, NEW.of_users(user), config).arrays["vector"]
        np.testing.assert_allclose(alone, together.of([user]).arrays["vector"], atol=2e-3)


def test_fitted_once_and_kept(twin, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    model, config = on_data(twin), FittingConfig(steps=3)
    made = twin.hyper.fitted(model, NEW, config)
    monkeypatch.setattr(twin.hyper.user_embeddings, "fit", None)  # not asked again
    kept = twin.hyper.fitted(model, NEW, config)
    np.testing.assert_array_equal(made.arrays["vector"], kept.arrays["vector"])
    with pytest.raises(TypeError):
        twin.hyper.fitted(model, NEW, FittingConfig(steps=4))
