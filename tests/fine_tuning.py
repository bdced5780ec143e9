"""What both twins of fine_tuning must do; each twin's file says how to get at its weights."""

import inspect

import numpy as np
import pytest

from companion.corpora import BEGIN, Corpus
from companion.keeping import cache
from companion.keyboard import Keyboard
from companion.settings import BaseModelConfig
from companion.users import personalizing, stacks
from companion.users.stacks import DOWN, UP
from companion.users.states import PersonalStates
from companion.users.store import FILE, SqliteStore
from companion.users.strategies import LAYERS, Strategy

CONFIGS = [
    BaseModelConfig(cell=cell, embedding=5, hidden=7, layers=layers, tied=tied)
    for cell, layers, tied in [("lstm", 1, True), ("lstm", 2, False), ("gru", 1, False)]
] + [BaseModelConfig(cell="gru", embedding=6, hidden=6, layers=2)]  # tied without a projection
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}{c.layers}{c.tied}")
LAST = ("output", "bias")
FEW = {"passes": 2, "batches": 3, "learning_rate": 0.02}
MORE = {"layers": LAST, "passes": 5, "batches": 3, "learning_rate": 0.1}
ALL = Strategy(**FEW)
FROZEN = Strategy(LAST, **FEW)
NARROW = Strategy(LAST, **FEW, rank=2)


def by_users(*habits):
    """Messages, by who writes how many of what."""
    rows = [(user, line.split()) for user, times, line in habits for _ in range(times)]
    return Corpus.from_messages([words for _, words in rows], users=[user for user, _ in rows])


def text_and_later():
    """Ben and Cy go on as they began, Ada takes it all back, and Di writes no more."""
    corpus = by_users(
        *[("ada", 7, "go on"), ("ada", 3, "stay in")],
        *[("ben", 1, "stay in"), ("ben", 1, "stay in")],
        *[("cy", 4, "stay here in the rain"), ("cy", 2, "on the go"), ("cy", 2, "stay here")],
        *[("di", 3, "go"), ("ed", 1, "never")],
    )
    later = np.isin(np.arange(len(corpus)), [7, 8, 9, 11, 18, 19])
    return corpus.select(~later), corpus.select(later)


TEXT, LATER = text_and_later()
USERS, WHO = np.array([0, 1, 2]), np.array([2, 0, 1, 2])
TOKENS = TEXT.padded(np.array([8, 0, 7, 12]))[0]


def steps_of(user, strategy):
    """What is read and what is to be predicted at every step of fine-tuning for a user."""
    passes = stacks.passes(TEXT, np.array([user]), strategy)
    return [TEXT.padded(messages) for parts in passes for [messages] in parts]


def numbers(states):
    """All changes of each user in a row."""
    rows = [states.arrays[name].reshape(len(states), -1) for name in sorted(states.arrays)]
    return np.hstack(rows).astype(float)


def stirred(twin, config=CONFIGS[0], seed=1):
    """A base model whose weights have all moved, as after training."""
    return twin.stir(twin.base_model.BaseModel(len(TEXT.vocabulary), config, seed), seed)


def tuned(twin, base, strategy=ALL, users=USERS):
    return twin.tuning.FineTuned(base, twin.tuning.personalize(base, TEXT, users, strategy))


@pytest.fixture(scope="module")
def base(twin):
    """A base model; no test changes it."""
    return stirred(twin)


@pytest.fixture(scope="module")
def model(twin, base):
    """One for all tests that do not change it."""
    return tuned(twin, base)


LOOPS = {
    "all": {},
    "pull": {"pull": 5.0, "bias_scale": 3.0},
    "frozen": {"layers": LAST, "pull": 5.0, "bias_scale": 3.0, "distillation": 1.0},
    "distillation": {"distillation": 2.0},
}


def check_against_a_loop(twin, config, name, importance=None):
    base, strategy = stirred(twin, config), Strategy(**FEW, **LOOPS[name])
    before = twin.base_model.fingerprint(base)
    states = twin.tuning.personalize(base, TEXT, USERS, strategy, importance=importance)
    assert twin.base_model.fingerprint(base) == before
    for row, user in enumerate(USERS):
        loop = twin.by_loop(base, user, strategy, importance)
        assert loop.keys() == states.arrays.keys()
        for weight, change in loop.items():
            found = states.arrays[weight][row]
            np.testing.assert_allclose(found, change, rtol=1e-3, atol=1e-4, err_msg=weight)
            assert np.abs(change).max() > 0.005


