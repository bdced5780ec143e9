"""What both twins of user_heads must do; each twin's test file says how to get at its weights."""

from dataclasses import replace

import numpy as np
import pytest

from companion.corpora import BEGIN, PADDING, Corpus, split
from companion.keeping.files import CorruptedFileError
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import beliefs
from companion.users.methods import UserHeadsConfig
from companion.users.states import PersonalStates

WORDS, USERS = 17, np.array([3, 5, 9])
SHARES = np.array([10.0, 30.0, 60.0])
BASE = BaseModelConfig(embedding=5, hidden=7, dropout=0.3)
EVIDENCE = [("word",), ("state",), ("word", "state")]
WHO = np.array([5, 3, 9, 5])
TRAINING = TrainingConfig(epochs=6, batch_size=8, learning_rate=0.02)


def tokens(batch=4, time=6, seed=0):
    return np.random.default_rng(seed).integers(3, WORDS, size=(batch, time), dtype=np.int32)


def two_habits():
    """Four users with a greeting each; what follows depends on who it is."""
    lines = {"ada": "hey go on", "ben": "hi stay in", "cy": "yo go in", "di": "oh stay on"}
    messages = [line.split() for line in lines.values()] * 30
    return split(Corpus.from_messages(messages, users=[*lines] * 30))


DATA = two_habits()


def softmax(log):
    log = np.exp(log - log.max(axis=-1, keepdims=True))
    return log / log.sum(axis=-1, keepdims=True)


def fresh(twin, words=WORDS, users=USERS, shares=SHARES, base=BASE, **settings):
    """Two heads as they are before training, and the base model below them."""
    below = twin.base_model.BaseModel(words, base, seed=3)
    config = UserHeadsConfig(size=4, **settings)
    return twin.heads.from_base(below, users, shares, config, seed=1), below


def stirred(twin, **settings):
    """One whose weights have all moved, as after training."""
    return twin.stir(fresh(twin, **settings)[0])


@pytest.fixture(scope="module")
def model(twin):
    """One for all tests that do not change it."""
    return stirred(twin)


@pytest.mark.parametrize("evidence", EVIDENCE, ids="+".join)
def test_at_first_it_predicts_as_the_base_model_and_knows_nobody(twin, evidence):
    model, below = fresh(twin, evidence=evidence)
    for users in (None, WHO):
        found = model.log_probs(tokens(), users)
        np.testing.assert_allclose(found, below.log_probs(tokens()), atol=1e-5)
    assert not model.evidence(tokens()).any()


def test_probabilities_sum_to_one_and_depend_on_the_user(model):
    for users in (None, WHO):
        found = model.log_probs(tokens(), users)
        assert found.shape == (4, 6, WORDS)
        np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-5)
    told, others = model.log_probs(tokens(), WHO), model.log_probs(tokens(), WHO[::-1])
    assert np.abs(told - others).max() > 0.01


def test_evidence_adds_up_over_the_words(twin, model):
    ids = tokens()
    ids[:, 0], ids[2, 4:] = BEGIN, PADDING
    says = twin.table(model)[ids]
    says[(ids == BEGIN) | (ids == PADDING)] = 0.0
    expected = np.cumsum(says, axis=1) @ twin.vectors(model).T / model.temperature
    np.testing.assert_allclose(model.evidence(ids), expected, atol=1e-4)
    np.testing.assert_allclose(model.evidence(ids)[2, 4], model.evidence(ids)[2, 3], atol=1e-5)
    assert not model.evidence(ids)[:, 0].any()
    assert model.evidence(ids)[:, -1].any()


def test_a_temperature_divides_the_evidence(twin):
    model = stirred(twin)
    before = model.evidence(tokens())
    model.temperature = 2.0
    np.testing.assert_allclose(model.evidence(tokens()), before / 2, atol=1e-5)


def test_whoever_is_told_guides_with_their_own_vector(twin, model):
    rows = np.searchsorted(USERS, WHO)
    expected = twin.predict(model, tokens(), np.repeat(twin.vectors(model)[rows][:, None], 6, 1))
    np.testing.assert_allclose(model.log_probs(tokens(), WHO), expected, atol=1e-4)


def test_asked_it_is_guided_by_the_belief_from_the_prior_on(twin, model):
    belief = softmax(np.log(SHARES) + model.evidence(tokens()))
    expected = twin.predict(model, tokens(), (belief @ twin.vectors(model)).astype("float32"))
    np.testing.assert_allclose(model.log_probs(tokens()), expected, atol=1e-4)


def test_the_past_does_not_see_the_future(model):
    ids, changed = tokens(), tokens()
    changed[:, 3:] = tokens(seed=1)[:, 3:]
    for users in (None, WHO):
        before, after = model.log_probs(ids, users), model.log_probs(changed, users)
        np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-5)
        assert np.abs(before[:, 3:] - after[:, 3:]).max() > 0.01


