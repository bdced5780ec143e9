import dataclasses
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import PADDING, Corpus, epoch_batches, split
from companion.pytorch import training
from companion.pytorch.base_model import BaseModel, fingerprint
from companion.pytorch.training import evaluate, masked_loss, train
from companion.settings import BaseModelConfig, TrainingConfig

SMALL = BaseModelConfig(embedding=6, hidden=8, dropout=0.1)
SHORT = TrainingConfig(epochs=3, batch_size=8, learning_rate=0.01)


def small_data(seed=0):
    """Messages that count up from a random number: what comes next is almost certain."""
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(8)]
    starts, lengths = rng.integers(0, 4, 80), rng.integers(1, 5, 80)
    messages = [words[a : a + n] for a, n in zip(starts, lengths, strict=True)]
    return split(Corpus.from_messages(messages, users=["ada", "ben"] * 40))


DATA = small_data()


def model(config=SMALL):
    return BaseModel(len(DATA.vocabulary), config, seed=1)


def run(built, config=SHORT):
    return train(built, DATA, config, progress=False)


def test_loss_leaves_padding_out_and_counts_every_token_once():
    logits = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[4, 5, 2, 0], [6, 2, 0, 0], [4, 5, 6, 2]], dtype=torch.int32)
    log_probs = logits.log_softmax(-1)
    each = [log_probs[i, j, t] for i, row in enumerate(targets) for j, t in enumerate(row) if t]
    torch.testing.assert_close(masked_loss(logits, targets), -torch.stack(each).mean())
    changed = torch.where(targets[..., None] == PADDING, 99.0, logits)
    torch.testing.assert_close(masked_loss(changed, targets), masked_loss(logits, targets))