@configs
@pytest.mark.parametrize("name", ["all", "pull"])
def test_equals_a_loop_over_copies_of_the_model(twin, config, name):
    check_against_a_loop(twin, config, name)


@pytest.mark.parametrize("name", ["frozen", "distillation"])
def test_what_is_read_once_changes_nothing(twin, name, monkeypatch):
    monkeypatch.setattr(stacks, "LARGEST_PART", 2)
    check_against_a_loop(twin, CONFIGS[1], name)


def test_equals_a_loop_with_importance(twin, base):
    importance = {n: np.sqrt(w) * 20 for n, w in twin.tuning.fisher(base, TEXT, 9).items()}
    check_against_a_loop(twin, CONFIGS[0], "pull", importance)


@pytest.mark.parametrize("strategy", [ALL, NARROW], ids=["whole", "narrow"])
def test_company_and_the_size_of_the_group_change_nothing(twin, base, strategy):
    together = twin.tuning.personalize(base, TEXT, None, strategy)
    assert together.users.tolist() == [0, 1, 2, 3, 4]
    alone = twin.tuning.personalize(base, TEXT, [2], strategy)
    np.testing.assert_allclose(numbers(together.of([2])), numbers(alone), rtol=1e-3, atol=1e-4)
    apart = twin.tuning.personalize(base, TEXT, None, strategy, group_size=1)
    np.testing.assert_allclose(numbers(together), numbers(apart), rtol=1e-3, atol=1e-4)


def test_a_larger_pull_gives_smaller_changes(twin, base):
    free, held, more = (
        numbers(twin.tuning.personalize(base, TEXT, USERS, Strategy(LAST, **FEW, pull=pull)))
        for pull in (0.0, 1.0, 20.0)
    )
    free, held, more = (np.abs(changes).mean(axis=1) for changes in (free, held, more))
    assert (more < 0.9 * held).all()
    assert (held < free).all()


def test_each_layer_is_changed_alone(twin, base):
    found = [
        twin.tuning.personalize(base, TEXT, [0], Strategy((layer,))).arrays for layer in LAYERS
    ]
    assert [twin.embedding in arrays for arrays in found] == [True, False, False, False]
    assert list(found[2]) == [twin.projection]
    assert list(found[3]) == [twin.bias]
    names = {name for arrays in found for name in arrays}
    assert len(names) == sum(map(len, found)) == len(twin.tuning.fisher(base, TEXT, 1))


def test_the_bias_moves_farther_by_its_scale(twin, base):
    once = Strategy(LAST, passes=1, batches=1, learning_rate=0.01, bias_scale=5.0)
    arrays = twin.tuning.personalize(base, TEXT, USERS, once).arrays
    np.testing.assert_allclose(np.abs(arrays[twin.bias]), 0.05, rtol=1e-2)
    assert np.abs(arrays[twin.projection]).max() == pytest.approx(0.01, rel=1e-2)


def test_the_seed_decides(twin, base):
    one, same, other = (
        numbers(twin.tuning.personalize(base, TEXT, USERS, Strategy(LAST, **FEW, seed=seed)))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other)[2].max() > 1e-3


def test_distillation_holds_the_predictions(twin, base):
    free, held = (tuned(twin, base, Strategy(**MORE, distillation=d)) for d in (0.0, 20.0))
    before = base.log_probs(TOKENS)
    moved = [np.abs(model.log_probs(TOKENS, WHO) - before).mean() for model in (free, held)]
    assert moved[1] < 0.5 * moved[0]


def test_early_stopping_keeps_a_better_pass(twin, base):
    stopped = Strategy(**MORE, early_stopping=True)
    last = twin.tuning.personalize(base, TEXT, [0, 1, 3], Strategy(**MORE))
    best = twin.tuning.personalize(base, TEXT, [0, 1, 3], stopped, LATER)
    ada, *others = np.abs(numbers(last) - numbers(best)).max(axis=1)
    assert ada > 0.01
    assert max(others) < 1e-3
    losses = [
        twin.training.evaluate(twin.tuning.FineTuned(base, states), LATER.of_users(0))
        for states in (best, last)
    ]
    assert losses[0] < losses[1] - 0.1


