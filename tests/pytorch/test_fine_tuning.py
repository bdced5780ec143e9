import copy
import inspect

import numpy as np
import pytest
import torch

from companion import keeping, personalizing, stacks
from companion.corpora import BEGIN, Corpus
from companion.keyboard import Keyboard
from companion.personal import PersonalStates, delete_state, load_states, state_file
from companion.pytorch import adapting, base_model
from companion.pytorch import fine_tuning as tuning
from companion.pytorch.base_model import BaseModel
from companion.pytorch.fine_tuning import FineTuned, fisher, personalize, personalized
from companion.pytorch.training import evaluate, masked_loss
from companion.settings import ADAM_EPSILON, BaseModelConfig
from companion.stacks import DOWN, UP
from companion.strategies import LAYERS, Strategy

CONFIGS = [
    BaseModelConfig(cell=cell, embedding=5, hidden=7, layers=layers, tied=tied)
    for cell, layers, tied in [("lstm", 1, True), ("lstm", 2, False), ("gru", 1, False)]
] + [BaseModelConfig(cell="gru", embedding=6, hidden=6, layers=2)]  # tied without a projection
configs = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}{c.layers}{c.tied}")
EMBEDDING, BIAS, PROJECTION = "embedding.weight", "output.bias", "projection.weight"
LAST = ("output", "bias")
FEW = {"passes": 2, "batches": 3, "learning_rate": 0.02}
MORE = {"layers": LAST, "passes": 5, "batches": 3, "learning_rate": 0.1}
ALL = Strategy(**FEW)
TWINS = ("adapting", "base_model", "fine_tuning", "stacked")
MODULES = ["methods", "personal", "settings", "stacks", *(f"pytorch.{name}" for name in TWINS)]
FROZEN = Strategy(LAST, **FEW)
NARROW = Strategy(LAST, **FEW, rank=2)


def stirred(config=CONFIGS[0], seed=1):
    """A base model whose weights have all moved, as after training; the untrained ones aside."""
    model = BaseModel(len(TEXT.vocabulary), config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def put(model, name, value):
    """Set the numbers of the last row of a weight, those of the last word."""
    with torch.no_grad():
        model.get_parameter(name)[-1] = value


def logits(model, ids, users=None):
    """What the training calls."""
    users = None if users is None else torch.tensor(users)
    return model(torch.tensor(ids), users).detach().numpy()


def by_loop(base, user, strategy, importance=None):
    """Changes of a copy of the base model, trained on a user's messages the plain way."""
    model = copy.deepcopy(base)
    start = {name: w.detach() for name, w in base.named_parameters() if w.requires_grad}
    frozen = () if "recurrent" in strategy.layers else ("embedding", "recurrent")
    weights = {n: model.get_parameter(n) for n in start if not n.startswith(frozen)}
    scale = {name: strategy.bias_scale if name == BIAS else 1.0 for name in weights}
    rates = [{"params": [w], "lr": strategy.learning_rate * scale[n]} for n, w in weights.items()]
    adam = torch.optim.Adam(rates, eps=ADAM_EPSILON)
    text, passes = TEXT.of_users(user), list(stacks.passes(TEXT, np.array([user]), strategy))
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, len(passes) * len(passes[0]))
    for [messages] in (part for parts in passes for part in parts):
        inputs, targets = map(torch.tensor, TEXT.padded(messages))
        read = model(inputs)
        loss = masked_loss(read, targets)
        for name, weight in weights.items():
            held = importance[name] if importance else scale[name] ** -2
            squares = (torch.as_tensor(held) * (weight - start[name]) ** 2).sum()
            loss = loss + strategy.pull / 2 * squares / (text.n_tokens + len(text))
        inside, apart = targets != 0, base(inputs).log_softmax(-1).detach()
        divergence = (apart.exp() * (apart - read.log_softmax(-1))).sum(-1)
        loss = loss + strategy.distillation * divergence[inside].mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        fall.step()
    return {name: (weight - start[name]).detach().numpy() for name, weight in weights.items()}