@pytest.mark.parametrize("evidence", EVIDENCE, ids="+".join)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_step_by_step_is_the_same(twin, evidence, cell):
    model = stirred(twin, evidence=evidence, base=replace(BASE, cell=cell))
    for users in (None, WHO):
        state, expected = model.begin(4, users), model.log_probs(tokens(), users)
        for place, column in enumerate(tokens().T):
            found, state = model.step(column, state, users)
            np.testing.assert_allclose(found, expected[:, place], atol=1e-4)
        belief = np.exp(np.asarray(state[-1]))
        np.testing.assert_allclose(belief.sum(-1), 1, atol=1e-5)


def test_a_keyboard_goes_along(twin):
    model = stirred(twin, words=len(DATA.vocabulary))
    ids = DATA.test.padded(np.array([0]))[0][:, :2]  # <begin> and one word
    best = model.log_probs(ids)[0, -1].argsort()[::-1]
    real = [DATA.vocabulary.words[i] for i in best if i > 3][:3]
    assert Keyboard(model, DATA.vocabulary).suggest([int(ids[0, 1])]) == real


@pytest.fixture(scope="module")
def trained(twin):
    """Trained on four users who are easy to tell apart."""
    below, _ = twin.base_model.trained(DATA, BASE, TRAINING, progress=False)
    config = UserHeadsConfig(size=4, dropout=0.0)
    return twin.heads.trained(DATA, below, config, TRAINING, progress=False)


def test_training_lowers_the_losses_and_names_the_users(twin, trained):
    model, history = trained
    assert history.training[-1] < history.training[0] - 0.3
    assert history.validation[-1] < history.validation[0]
    evidence = twin.heads.message_evidence(model, DATA.test)
    assert (evidence.argmax(1) == np.searchsorted(DATA.known_users, DATA.test.users)).all()
    assert model.temperature != 1.0
    vectors = twin.vectors(model)
    np.testing.assert_array_equal(vectors, vectors.astype(np.float16))


@pytest.mark.parametrize("evidence", EVIDENCE, ids="+".join)
def test_training_is_reproducible_told_and_untold(twin, evidence):
    short = replace(TRAINING, epochs=1)
    curves = []
    for _ in range(2):
        model, _ = fresh(
            twin,
            words=len(DATA.vocabulary),
            users=DATA.known_users,
            shares=np.ones(4),
            evidence=evidence,
            untold=0.5,
        )
        curves.append(twin.training.train(model, DATA, short, progress=False).steps)
        assert model.evidence(DATA.test.padded(np.arange(4))[0]).any()
    np.testing.assert_allclose(*curves, atol=1e-5)


def test_without_weight_the_loss_is_that_of_the_words(twin):
    def first_loss(weight):
        model, _ = fresh(
            twin, words=len(DATA.vocabulary), users=DATA.known_users, shares=np.ones(4),
            weight=weight, dropout=0.0, base=replace(BASE, dropout=0.0),
        )  # fmt: skip
        short = replace(TRAINING, epochs=1)
        return twin.training.train(model, DATA, short, progress=False).steps[0]

    assert first_loss(2.0) - first_loss(0.0) == pytest.approx(2 * np.log(4), abs=1e-3)


def test_belief_is_what_the_messages_say(twin, trained):
    model, _ = trained
    evidence = twin.heads.message_evidence(model, DATA.test)
    prior = np.log(DATA.train.message_counts[DATA.known_users] / len(DATA.train))
    for options in ({}, {"stay": 0.9}, {"doubt": 3.0}):
        states = twin.heads.believed(model, DATA.test, **options)
        typists, expected = beliefs.by_typist(evidence, DATA.test, prior, **options)
        np.testing.assert_array_equal(states.users, typists)
        np.testing.assert_allclose(states.arrays["belief"], expected, rtol=2e-3, atol=2e-3)
    assert states.bytes_per_user == 8  # four users in half precision


def test_a_carried_belief_serves_a_typist_who_is_not_named(twin, trained):
    model, _ = trained
    typists = replace(DATA.test, users=DATA.test.users + 100, user_names=("",) * 104)
    guided = model.with_states(twin.heads.believed(model, typists))
    ids, users = DATA.test.padded(np.arange(4))[0], DATA.test.users[:4]
    carried, told = guided.log_probs(ids, users + 100), model.log_probs(ids, users)
    np.testing.assert_allclose(carried, told, atol=0.02)
    assert np.abs(model.log_probs(ids) - told)[:, 0].max() > 0.1
    with pytest.raises(ValueError, match="user 0 is none"):
        guided.log_probs(ids, users)
    np.testing.assert_allclose(guided.log_probs(ids), model.log_probs(ids), atol=1e-6)