def test_training_learns_and_can_be_repeated():
    built, again = model(), model()
    first = run(built, dataclasses.replace(SHORT, epochs=25))
    assert first.validation[-1] < first.validation[0] - 0.7
    assert len(first.steps) == 25 * -(-len(DATA.train) // 8)
    second = run(again, dataclasses.replace(SHORT, epochs=25))
    assert second.steps == first.steps
    assert fingerprint(again) == fingerprint(built)


def test_seed_decides_the_order_and_the_global_state_stays():
    before = torch.random.get_rng_state()
    histories = [run(model(), dataclasses.replace(SHORT, seed=seed)) for seed in (0, 1)]
    assert histories[0].steps != histories[1].steps
    assert torch.equal(before, torch.random.get_rng_state())


def test_batches_come_in_the_order_that_the_twins_share():
    seen = []
    built = model()
    forward = built.forward
    built.forward = lambda tokens, users: (seen.append((tokens, users)), forward(tokens, users))[1]
    run(built, dataclasses.replace(SHORT, epochs=1))
    batches = epoch_batches(DATA.train.lengths, 8, SHORT.seed, 0, SHORT.pool)
    for (tokens, users), batch in zip(seen, batches, strict=False):
        np.testing.assert_array_equal(tokens, DATA.train.padded(batch)[0])
        np.testing.assert_array_equal(users, DATA.train.users[batch])


def test_evaluate_is_the_mean_over_tokens():
    built = model()  # as made, with dropout on
    inputs, targets = DATA.test.padded(np.arange(len(DATA.test)))
    log_probs = built.log_probs(inputs)
    each = np.take_along_axis(log_probs, targets[..., None].astype(int), -1)[..., 0]
    assert evaluate(built, DATA.test) == pytest.approx(-each[targets != PADDING].mean(), abs=1e-5)
    assert built.training
    with pytest.raises(ValueError, match="corpus is empty"):
        evaluate(built, DATA.test.select(np.array([], dtype=int)))


def losses(monkeypatch, values):
    """Make the validation losses what the test says, and record the weights behind each."""
    seen, left = [], iter(values)

    def evaluate(built, corpus):
        seen.append(fingerprint(built))
        value = next(left)
        if isinstance(value, float):
            return value
        return value()

    monkeypatch.setattr(training, "evaluate", evaluate)
    return seen


def test_early_stopping_brings_the_best_weights_back(monkeypatch):
    seen = losses(monkeypatch, [3.0, 2.0, 2.5, 2.1, 1.0])
    built = model()
    history = run(built, dataclasses.replace(SHORT, epochs=9, patience=2))
    assert history.validation == [3.0, 2.0, 2.5, 2.1]
    assert (history.best_epoch, history.best_loss) == (1, 2.0)
    assert fingerprint(built) == seen[1]
    assert not built.training


@given(values=st.lists(st.floats(0.1, 9), min_size=1, max_size=6), patience=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_whatever_the_losses_the_best_weights_stay(values, patience):
    with pytest.MonkeyPatch.context() as patch:
        seen = losses(patch, values)
        built = model()
        config = TrainingConfig(epochs=len(values), batch_size=64, patience=patience)
        history = run(built, config)
    assert fingerprint(built) == seen[int(np.argmin(history.validation))]


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
    before, rate, calls = fingerprint(built), training.learning_rate_at, []

    def later(*args):
        calls.append(args)
        if len(calls) == 5:
            press_ctrl_c()
        return rate(*args)

    monkeypatch.setattr(training, "learning_rate_at", later)
    history = run(built)
    assert history.interrupted
    assert 0 < len(history.steps) < 5
    assert history.best_epoch is None
    assert fingerprint(built) != before


def test_nan_in_the_loss_names_the_place_and_keeps_the_best(monkeypatch):
    built = model()
    best = []

    def poison(*_):
        best.append(fingerprint(built))
        if len(best) == 2:
            built.output.bias.data[3] = float("nan")
        return 3.0 if len(best) == 1 else 4.0

    monkeypatch.setattr(training, "evaluate", poison)
    steps = -(-len(DATA.train) // 8)
    with pytest.raises(FloatingPointError, match=f"loss is nan in epoch 3 after {2 * steps} steps"):
        run(built)
    assert fingerprint(built) == best[0]
    assert not built.training


def test_an_infinite_gradient_is_stopped_before_it_is_used(monkeypatch):
    built = model()
    built.output.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match=r"gradient is (nan|inf) in epoch 1 after 0 steps"):
        run(built)
    assert all(torch.isfinite(weight).all() for weight in built.parameters())


def test_gradients_are_clipped_by_their_global_norm():
    built = model()
    weights = [w for w in built.parameters() if w.requires_grad]
    norms = []
    step = torch.optim.AdamW.step

    def watch(optimizer, *args, **kwargs):
        norms.append(torch.cat([w.grad.flatten() for w in weights]).norm().item())
        return step(optimizer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watch)
        run(built, dataclasses.replace(SHORT, clip=0.05))
    assert len(norms) > 3
    assert max(norms) == pytest.approx(0.05, rel=1e-3)


def test_frozen_weights_stay():
    built = model()
    built.embedding.requires_grad_(False)
    before = built.embedding.weight.clone()
    run(built)
    assert torch.equal(built.embedding.weight, before)
    assert not built.recurrent.bias_hh_l0.any()


@pytest.mark.parametrize("part", ["train", "validation"])
def test_nothing_to_train_on_is_an_error(part):
    empty = DATA.train.select(np.array([], dtype=int))
    with pytest.raises(ValueError, match=f"data.{part} is empty"):
        train(model(), dataclasses.replace(DATA, **{part: empty}), SHORT, progress=False)


def test_a_model_that_lacks_words_is_refused():
    words = len(DATA.vocabulary)
    with pytest.raises(ValueError, match=f"vocabulary of {words - 1} words, but data has {words}"):
        run(BaseModel(words - 1, SMALL))


def test_bar_is_silent_where_nobody_watches_and_shown_when_asked(capsys):
    train(model(), DATA, SHORT)
    assert capsys.readouterr().err == ""
    train(model(), DATA, SHORT, progress=True)
    assert "training" in capsys.readouterr().err