def fisher_by_hand(base, inputs, at, drawn):
    """Mean of the squared gradients, one token at a time, and the square of their mean."""
    squares, mean = {}, {}
    for row, place, word in zip(inputs, at, drawn, strict=True):
        base.zero_grad()
        base(torch.tensor(row[None]))[0, place].log_softmax(-1)[word].backward()
        for name, weight in base.named_parameters():
            if weight.requires_grad:
                squares[name] = squares.get(name, 0.0) + weight.grad.numpy() ** 2 / len(at)
                mean[name] = mean.get(name, 0.0) + weight.grad.numpy() / len(at)
    return squares, {name: gradient**2 for name, gradient in mean.items()}


def product(name, down, up):
    """The change of a weight that two narrow matrices make."""
    return (down @ up).swapaxes(-1, -2)


# From here on, the twin reads the same.


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


def numbers(states):
    """All changes of each user in a row."""
    rows = [states.arrays[name].reshape(len(states), -1) for name in sorted(states.arrays)]
    return np.hstack(rows).astype(float)


def tuned(base=None, strategy=ALL, users=USERS):
    base = base or stirred()
    return FineTuned(base, personalize(base, TEXT, users, strategy))


@pytest.fixture(scope="module")
def model():
    """One for all tests that do not change it."""
    return tuned()


LOOPS = {
    "all": {},
    "pull": {"pull": 5.0, "bias_scale": 3.0},
    "frozen": {"layers": LAST, "pull": 5.0, "bias_scale": 3.0, "distillation": 1.0},
    "distillation": {"distillation": 2.0},
}


def check_against_a_loop(config, name, importance=None):
    base, strategy = stirred(config), Strategy(**FEW, **LOOPS[name])
    before = base_model.fingerprint(base)
    states = personalize(base, TEXT, USERS, strategy, importance=importance)
    assert base_model.fingerprint(base) == before
    for row, user in enumerate(USERS):
        loop = by_loop(base, user, strategy, importance)
        assert loop.keys() == states.arrays.keys()
        for weight, change in loop.items():
            found = states.arrays[weight][row]
            np.testing.assert_allclose(found, change, rtol=1e-3, atol=1e-4, err_msg=weight)
            assert np.abs(change).max() > 0.005


@configs
@pytest.mark.parametrize("name", ["all", "pull"])
def test_equals_a_loop_over_copies_of_the_model(config, name):
    check_against_a_loop(config, name)


@pytest.mark.parametrize("name", ["frozen", "distillation"])
def test_what_is_read_once_changes_nothing(name, monkeypatch):
    monkeypatch.setattr(stacks, "LARGEST_PART", 2)
    check_against_a_loop(CONFIGS[1], name)


def test_equals_a_loop_with_importance():
    importance = {n: np.sqrt(w) * 20 for n, w in fisher(stirred(), TEXT, 9).items()}
    check_against_a_loop(CONFIGS[0], "pull", importance)


@pytest.mark.parametrize("strategy", [ALL, NARROW])
def test_company_and_the_size_of_the_group_change_nothing(strategy):
    base = stirred()
    together = personalize(base, TEXT, None, strategy)
    assert together.users.tolist() == [0, 1, 2, 3, 4]
    alone = personalize(base, TEXT, [2], strategy)
    np.testing.assert_allclose(numbers(together.of([2])), numbers(alone), rtol=1e-3, atol=1e-4)
    apart = personalize(base, TEXT, None, strategy, group_size=1)
    np.testing.assert_allclose(numbers(together), numbers(apart), rtol=1e-3, atol=1e-4)


def size(**fields):
    """How far the changes of each user go."""
    return np.abs(
        numbers(personalize(stirred(), TEXT, USERS, Strategy(LAST, **FEW, **fields)))
    ).mean(1)


def test_a_larger_pull_gives_smaller_changes():
    assert (size(pull=20.0) < 0.9 * size(pull=1.0)).all()
    assert (size(pull=1.0) < size()).all()


