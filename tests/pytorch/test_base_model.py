import dataclasses
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import Corpus, split
from companion.keeping import cache as kept_things
from companion.keeping.files import CorruptedFileError
from companion.keyboard import Keyboard
from companion.pytorch import training
from companion.pytorch.base_model import BaseModel, fingerprint, load, save, trained
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
    model = BaseModel(WORDS, config, seed=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model


def by_hand(model, row):
    """Logits after every token of one message, each gate written out."""
    w = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    size, cell = model.config.hidden, model.config.cell
    h = [np.zeros(size) for _ in range(model.config.layers)]
    c = [np.zeros(size) for _ in range(model.config.layers)]
    logits = []
    for token in row:
        x = w["embedding.weight"][token]
        for k in range(model.config.layers):
            a = w[f"recurrent.weight_ih_l{k}"] @ x + w[f"recurrent.bias_ih_l{k}"]
            b = w[f"recurrent.weight_hh_l{k}"] @ h[k] + w[f"recurrent.bias_hh_l{k}"]
            if cell == "lstm":
                i, f, g, o = np.split(a + b, 4)
                c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
                h[k] = sigmoid(o) * np.tanh(c[k])
            else:
                (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
                z = sigmoid(az + bz)
                h[k] = (1 - z) * np.tanh(an + sigmoid(ar + br) * bn) + z * h[k]
            x = h[k]
        if "projection.weight" in w:
            x = w["projection.weight"] @ x
        logits.append(w.get("output.weight", w["embedding.weight"]) @ x + w["output.bias"])
    return np.array(logits)


@variants
def test_equals_the_cell_written_out(config):
    model = stirred(config)
    expected = np.array([by_hand(model, row) for row in tokens()])
    expected -= np.log(np.exp(expected).sum(-1, keepdims=True))
    np.testing.assert_allclose(model.log_probs(tokens()), expected, atol=1e-5)


@variants
def test_step_by_step_equals_the_full_pass(config):
    model = stirred(config)
    state, stepped = model.begin(4), []
    for column in tokens().T:
        log_probs, state = model.step(column, state)
        stepped.append(log_probs)
    np.testing.assert_allclose(np.stack(stepped, 1), model.log_probs(tokens()), atol=1e-5)


def test_a_step_leaves_the_state_before_it_alone():
    model = stirred(VARIANTS[0])
    _, state = model.step(tokens()[:, 0], model.begin(4))
    before = [part.clone() for part in state]
    model.step(tokens()[:, 1], state)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))


@given(seed=st.integers(0, 99), padding=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_padding_changes_nothing_before_it(seed, padding):
    model, read = stirred(VARIANTS[seed % 2 * 3]), tokens(seed=seed)
    longer = np.pad(read, ((0, 0), (0, padding)))
    np.testing.assert_allclose(
        model.log_probs(longer)[:, : read.shape[1]], model.log_probs(read), atol=1e-6
    )


@given(order=st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_messages_of_a_batch_do_not_touch_each_other(order):
    model = stirred(VARIANTS[0])
    np.testing.assert_allclose(
        model.log_probs(tokens()[order]), model.log_probs(tokens())[order], atol=1e-6
    )


def test_probabilities_sum_to_one_and_users_change_nothing():
    model = stirred(VARIANTS[0])
    log_probs = model.log_probs(tokens(), np.arange(4, dtype=np.int32))
    assert log_probs.shape == (4, 6, WORDS)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(log_probs, model.log_probs(tokens()))
    backwards = model.log_probs(tokens()[::-1], np.arange(4)[::-1])
    np.testing.assert_allclose(backwards, log_probs[::-1], atol=1e-6)


@pytest.mark.parametrize("mode", [True, False])
def test_log_probs_are_without_dropout_and_bring_the_mode_back(mode):
    model = BaseModel(WORDS, VARIANTS[0]).train(mode)
    np.testing.assert_array_equal(model.log_probs(tokens()), model.log_probs(tokens()))
    model.step(tokens()[:, 0], model.begin(4))
    assert model.training is mode
    with pytest.raises(ValueError, match="outside"):
        model.log_probs(np.full((1, 1), WORDS))
    assert model.training is mode
    assert not np.array_equal(*(model(torch.tensor(tokens())).detach() for _ in "ab")) or not mode


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (np.array([[1, WORDS]]), ValueError, "token id 17 is outside the vocabulary: .* 0 to 16"),
        (np.array([[-1]]), ValueError, "token id -1"),
        (np.array([[1.0]]), TypeError, "must be integers .* not float64"),
        (np.array([1, 2]), ValueError, "must have 2 axes, not 1"),
    ],
)
def test_bad_tokens(wrong, error, says):
    with pytest.raises(error, match=says):
        BaseModel(WORDS, VARIANTS[0]).log_probs(wrong)