def test_the_gate_shuts_where_later_text_contradicts_and_where_there_is_none(twin, base):
    gate, both = Strategy(**MORE, gate=True), Strategy(**MORE, gate=True, early_stopping=True)
    states = twin.tuning.personalize(base, TEXT, [0, 1, 2, 3], gate, LATER)
    assert numbers(states).any(axis=1).tolist() == [False, True, True, False]
    alone = twin.tuning.personalize(base, TEXT, [3], both, LATER)
    assert not numbers(alone).any()


@configs
def test_the_product_of_two_narrow_matrices_equals_the_whole_change(twin, config):
    base = stirred(twin, config)
    states = twin.tuning.personalize(base, TEXT, USERS, Strategy(**FEW, rank=3))
    names = [name.removesuffix(UP) for name in states.arrays if name.endswith(UP)]
    whole = {n: a for n, a in states.arrays.items() if not n.endswith((DOWN, UP))}
    for name in names:
        down, up = (states.arrays[name + side].astype(np.float32) for side in (DOWN, UP))
        whole[name] = twin.product(name, down, up)
        assert down.shape[2] == up.shape[1] == 3
    assert all("bias" not in name for name in names)
    wholes = PersonalStates(states.model, states.users, whole)
    found, expected = (
        twin.tuning.FineTuned(base, changes).log_probs(TOKENS, WHO) for changes in (states, wholes)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - base.log_probs(TOKENS)).max() > 0.05


class Killed(Exception):
    pass


class KillingBar:
    """A progress bar that kills the run after the first group."""

    def __init__(self, *arguments): ...
    def __enter__(self):
        return self

    def __exit__(self, *error): ...
    def update(self, users):
        raise Killed


def interrupted(twin, base, folder, monkeypatch):
    """The states of those who are finished when a run is killed."""
    with monkeypatch.context() as patch:
        patch.setattr(personalizing, "progress_bar", KillingBar)
        with pytest.raises(Killed):
            twin.tuning.personalize(base, TEXT, None, FROZEN, folder=folder, group_size=2)
    with SqliteStore(folder / FILE) as store:
        return store.get(twin.base_model.fingerprint(base))