def test_each_layer_is_changed_alone():
    found = [personalize(stirred(), TEXT, [0], Strategy((layer,))).arrays for layer in LAYERS]
    assert [EMBEDDING in arrays for arrays in found] == [True, False, False, False]
    assert list(found[2]) == [PROJECTION]
    assert list(found[3]) == [BIAS]
    names = {name for arrays in found for name in arrays}
    assert len(names) == sum(map(len, found)) == len(fisher(stirred(), TEXT, 1))


def test_the_bias_moves_farther_by_its_scale():
    once = {"passes": 1, "batches": 1, "learning_rate": 0.01, "layers": LAST}
    arrays = personalize(stirred(), TEXT, USERS, Strategy(**once, bias_scale=5.0)).arrays
    np.testing.assert_allclose(np.abs(arrays[BIAS]), 0.05, rtol=1e-2)
    assert np.abs(arrays[PROJECTION]).max() == pytest.approx(0.01, rel=1e-2)


def test_the_seed_decides():
    base = stirred()
    one, same, other = (
        personalize(base, TEXT, USERS, Strategy(LAST, **FEW, seed=s)) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(numbers(one), numbers(same))
    assert np.abs(numbers(one) - numbers(other))[2].max() > 1e-3


def test_distillation_holds_the_predictions():
    base = stirred()
    free, held = (tuned(base, Strategy(**MORE, distillation=d)) for d in (0.0, 20.0))
    before = base.log_probs(TOKENS)
    moved = [np.abs(model.log_probs(TOKENS, WHO) - before).mean() for model in (free, held)]
    assert moved[1] < 0.5 * moved[0]


def test_early_stopping_keeps_a_better_pass():
    base = stirred()
    last = personalize(base, TEXT, [0, 1, 3], Strategy(**MORE))
    best = personalize(base, TEXT, [0, 1, 3], Strategy(**MORE, early_stopping=True), LATER)
    ada, *others = np.abs(numbers(last) - numbers(best)).max(axis=1)
    assert ada > 0.01
    assert max(others) < 1e-3
    ada = LATER.of_users(0)
    assert evaluate(FineTuned(base, best), ada) < evaluate(FineTuned(base, last), ada) - 0.1


def test_the_gate_shuts_where_later_text_contradicts_and_where_there_is_none():
    base, users = stirred(), [0, 1, 2, 3]
    states = personalize(base, TEXT, users, Strategy(**MORE, gate=True), LATER)
    assert numbers(states).any(axis=1).tolist() == [False, True, True, False]
    alone = personalize(base, TEXT, [3], Strategy(**MORE, gate=True, early_stopping=True), LATER)
    assert not numbers(alone).any()


@configs
def test_the_product_of_two_narrow_matrices_equals_the_whole_change(config):
    base = stirred(config)
    states = personalize(base, TEXT, USERS, Strategy(**FEW, rank=3))
    names = [name.removesuffix(UP) for name in states.arrays if name.endswith(UP)]
    whole = {n: a for n, a in states.arrays.items() if not n.endswith((DOWN, UP))}
    for name in names:
        down, up = (states.arrays[name + side].astype(np.float32) for side in (DOWN, UP))
        whole[name] = product(name, down, up)
        assert down.shape[2] == up.shape[1] == 3
    assert all("bias" not in name for name in names)
    first = FineTuned(base, states)
    second = FineTuned(base, PersonalStates(states.model, states.users, whole))
    found = first.log_probs(TOKENS, WHO)
    np.testing.assert_allclose(found, second.log_probs(TOKENS, WHO), atol=1e-5)
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


def interrupted(base, folder, monkeypatch):
    """A folder in which some users are finished; when each file was written."""
    with monkeypatch.context() as patch:
        patch.setattr(personalizing, "progress_bar", KillingBar)
        with pytest.raises(Killed):
            personalize(base, TEXT, None, FROZEN, folder=folder, group_size=2)
    return {path: path.stat().st_mtime_ns for path in folder.glob("user-*")}


def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path, monkeypatch):
    base = stirred()
    written = interrupted(base, tmp_path, monkeypatch)
    assert 0 < len(written) < 5
    whole = personalize(base, TEXT, None, FROZEN, folder=tmp_path, group_size=2)
    np.testing.assert_allclose(
        numbers(whole), numbers(personalize(base, TEXT, None, FROZEN)), rtol=1e-3, atol=1e-4
    )
    assert {path: path.stat().st_mtime_ns for path in written} == written
    monkeypatch.setattr(adapting, "_Group", None)  # nobody is left
    again = personalize(base, TEXT, [0, 3], FROZEN, folder=tmp_path)
    np.testing.assert_array_equal(numbers(again), numbers(whole.of([0, 3])))