@pytest.mark.parametrize(
    ("users", "error", "says"),
    [
        ([0, -4], ValueError, "user id -4 is outside the users known: ids go from 0 upwards"),
        ([0.0, 1.0], TypeError, "user ids must be integers"),
        ([0, 1, 2], ValueError, "users must be one for each message: 3 for 2"),
    ],
)
def test_bad_users(users, error, says):
    model = BaseModel(WORDS, VARIANTS[0])
    with pytest.raises(error, match=says):
        model.log_probs(tokens(batch=2), users)
    with pytest.raises(error, match=says):
        model.step(tokens(batch=2)[:, 0], model.begin(2), users)


def test_modes_of_single_layers_come_back_too():
    model = BaseModel(WORDS, VARIANTS[0]).train()
    model.embedding.eval()
    model.log_probs(tokens())
    assert [model.training, model.recurrent.training, model.embedding.training] == [1, 1, 0]


def test_seed_decides_the_weights_and_the_global_state_stays():
    before = torch.random.get_rng_state()
    models = [BaseModel(WORDS, VARIANTS[0], seed=seed) for seed in (1, 1, 2)]
    first, same, other = (fingerprint(model) for model in models)
    assert first == same != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_initial_weights_follow_the_shared_recipe():
    config = BaseModelConfig(embedding=40, hidden=50, tied=False)
    w = dict(BaseModel(300, config).named_parameters())
    assert 0.04 < w["embedding.weight"].abs().max() <= 0.05
    recurrent = w["recurrent.weight_hh_l0"]
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(50), atol=1e-5, rtol=0)
    for name, reads, gives in [("recurrent.weight_ih_l0", 40, 200), ("output.weight", 50, 300)]:
        limit = (6 / (reads + gives)) ** 0.5
        assert 0.9 * limit < w[name].abs().max() <= limit
    assert w["recurrent.bias_ih_l0"].tolist() == [0.0] * 50 + [1.0] * 50 + [0.0] * 100
    assert not w["recurrent.bias_hh_l0"].any()
    assert not w["recurrent.bias_hh_l0"].requires_grad


def test_tied_output_shares_the_embedding():
    model = BaseModel(WORDS, VARIANTS[1])
    assert model.output.weight is model.embedding.weight
    assert "output.weight" not in dict(model.named_parameters())


@variants
def test_saved_model_comes_back(tmp_path, config):
    model = stirred(config)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.config == config
    assert fingerprint(loaded) == fingerprint(model)
    assert not loaded.training
    np.testing.assert_array_equal(loaded.log_probs(tokens()), model.log_probs(tokens()))


def test_a_file_with_other_weights_is_refused(tmp_path):
    model = BaseModel(WORDS, VARIANTS[0])
    model.config = dataclasses.replace(model.config, hidden=6)
    save(model, tmp_path / "model")
    with pytest.raises(CorruptedFileError, match="other weights than its configuration"):
        load(tmp_path / "model")


def test_fingerprint_sees_the_smallest_change():
    model = BaseModel(WORDS, VARIANTS[0])
    before = fingerprint(model)
    with torch.no_grad():
        model.output.bias[3] += 1e-7
    assert fingerprint(model) != before


def test_keyboard_on_a_real_model():
    corpus = Corpus.from_messages([["see", "you"], ["so", "soon"]], users=["ada", "ben"])
    model = BaseModel(len(corpus.vocabulary), VARIANTS[0])
    keyboard = Keyboard(model, corpus.vocabulary, user=1)
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
    assert [model.training, again.training] == [False, False]


@pytest.mark.parametrize("damage", ["truncated", "tampered"])
def test_damaged_file_is_set_aside_and_trained_anew(cache, caplog, damage):
    model, _ = trained(small_data(), SMALL, SHORT, progress=False)
    (file,) = cache.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content if damage == "tampered" else content[:-9])
    again, _ = trained(small_data(), SMALL, SHORT, progress=False)
    assert fingerprint(again) == fingerprint(model)
    assert len(list(cache.glob("*.broken-1"))) == 1
    assert "altered" in caplog.text or "truncated" in caplog.text


def test_interrupted_training_is_not_kept(cache, monkeypatch):
    monkeypatch.setattr(training, "evaluate", interrupt)
    _, history = trained(small_data(), SMALL, SHORT, progress=False)
    assert history.interrupted
    assert not list(cache.glob("*.safetensors"))


def interrupt(*_):
    raise KeyboardInterrupt


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
    monkeypatch.setattr(torch, "__version__", "9.9")
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
        "pytorch.base_model",
        "pytorch.training",
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