def test_a_run_that_was_killed_goes_on_where_it_stopped(twin, base, tmp_path, monkeypatch):
    written = interrupted(twin, base, tmp_path, monkeypatch)
    assert 0 < len(written) < 5
    whole = twin.tuning.personalize(base, TEXT, None, FROZEN, folder=tmp_path, group_size=2)
    at_once = twin.tuning.personalize(base, TEXT, None, FROZEN)
    np.testing.assert_allclose(numbers(whole), numbers(at_once), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(numbers(whole.of(written.users)), numbers(written))
    monkeypatch.setattr(twin.adapting, "_Group", None)  # nobody is left
    again = twin.tuning.personalize(base, TEXT, [0, 3], FROZEN, folder=tmp_path)
    np.testing.assert_array_equal(numbers(again), numbers(whole.of([0, 3])))


def test_a_folder_made_otherwise_is_refused(twin, base, tmp_path, monkeypatch):
    other = stirred(twin, seed=2)
    interrupted(twin, base, tmp_path, monkeypatch)
    calls = [
        (base, TEXT, None, NARROW),
        (base, TEXT.first(2), None, FROZEN),
        (other, TEXT, None, FROZEN),
    ]
    for call, what in zip(calls, ["strategy", "text", "base"], strict=True):
        with pytest.raises(ValueError, match=f"made with another {what}: name another folder"):
            twin.tuning.personalize(*call, folder=tmp_path)


def test_states_can_be_saved_loaded_and_deleted_one_by_one(twin, model, tmp_path):
    states, name = model.states(), twin.base_model.fingerprint(model.base)
    found = model.log_probs(TOKENS, WHO)
    with SqliteStore(tmp_path / "states") as store:
        store.put(states)
        again = twin.tuning.FineTuned(model.base, store.get(name))
        np.testing.assert_array_equal(again.log_probs(TOKENS, WHO), found)
        assert store.get(name, [1]).users.tolist() == [1]
        store.delete(1)
        left = model.with_states(store.get(name))
    assert left.base is model.base
    with pytest.raises(ValueError, match="user 1 is none of the 2 users known"):
        left.log_probs(TOKENS, WHO)
    np.testing.assert_allclose(left.log_probs(TOKENS[:2], WHO[:2]), found[:2], atol=1e-6)
    assert states.arrays[twin.bias].dtype == np.float16


def test_states_of_another_network_or_method_are_refused(twin, model):
    with pytest.raises(ValueError, match="were made for the network"):
        twin.tuning.FineTuned(stirred(twin, seed=2), model.states())
    vectors = PersonalStates(model.states().model, USERS, {"vector": np.ones((3, 4))})
    with pytest.raises(ValueError, match=r"states hold 'vector' .* another method's"):
        model.with_states(vectors)


def test_the_base_model_predicts_for_everybody_else(twin, model):
    before = twin.logits(model.base, TOKENS)
    np.testing.assert_allclose(model.log_probs(TOKENS), model.base.log_probs(TOKENS), atol=1e-6)
    np.testing.assert_allclose(twin.logits(model, TOKENS), before, atol=1e-6)
    found = twin.logits(model, TOKENS, np.array([-1, 0, 3, 999]))
    np.testing.assert_allclose(found[[0, 2, 3]], before[[0, 2, 3]], atol=1e-6)
    assert np.abs(found[1] - before[1]).max() > 0.05
    assert model.vocabulary_size == len(TEXT.vocabulary)
    for bad, says in [([0, 0, 3, 0], "user 3 is none of the 3"), ([0], "one for each message")]:
        with pytest.raises(ValueError, match=says):
            model.log_probs(TOKENS, bad)
    with pytest.raises(ValueError, match="token id 99 is outside"):
        model.log_probs(np.full((1, 1), 99), [0])


@configs
def test_step_by_step_as_at_once(twin, config):
    model = tuned(twin, stirred(twin, config))
    for users in (WHO, None):
        state = first = model.begin(4, users)
        for place, column in enumerate(TOKENS.T):
            found, state = model.step(column, state)
            expected = model.log_probs(TOKENS, users)[:, place]
            np.testing.assert_allclose(found, expected, atol=1e-5)
        again, _ = model.step(TOKENS[:, 0], first)  # a step changes no state
        np.testing.assert_allclose(again, model.log_probs(TOKENS, users)[:, 0], atol=1e-5)


def test_a_keyboard_suggests_what_its_user_writes(twin, base):
    model = tuned(twin, base, Strategy(passes=10, batches=4, learning_rate=0.05), [0, 2])
    suggested = [Keyboard(model, TEXT.vocabulary, user).suggest([], k=1) for user in (0, 2)]
    assert suggested == [["go"], ["stay"]]
    keyboard = Keyboard(model, TEXT.vocabulary, 0)
    assert keyboard.suggest(["go"], k=1) == ["on"]
    log_probs = model.log_probs(np.array([[BEGIN]]), [0])[0, 0]
    assert TEXT.vocabulary.words[log_probs[3:].argmax() + 3] == "go"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"corpus": TEXT.select(np.array([], int))}, "corpus is empty"),
        ({"corpus": by_users(("ada", 1, "go on"))}, "model has a vocabulary of"),
        ({"corpus": TEXT.of_users([0]), "users": [0, 2]}, "user 2 has no message in corpus"),
        ({"users": [77]}, "user 77 has no message in corpus"),
        ({"users": []}, "users is empty: name at least one"),
        ({"strategy": Strategy(gate=True)}, "need validation text: give validation"),
        ({"strategy": Strategy(early_stopping=True)}, "need validation text: give validation"),
        ({"importance": {}, "strategy": Strategy(rank=1, pull=1.0)}, "rank must be 0, not 1"),
        ({"importance": {}}, "importance needs a pull above 0"),
        ({"importance": {}, "strategy": Strategy(pull=1.0)}, "importance must hold"),
        ({"base": 3, "strategy": Strategy(("output",))}, "the output layer is the embedding"),
    ],
)
def test_bad_input(twin, arguments, says):
    arguments = {"base": 0, "corpus": TEXT, "strategy": ALL, **arguments}
    base = stirred(twin, CONFIGS[arguments.pop("base")])
    with pytest.raises(ValueError, match=says):
        twin.tuning.personalize(base, **arguments)


def test_importance_of_another_shape_is_refused(twin, base):
    importance = {n: w[..., :-1] for n, w in twin.tuning.fisher(base, TEXT, 1).items()}
    with pytest.raises(ValueError, match="with the shape of that weight"):
        twin.tuning.personalize(base, TEXT, None, Strategy(pull=1.0), importance=importance)