@pytest.mark.parametrize(
    ("made_for", "arrays", "says"),
    [
        ("0" * 16, {"belief": np.zeros((2, 3), np.float16)}, "were made for the network"),
        (None, {"vector": np.zeros((2, 4), np.float16)}, "no beliefs over 3 users"),
        (None, {"belief": np.zeros((2, 5), np.float16)}, "no beliefs over 3 users"),
    ],
)
def test_states_of_something_else_are_refused(twin, model, made_for, arrays, says):
    states = PersonalStates(made_for or twin.heads.fingerprint(model), np.array([1, 2]), arrays)
    with pytest.raises(ValueError, match=says):
        model.with_states(states)


def test_some_users_can_be_kept_and_the_others_are_gone(twin, model):
    few = model.among([3, 9])
    assert few.known_users.tolist() == [3, 9]
    np.testing.assert_array_equal(twin.vectors(few), twin.vectors(model)[[0, 2]])
    told = np.array([3, 9, 9, 3])
    np.testing.assert_allclose(
        few.log_probs(tokens(), told), model.log_probs(tokens(), told), atol=1e-5
    )
    assert few.evidence(tokens()).shape == (4, 6, 2)
    with pytest.raises(ValueError, match="user 5 is none of the 2 users known"):
        few.log_probs(tokens(), WHO)
    with pytest.raises(ValueError, match="user 4 has no personal state"):
        model.among([3, 4])
    assert twin.heads.fingerprint(few) != twin.heads.fingerprint(model)


def test_users_keep_their_names(twin):
    model = stirred(twin)
    model.user_names = ("ada", "ben", "cy")
    assert model.among([3, 9]).user_names == ("ada", "cy")
    belief = {"belief": np.zeros((1, 3), np.float16)}
    states = PersonalStates(twin.heads.fingerprint(model), np.array([77]), belief)
    assert model.with_states(states).user_names == ("ada", "ben", "cy")


def test_what_is_kept_of_a_user_is_a_vector(twin, model):
    states = model.states()
    expected = twin.vectors(model).astype(np.float16)
    np.testing.assert_array_equal(states.arrays["vector"], expected)
    assert states.users.tolist() == USERS.tolist()


@pytest.mark.parametrize("evidence", EVIDENCE, ids="+".join)
def test_saved_and_loaded_it_is_the_same(twin, evidence, tmp_path):
    model, path = stirred(twin, evidence=evidence), tmp_path / "heads.safetensors"
    model.temperature = 1.7
    twin.heads.save(model, path)
    again = twin.heads.load(path)
    assert again.temperature == pytest.approx(1.7)
    assert twin.heads.fingerprint(again) == twin.heads.fingerprint(model)
    for users in (None, WHO):
        found = again.log_probs(tokens(), users)
        np.testing.assert_allclose(found, model.log_probs(tokens(), users), atol=1e-6)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptedFileError):
        twin.heads.load(path)


def test_a_fingerprint_changes_with_the_vectors_and_with_the_prior(twin):
    model, other = (fresh(twin, shares=shares)[0] for shares in (SHARES, SHARES[::-1]))
    before = twin.heads.fingerprint(model)
    assert before != twin.heads.fingerprint(other)
    assert before != twin.heads.fingerprint(twin.stir(model))


@pytest.mark.parametrize(
    ("ids", "users", "error", "says"),
    [
        (tokens() + WORDS, None, ValueError, "token id .* is outside the vocabulary"),
        (tokens().astype(float), None, TypeError, "token ids must be integers"),
        (tokens(), np.array([3, 3, 3, 4]), ValueError, "user 4 is none of the 3 users known"),
        (tokens(), np.array([3, 3, 3, -1]), ValueError, "user id -1 is outside"),
        (tokens(), np.array([3, 3]), ValueError, "one for each message: 2 for 4"),
    ],
)
def test_bad_input_is_refused(model, ids, users, error, says):
    with pytest.raises(error, match=says):
        model.log_probs(ids, users)


def test_nothing_to_read_is_refused(twin, model):
    empty = DATA.test.select([])
    for ask in (twin.heads.message_evidence, twin.heads.believed):
        with pytest.raises(ValueError, match="corpus is empty"):
            ask(model, empty)


@pytest.mark.parametrize("shares", [[1.0, 2.0], [1.0, 0.0, 1.0], [1.0, np.nan, 1.0]])
def test_a_prior_that_is_none_is_refused(twin, shares):
    with pytest.raises(ValueError, match="prior must give each of 3 users a share above 0"):
        fresh(twin, shares=np.array(shares))