def test_a_folder_made_otherwise_is_refused(tmp_path, monkeypatch):
    base, other = stirred(), stirred(seed=2)
    interrupted(base, tmp_path, monkeypatch)
    calls = [
        (base, TEXT, None, NARROW),
        (base, TEXT.first(2), None, FROZEN),
        (other, TEXT, None, FROZEN),
    ]
    for call, what in zip(calls, ["strategy", "text", "base"], strict=True):
        with pytest.raises(ValueError, match=f"made with another {what}: name another folder"):
            personalize(*call, folder=tmp_path)


def test_states_can_be_saved_loaded_and_deleted_one_by_one(tmp_path, model):
    states = model.states()
    states.save(tmp_path)
    name = base_model.fingerprint(model.base)
    again = FineTuned(model.base, load_states(tmp_path, name))
    found = model.log_probs(TOKENS, WHO)
    np.testing.assert_array_equal(again.log_probs(TOKENS, WHO), found)
    assert load_states(tmp_path, name, [1]).users.tolist() == [1]
    delete_state(tmp_path, 1)
    assert not state_file(tmp_path, 1).exists()
    left = model.with_states(load_states(tmp_path, name))
    assert left.base is model.base
    with pytest.raises(ValueError, match="user 1 is none of the 2 users known"):
        left.log_probs(TOKENS, WHO)
    np.testing.assert_allclose(left.log_probs(TOKENS[:2], WHO[:2]), found[:2], atol=1e-6)
    assert states.arrays[BIAS].dtype == np.float16


def test_states_of_another_network_or_method_are_refused(model):
    with pytest.raises(ValueError, match="were made for the network"):
        FineTuned(stirred(seed=2), model.states())
    vectors = PersonalStates(model.states().model, USERS, {"vector": np.ones((3, 4))})
    with pytest.raises(ValueError, match=r"states hold 'vector' .* another method's"):
        model.with_states(vectors)


def test_the_base_model_predicts_for_everybody_else(model):
    before = logits(model.base, TOKENS)
    np.testing.assert_allclose(model.log_probs(TOKENS), model.base.log_probs(TOKENS), atol=1e-6)
    np.testing.assert_allclose(logits(model, TOKENS), before, atol=1e-6)
    found = logits(model, TOKENS, np.array([-1, 0, 3, 999]))
    np.testing.assert_allclose(found[[0, 2, 3]], before[[0, 2, 3]], atol=1e-6)
    assert np.abs(found[1] - before[1]).max() > 0.05
    assert model.vocabulary_size == len(TEXT.vocabulary)
    for bad, says in [([0, 0, 3, 0], "user 3 is none of the 3"), ([0], "one for each message")]:
        with pytest.raises(ValueError, match=says):
            model.log_probs(TOKENS, bad)
    with pytest.raises(ValueError, match="token id 99 is outside"):
        model.log_probs(np.full((1, 1), 99), [0])


@configs
def test_step_by_step_as_at_once(config):
    model = tuned(stirred(config))
    for users in (WHO, None):
        state = first = model.begin(4, users)
        for place, column in enumerate(TOKENS.T):
            found, state = model.step(column, state)
            expected = model.log_probs(TOKENS, users)[:, place]
            np.testing.assert_allclose(found, expected, atol=1e-5)
        again, _ = model.step(TOKENS[:, 0], first)  # a step changes no state
        np.testing.assert_allclose(again, model.log_probs(TOKENS, users)[:, 0], atol=1e-5)