def test_a_loss_that_is_not_finite_names_the_user(twin, base):
    broken = stirred(twin, CONFIGS[1])
    twin.put(broken, twin.embedding, np.inf)  # in the row of "never", which only Ed writes
    with pytest.raises(FloatingPointError, match="the loss of user 4 is nan: try a learning_rate"):
        twin.tuning.personalize(broken, TEXT, None, ALL)
    with pytest.raises(FloatingPointError, match="below 1e\\+30"):
        twin.tuning.personalize(base, TEXT, [0], Strategy(learning_rate=1e30))


def fisher_by_hand(twin, base, inputs, at, drawn):
    """Mean of the squared gradients, one token at a time, and the square of their mean."""
    found = [
        twin.gradients(base, row, place, word)
        for row, place, word in zip(inputs, at, drawn, strict=True)
    ]
    each = {name: np.stack([gradients[name] for gradients in found]) for name in found[0]}
    squares = {name: (gradients**2).mean(0) for name, gradients in each.items()}
    return squares, {name: gradients.mean(0) ** 2 for name, gradients in each.items()}


def test_fisher_information_equals_that_of_one_token_at_a_time(twin, monkeypatch):
    base, drawn = stirred(twin, CONFIGS[2]), []
    draw = stacks.draw
    monkeypatch.setattr(stacks, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    found = twin.tuning.fisher(base, TEXT, 12, seed=5)
    rng = np.random.default_rng(5)
    every = [(m, step) for m, n in enumerate(TEXT.lengths) for step in range(n + 1)]
    chosen, at = np.array(every)[rng.permutation(len(every))[:12]].T
    squares, of_mean = fisher_by_hand(twin, base, TEXT.padded(chosen)[0], at, drawn[0])
    assert found.keys() == squares.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, squares[name], rtol=1e-3, atol=1e-8)
        assert array.sum() > 2 * of_mean[name].sum()


def test_the_seed_decides_the_fisher_information(twin, base):
    one, other, same = (twin.tuning.fisher(base, TEXT, 12, seed)[twin.bias] for seed in (0, 1, 0))
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(one, same)
    with pytest.raises(ValueError, match="corpus is empty"):
        twin.tuning.fisher(base, TEXT.select(np.array([], int)))


@pytest.fixture
def key_of(twin, monkeypatch):
    """The key under which states are kept; nothing is fitted."""

    def kept(key, *_, **__):
        raise Killed(cache.file_name(key))

    monkeypatch.setattr(cache, "kept", kept)

    def key(*arguments):
        with pytest.raises(Killed) as killed:
            twin.tuning.personalized(*arguments)
        return str(killed.value)

    return key


def test_fine_tuned_once_and_kept(twin, base, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    model = twin.tuning.personalized(base, TEXT, USERS, FROZEN)
    monkeypatch.setattr(twin.tuning, "Adaptation", None)  # a second run would fail
    again = twin.tuning.personalized(base, TEXT, USERS, FROZEN)
    np.testing.assert_array_equal(again.log_probs(TOKENS, WHO), model.log_probs(TOKENS, WHO))


def test_everything_that_decides_is_in_the_key(twin, base, key_of):
    gate, held = Strategy(gate=True), Strategy(pull=1.0)
    calls = [
        (base, TEXT, USERS, FROZEN),
        (stirred(twin, seed=2), TEXT, USERS, FROZEN),
        (base, TEXT.first(3), USERS, FROZEN),
        (base, TEXT, USERS[:2], FROZEN),
        (base, TEXT, USERS, gate, LATER),
        (base, TEXT, USERS, gate, LATER.first(1)),
        (base, TEXT, USERS, held),
        (base, TEXT, USERS, held, None, {twin.bias: np.ones(3)}),
    ]
    assert len({key_of(*call) for call in calls}) == len(calls)


@pytest.mark.parametrize(
    "module",
    [
        "users.methods",
        "users.states",
        "settings",
        "users.stacks",
        "twin.adapting",
        "twin.base_model",
        "twin.fine_tuning",
        "twin.stacked",
    ],
)
def test_code_that_decides_is_in_the_key(twin, base, monkeypatch, key_of, module):
    read = inspect.getsource
    decides = f"companion.{module}".replace("twin", twin.name.lower())
    key = key_of(base, TEXT, USERS, FROZEN)

    def changed(of):
        return read(of) + "# changed" * (of.__name__ == decides)

    monkeypatch.setattr(inspect, "getsource", changed)
    assert key_of(base, TEXT, USERS, FROZEN) != key
