"""What both twins of user_memory must do; each twin's file says how to get at its weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from companion.corpora import BEGIN, Corpus, split
from companion.keeping.files import CorruptedFileError
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users.cutting import Text
from companion.users.memories import Memories, load_memories
from companion.users.methods import READING, VECTOR_BATCH, FittingConfig, UserMemoryConfig
from companion.users.stacks import own_messages

BASE = BaseModelConfig(embedding=5, hidden=7, dropout=0.0)
CONFIG = UserMemoryConfig(key=3, size=6, dropout=0.0)
SHORT = TrainingConfig(epochs=2, batch_size=16)
WAYS = [(way,) for way in READING] + [READING]
ways = pytest.mark.parametrize("ways", WAYS, ids="+".join)
WORDS = "abcdefg"


def habits(users=5, messages=12):
    """Each user likes one word, and writes it more often than others."""
    rng = np.random.default_rng(0)
    found, who = [], []
    for number in range(users * messages):
        user = number % users
        word = WORDS[user] if rng.random() < 0.6 else WORDS[rng.integers(len(WORDS))]
        found.append([["i", "like", word], [word, "it", "is"]][rng.integers(2)])
        who.append(f"user {user}")
    return split(Corpus.from_messages(found, who), new_users=[1])


DATA = habits()
SIZE = len(DATA.vocabulary)
NEW = DATA.support(4)
TOKENS = np.array([[BEGIN, 5, 6, 7], [BEGIN, 9, 5, 0], [BEGIN, 4, 8, 6]], np.int32)
WHO = np.array([3, 0, 3])


def network(twin, ways=READING, base=BASE, scale=0.4, **settings):
    """A network whose weights have all moved, as after training."""
    below = twin.base_model.BaseModel(SIZE, base, seed=3)
    config = replace(CONFIG, ways=ways, **settings)
    return twin.stir(twin.memory.from_base(below, DATA.train, config, seed=1), scale)


def remembering(twin, ways=READING, corpus=DATA.train, **settings):
    """A model that remembers all of a text."""
    model = twin.memory.UserMemory(network(twin, ways, **settings), Memories("", {}))
    model.vocabulary = DATA.vocabulary
    return model.with_memories(model.read(corpus))


@pytest.fixture(scope="module")
def model(twin):
    """One for all tests that do not change it."""
    return remembering(twin)


def text_of(corpus, *histories):
    return Text.of(corpus, [np.array(own, int) for own in histories])


@ways
def test_leaving_a_message_out_is_reading_the_text_without_it(twin, ways):
    net = network(twin, ways)
    ada, cy = own_messages(DATA.train, np.array([0, 2]))
    together = twin.said_of_itself(net, text_of(DATA.train, ada[:4], cy[:3]))
    alone = [
        twin.said(
            net,
            text_of(DATA.train, [message]),
            text_of(DATA.train, [other for other in own if other != message]),
        )
        for own in (ada[:4], cy[:3])
        for message in own
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


@ways
def test_what_is_not_left_out_is_read(twin, ways):
    text = text_of(DATA.train, own_messages(DATA.train, np.array([0]))[0][:4])
    blind, sighted = network(twin, ways), network(twin, ways, leave_out=False)
    np.testing.assert_allclose(
        twin.said_of_itself(sighted, text), twin.said(blind, text, text), atol=1e-5
    )
    assert (
        np.abs(twin.said_of_itself(sighted, text) - twin.said_of_itself(blind, text)).max() > 0.01
    )


@ways
def test_training_and_prediction_agree(twin, ways):
    model = remembering(twin, ways)
    (ada,) = own_messages(DATA.train, np.array([0]))
    (later,) = own_messages(DATA.validation, np.array([0]))
    inputs, targets = DATA.validation.padded(later)
    found = model.log_probs(inputs, np.zeros(len(later), int))
    expected = twin.said(model.network, text_of(DATA.validation, later), text_of(DATA.train, ada))
    right = np.take_along_axis(found, targets[..., None], axis=-1)[..., 0][targets != 0]
    np.testing.assert_allclose(right, expected, atol=2e-3)  # keys are kept in half precision


@pytest.mark.parametrize("embedding", [0, 4])
def test_of_whom_nothing_is_remembered_it_predicts_as_the_base_model_at_first(twin, embedding):
    below = twin.base_model.BaseModel(SIZE, BASE, seed=3)
    config = replace(CONFIG, embedding=embedding)
    fresh = twin.memory.from_base(below, DATA.train, config)
    model = twin.memory.UserMemory(fresh, Memories("", {}))
    np.testing.assert_allclose(model.log_probs(TOKENS), below.log_probs(TOKENS), atol=1e-5)


@pytest.mark.parametrize("ways", WAYS, ids="+".join)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_step_by_step_equals_the_full_pass(twin, ways, cell):
    base = replace(BASE, cell=cell, layers=2)
    model = remembering(twin, ways, base=base)
    for users in (WHO, None):
        state, stepped = model.begin(3, users), []
        for column in TOKENS.T:
            log_probs, state = model.step(column, state)
            stepped.append(log_probs)
        np.testing.assert_allclose(np.stack(stepped, 1), model.log_probs(TOKENS, users), atol=1e-5)


def test_probabilities_sum_to_one_and_differ_between_users(model):
    found = model.log_probs(TOKENS, WHO)
    assert found.shape == (3, 4, SIZE)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-5)
    own, others, nobodys = (model.log_probs(TOKENS[:1], who) for who in ([0], [2], None))
    assert np.abs(own - others).max() > 0.01
    assert np.abs(own - nobodys).max() > 0.01


@ways
def test_remembering_one_by_one_is_reading_at_once(twin, ways):
    model = remembering(twin, ways)
    for message in np.flatnonzero(NEW.users == 1):
        model.remember(1, NEW.words(message))
        model.log_probs(TOKENS[:1], [1])  # opened, so that the rest is added to it
    at_once = model.with_memories(model.read(NEW))
    for name, array in at_once.memories.of_users[1].arrays.items():
        np.testing.assert_allclose(model.memories.of_users[1].arrays[name], array, atol=1e-3)
    found, expected = (each.log_probs(TOKENS, [1] * 3) for each in (model, at_once))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_array_equal(model.known_users, [0, 1, 2, 3, 4])


def test_users_keep_their_names(twin):
    model = remembering(twin)
    first, second, *_ = model.known_users
    model.user_names = tuple(f"name {user}" for user in model.known_users)
    two = model.with_memories(model.memories.of([first, second]))
    assert two.user_names == (f"name {first}", f"name {second}")
    model.remember(99, DATA.train.words(0))  # somebody new, of whom nobody said it
    assert model.user_names[-1] is None
    assert len(model.user_names) == len(model.known_users)


@ways
def test_forgetting_leaves_the_model_that_never_saw_it(twin, ways):
    model, never = remembering(twin, ways), remembering(twin, ways)
    before = never.log_probs(TOKENS, WHO)
    for user in (0, 3):
        model.log_probs(TOKENS, WHO)  # opened
        model.remember(user, [8, 8, 5])
    assert np.abs(model.log_probs(TOKENS, WHO) - before).max() > 1e-3
    model.forget(3, [8, 8, 5])
    model.forget(0, [8, 8, 5])
    np.testing.assert_array_equal(model.log_probs(TOKENS, WHO), before)
    for user in (0, 3):
        for name, array in never.memories.of_users[user].arrays.items():
            np.testing.assert_array_equal(model.memories.of_users[user].arrays[name], array)


def test_forgetting_an_old_message_is_never_having_read_it(twin):
    model = remembering(twin)
    old = int(np.flatnonzero(DATA.train.users == 3)[1])
    words = DATA.train.words(old)
    memory = model.memories.of_users[3]
    place = memory.place_of(words)
    model.forget(3, words)
    kept = model.with_memories(model.memories.with_user(3, memory.without(place)))
    np.testing.assert_array_equal(model.log_probs(TOKENS, WHO), kept.log_probs(TOKENS, WHO))
    own = np.flatnonzero(DATA.train.users == 3)
    anew = model.with_memories(model.read(DATA.train.select(np.delete(own, place))))
    np.testing.assert_allclose(
        model.log_probs(TOKENS, [3] * 3), anew.log_probs(TOKENS, [3] * 3), atol=2e-3
    )


def test_what_one_user_wrote_or_takes_back_changes_nobody_else(twin):
    model = remembering(twin)
    before = model.log_probs(TOKENS, [0, 2, 4])
    model.remember(3, [8, 5])
    np.testing.assert_array_equal(model.log_probs(TOKENS, [0, 2, 4]), before)
    model.forget(3, DATA.train.words(int(np.flatnonzero(DATA.train.users == 3)[0])))
    np.testing.assert_array_equal(model.log_probs(TOKENS, [0, 2, 4]), before)


def test_a_bounded_memory_drops_the_oldest(twin):
    model = remembering(twin, last=12)
    sizes = [len(memory.tokens) for memory in model.memories.of_users.values()]
    assert max(sizes) <= 12
    model.log_probs(TOKENS, WHO)
    for _ in range(4):
        model.remember(3, [8, 8, 5])
    memory = model.memories.of_users[3]
    np.testing.assert_array_equal(memory.lengths, [4, 4, 4])
    np.testing.assert_array_equal(memory.tokens[:3], [8, 8, 5])
    anew = model.with_memories(model.memories)
    np.testing.assert_allclose(model.log_probs(TOKENS, WHO), anew.log_probs(TOKENS, WHO), atol=1e-5)


def test_bytes_are_two_a_word_and_two_a_number_of_its_key(model):
    memory = model.memories.of_users[3]
    assert memory.nbytes == len(memory.tokens) * (2 + 2 * 3) + 4 * len(memory.lengths)
    assert memory.keys.dtype == np.float16


def test_counting_alone_keeps_words_only(twin):
    memory = remembering(twin, ("counts",)).memories.of_users[3]
    assert memory.keys.nbytes == 0


def test_the_pointer_looks_at_remembered_positions(model):
    found = model.attention(TOKENS[0], 3)
    memory = model.memories.of_users[3]
    assert found.shape == (4, len(memory.tokens) + 1)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found >= 0).all()
    assert found[0].argmax() != found[0].argmin()


def test_the_pointer_alone_is_its_attention(twin):
    model = remembering(twin, ("pointer",))
    memory = model.memories.of_users[3]
    shares, own = model.attention(TOKENS[0], 3), np.exp(model.log_probs(TOKENS[:1])[0])
    expected = shares[:, -1:] * own
    for place, token in enumerate(memory.tokens):
        expected[:, token] += shares[:, place]
    np.testing.assert_allclose(np.exp(model.log_probs(TOKENS[:1], [3])[0]), expected, atol=1e-5)


def test_who_types_is_settled_at_the_beginning(model):
    state = model.begin(3, WHO)
    first, again = (model.step(TOKENS[:, 0], state, users)[0] for users in (None, WHO[::-1]))
    np.testing.assert_array_equal(first, again)


def test_a_keyboard_suggests_what_the_user_wrote(twin):
    model = remembering(twin, ("counts",), scale=0.05)
    for _ in range(30):
        model.remember(3, [7, 7, 7])
    word = DATA.vocabulary.words[7]
    assert Keyboard(model, DATA.vocabulary, user=3).suggest([])[0] == word
    assert word not in Keyboard(model, DATA.vocabulary, user=0).suggest([], k=1)


@pytest.mark.parametrize(
    ("users", "error", "says"),
    [
        ([3, 1], ValueError, "user 1 is none of the 4 users known"),
        ([3, -1], ValueError, "user id -1 is outside"),
        ([3.0, 0.0], TypeError, "user ids must be integers"),
        ([3], ValueError, "users must be one for each message: 1 for 2"),
    ],
)
def test_bad_users(model, users, error, says):
    with pytest.raises(error, match=says):
        model.log_probs(TOKENS[:2], users)
    with pytest.raises(error, match=says):
        model.begin(2, users)


def test_bad_messages(twin):
    model = remembering(twin)
    with pytest.raises(ValueError, match=f"token id {SIZE} is outside"):
        model.remember(3, [SIZE])
    with pytest.raises(ValueError, match="special token 2"):
        model.remember(3, [5, 2])
    with pytest.raises(ValueError, match="user id -1 is outside"):
        model.remember(-1, [5])
    with pytest.raises(ValueError, match="user 1 is none of the 4 users known"):
        model.forget(1, [5])
    with pytest.raises(ValueError, match="nothing to forget"):
        model.forget(3, [8, 8, 8, 8, 8])


def test_bad_text(model, twin):
    with pytest.raises(ValueError, match="corpus is empty"):
        model.read(DATA.train.select(np.zeros(0, int)))
    with pytest.raises(ValueError, match="vocabulary of"):
        model.read(Corpus.from_messages([["other", "words"]], ["ada"]))
    with pytest.raises(ValueError, match="has no pointer"):
        remembering(twin, ("counts",)).attention(TOKENS[0], 3)


def test_memories_of_another_network_are_refused(twin, model):
    other = remembering(twin, scale=0.3)
    with pytest.raises(ValueError, match="were made for the network"):
        model.with_memories(other.memories)


@pytest.mark.parametrize("embedding", [0, 4])
def test_saved_model_comes_back(twin, tmp_path, embedding):
    model = remembering(twin, embedding=embedding)
    if embedding:
        vectors = np.random.default_rng(0).normal(size=(len(model.known_users), embedding))
        model = model.with_memories(model.memories.with_vectors(vectors))
    twin.memory.save(model, tmp_path / "model")
    loaded = twin.memory.load(tmp_path / "model")
    assert loaded.network.reading == model.network.reading
    assert twin.memory.fingerprint(loaded) == twin.memory.fingerprint(model)
    for users in (WHO, None):
        expected = model.log_probs(TOKENS, users)
        np.testing.assert_array_equal(loaded.log_probs(TOKENS, users), expected)
    loaded.remember(3, [5, 6])  # and can go on


def test_a_damaged_or_foreign_file_is_refused(twin, model, tmp_path):
    twin.memory.save(model, tmp_path / "model")
    (tmp_path / "model").write_bytes((tmp_path / "model").read_bytes()[:-9])
    with pytest.raises(CorruptedFileError, match="truncated"):
        twin.memory.load(tmp_path / "model")
    twin.base_model.save(twin.base_model.BaseModel(SIZE, BASE), tmp_path / "base")
    with pytest.raises(ValueError, match=f"holds a base model in {twin.name}, not a user memory"):
        twin.memory.load(tmp_path / "base")


def test_memories_can_be_saved_and_loaded_one_by_one(twin, model, tmp_path):
    model.states().save(tmp_path)
    again = model.with_memories(load_memories(tmp_path, twin.memory.fingerprint(model), [0, 3]))
    np.testing.assert_array_equal(again.log_probs(TOKENS, WHO), model.log_probs(TOKENS, WHO))
    assert again.network is model.network


def test_fingerprint_sees_the_network_and_not_the_users(twin):
    model = remembering(twin)
    before = twin.memory.fingerprint(model)
    model.remember(3, [5, 6])
    assert twin.memory.fingerprint(model) == before
    twin.nudge(model.network)
    assert twin.memory.fingerprint(model) != before


def trained(twin, training=SHORT, **settings):
    below = twin.base_model.BaseModel(SIZE, replace(BASE, dropout=0.1), seed=3)
    config = replace(CONFIG, dropout=0.1, shortest=2, **settings)
    return twin.memory.trained(DATA, below, config, training, progress=False)


@pytest.mark.parametrize("embedding", [0, 4])
def test_training_learns_and_is_kept(twin, cache, embedding):
    model, history = trained(twin, TrainingConfig(epochs=6, batch_size=16), embedding=embedding)
    assert history.validation[-1] < history.validation[0]
    assert model.known_users.tolist() == [0, 2, 3, 4]
    steps = math.ceil(len(DATA.train) / 16)
    steps += math.ceil(len(DATA.train) / VECTOR_BATCH) if embedding else 0
    assert len(history.steps) == 6 * steps
    again, same = trained(twin, TrainingConfig(epochs=6, batch_size=16), embedding=embedding)
    assert same == history
    np.testing.assert_array_equal(again.log_probs(TOKENS, WHO), model.log_probs(TOKENS, WHO))
    assert again.vocabulary == DATA.vocabulary
    assert again.user_names == ("user 0", "user 2", "user 3", "user 4")


def test_training_can_be_repeated(twin, cache, monkeypatch, tmp_path):
    first, history = trained(twin, embedding=4)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "another"))
    again, same = trained(twin, embedding=4)
    assert history.steps == same.steps
    assert twin.memory.fingerprint(first) == twin.memory.fingerprint(again)


def test_each_user_has_a_vector_of_their_own_beside_the_memory(twin, cache):
    model, _ = trained(twin, embedding=4)
    vectors = [memory.vector for memory in model.memories.of_users.values()]
    assert {vector.shape for vector in vectors} == {(4,)}
    assert len({vector.tobytes() for vector in vectors}) == 4
    swapped = model.memories.with_vectors(np.stack(vectors[::-1]))
    other = model.with_memories(swapped)
    assert np.abs(other.log_probs(TOKENS, WHO) - model.log_probs(TOKENS, WHO)).max() > 1e-6


def test_fitting_lowers_the_loss_and_is_kept(twin, cache):
    model = remembering(twin, embedding=4)
    vectors = np.random.default_rng(0).normal(size=(len(model.known_users), 4))
    model = model.with_memories(model.memories.with_vectors(vectors))
    before = twin.memory.fingerprint(model)
    found = twin.memory.fitted(model, NEW, FittingConfig(steps=20))
    again = twin.memory.fitted(model, NEW, FittingConfig(steps=20))
    np.testing.assert_array_equal(found.of_users[1].vector, again.of_users[1].vector)
    assert twin.memory.fingerprint(model) == before
    typical = model.read(NEW).with_vectors(vectors.mean(0, keepdims=True))
    inputs, targets = NEW.padded(np.arange(len(NEW)))
    loss = {}
    for name, memories in (("fitted", found), ("typical", typical)):
        log_probs = model.with_memories(memories).log_probs(inputs, NEW.users)
        right = np.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
        loss[name] = -right[targets != 0].mean()
    assert loss["fitted"] < loss["typical"]


def test_fitting_needs_an_embedding(twin, model):
    with pytest.raises(ValueError, match="fitting needs a network with an embedding"):
        twin.memory.fit(model, NEW)


def test_a_vector_has_its_share_and_whoever_has_none_is_read_by_memory_alone(twin):
    model, half = (remembering(twin, embedding=4, share=share) for share in (1e-9, 0.5))
    vectors = np.random.default_rng(0).normal(size=(len(model.known_users), 4))
    told = [each.with_memories(each.memories.with_vectors(vectors)) for each in (model, half)]
    alone, little, both = (each.log_probs(TOKENS, WHO) for each in (half, *told))
    np.testing.assert_allclose(little, alone, atol=1e-5)
    vector = 2 * np.exp(both) - np.exp(alone)
    np.testing.assert_allclose(vector.sum(-1), 1, atol=1e-4)
    assert vector.min() > -1e-5
    assert np.abs(both - alone).max() > 0.01


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"ways": ()}, ValueError, "ways must be some of"),
        ({"ways": ("guessing",)}, ValueError, "ways must be some of"),
        ({"ways": "counts"}, TypeError, "ways must be a tuple"),
        ({"key": 0}, ValueError, "key must be at least 1"),
        ({"embedding": -1}, ValueError, "embedding must be at least 0"),
        ({"share": 0.0}, ValueError, "share must be above 0"),
        ({"cut": 1.5}, ValueError, "cut must be at most 1"),
        ({"last": 0}, ValueError, "last must be at least 1"),
        ({"leave_out": 1}, TypeError, "leave_out must be True or False"),
        ({"dropout": 1.0}, ValueError, "dropout must be"),
    ],
)
def test_bad_settings(settings, error, says):
    with pytest.raises(error, match=says):
        UserMemoryConfig(**settings)


def by_hand(weights, hidden, memory):
    """Log-probabilities after one state ``(hidden,)``, with this memory: every sum written out."""
    values = np.tanh(
        np.tanh(
            np.concatenate([memory.keys, weights["embedding"][memory.tokens]], 1)
            @ weights["value in"]
            + weights["value in bias"]
        )
        @ weights["value out"]
        + weights["value out bias"]
    )
    mean = np.append(values.mean(0), np.log1p(len(values)) / 5)
    guide = np.tanh(mean @ weights["pool"] + weights["pool bias"])
    scale, shift = np.split(guide @ weights["film"], 2)
    counts = np.bincount(memory.tokens, minlength=SIZE)
    bias = weights["count weight"] * np.log1p(counts / np.exp(weights["count scale"]))
    bias += guide @ weights["guide bias"]
    guided = (hidden * (1 + scale) + shift) @ weights["projection"]
    own = np.exp(log_softmax(guided @ weights["embedding"].T + weights["words"] + bias))
    asked = hidden @ weights["ask"] + weights["ask bias"]
    near = np.exp(-((asked[:-1] - memory.keys) ** 2).sum(1) - asked[-1])
    pointed = np.bincount(memory.tokens, near, minlength=SIZE)
    return np.log((pointed + own) / (near.sum() + 1))


def test_the_prediction_equals_the_equations_written_out(twin, model):
    memory = model.memories.of_users[3]
    for hidden in np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32):
        expected = by_hand(twin.weights(model.network), hidden, memory)
        np.testing.assert_allclose(twin.predicted(model, hidden, 3), expected, atol=1e-4)