def test_a_keyboard_suggests_what_its_user_writes():
    base = stirred()
    model = tuned(base, Strategy(passes=10, batches=4, learning_rate=0.05), [0, 2])
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
        ({"corpus": by_users(("ada", 1, "go on"))}, "base has a vocabulary of"),
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
def test_bad_input(arguments, says):
    base = stirred(CONFIGS[arguments.pop("base", 0)])
    with pytest.raises(ValueError, match=says):
        personalize(base, **{"corpus": TEXT, "strategy": ALL, **arguments})


def test_importance_of_another_shape_is_refused():
    importance = {n: w[..., :-1] for n, w in fisher(stirred(), TEXT, 1).items()}
    with pytest.raises(ValueError, match="with the shape of that weight"):
        personalize(stirred(), TEXT, None, Strategy(pull=1.0), importance=importance)


def test_a_loss_that_is_not_finite_names_the_user():
    base = stirred(CONFIGS[1])
    put(base, EMBEDDING, np.inf)  # "never", which only Ed writes
    with pytest.raises(FloatingPointError, match="the loss of user 4 is nan: try a learning_rate"):
        personalize(base, TEXT, None, ALL)
    with pytest.raises(FloatingPointError, match="below 1e\\+30"):
        personalize(stirred(), TEXT, [0], Strategy(learning_rate=1e30))


def test_fisher_information_equals_that_of_one_token_at_a_time(monkeypatch):
    base, drawn = stirred(CONFIGS[2]), []
    draw = stacks.draw
    monkeypatch.setattr(stacks, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    found = fisher(base, TEXT, 12, seed=5)
    rng = np.random.default_rng(5)
    every = [(m, step) for m, n in enumerate(TEXT.lengths) for step in range(n + 1)]
    chosen, at = np.array(every)[rng.permutation(len(every))[:12]].T
    squares, of_mean = fisher_by_hand(base, TEXT.padded(chosen)[0], at, drawn[0])
    assert found.keys() == squares.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, squares[name], rtol=1e-3, atol=1e-8)
        assert array.sum() > 2 * of_mean[name].sum()


def test_the_seed_decides_the_fisher_information():
    base = stirred()
    one, other, same = (fisher(base, TEXT, 12, seed)[BIAS] for seed in (0, 1, 0))
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(one, same)
    with pytest.raises(ValueError, match="corpus is empty"):
        fisher(base, TEXT.select(np.array([], int)))


@pytest.fixture
def key_of(monkeypatch):
    """The key under which states are kept; nothing is fitted."""

    def kept(key, *_, **__):
        raise Killed(keeping.file_name(key))

    monkeypatch.setattr(keeping, "kept", kept)

    def key(*arguments):
        with pytest.raises(Killed) as killed:
            personalized(*arguments)
        return str(killed.value)

    return key


def test_fine_tuned_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    base = stirred()
    model = personalized(base, TEXT, USERS, FROZEN)
    monkeypatch.setattr(tuning, "Adaptation", None)  # a second run would fail
    again = personalized(base, TEXT, USERS, FROZEN)
    np.testing.assert_array_equal(again.log_probs(TOKENS, WHO), model.log_probs(TOKENS, WHO))


def test_everything_that_decides_is_in_the_key(key_of):
    base, gate, held = stirred(), Strategy(gate=True), Strategy(pull=1.0)
    calls = [
        (base, TEXT, USERS, FROZEN),
        (stirred(seed=2), TEXT, USERS, FROZEN),
        (base, TEXT.first(3), USERS, FROZEN),
        (base, TEXT, USERS[:2], FROZEN),
        (base, TEXT, USERS, gate, LATER),
        (base, TEXT, USERS, gate, LATER.first(1)),
        (base, TEXT, USERS, held),
        (base, TEXT, USERS, held, None, {BIAS: np.ones(3)}),
    ]
    assert len({key_of(*call) for call in calls}) == len(calls)


@pytest.mark.parametrize("module", MODULES)
def test_code_that_decides_is_in_the_key(monkeypatch, key_of, module):
    read, base = inspect.getsource, stirred()
    key = key_of(base, TEXT, USERS, FROZEN)

    def changed(of):
        return read(of) + "# changed" * (of.__name__ == f"companion.{module}")

    monkeypatch.setattr(inspect, "getsource", changed)
    assert key_of(base, TEXT, USERS, FROZEN) != key
