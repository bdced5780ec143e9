import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.settings import BaseModelConfig, TrainingConfig, learning_rate_at


@pytest.mark.parametrize(
    ("field", "value", "error", "says"),
    [
        ("cell", "rnn", ValueError, "'lstm' or 'gru', not 'rnn'"),
        ("embedding", 0, ValueError, "embedding must be at least 1, not 0"),
        ("hidden", 12.5, TypeError, "hidden must be an integer, not 12.5"),
        ("layers", True, TypeError, "layers must be an integer, not True"),
        ("dropout", 1.0, ValueError, "dropout must be at least 0 and below 1, not 1.0"),
        ("dropout", float("nan"), ValueError, "not nan"),
        ("tied", 1, TypeError, "tied must be True or False, not 1"),
    ],
)
def test_architecture_refuses(field, value, error, says):
    with pytest.raises(error, match=says):
        BaseModelConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "error", "says"),
    [
        ("epochs", 0, ValueError, "epochs must be at least 1, not 0"),
        ("batch_size", "64", TypeError, "batch_size must be an integer, not '64'"),
        ("learning_rate", 0.0, ValueError, "learning_rate must be above 0, not 0.0"),
        ("learning_rate", float("inf"), ValueError, "learning_rate must be"),
        ("clip", -1.0, ValueError, "clip must be above 0"),
        ("warmup", 1.0, ValueError, "warmup must be at least 0 and below 1"),
        ("weight_decay", -0.1, ValueError, "weight_decay must be at least 0"),
        ("seed", -1, ValueError, "seed must be at least 0"),
    ],
)
def test_training_refuses(field, value, error, says):
    with pytest.raises(error, match=says):
        TrainingConfig(**{field: value})


def test_integers_of_numpy_become_plain_ones():
    config = TrainingConfig(epochs=np.int64(3), seed=np.int32(2))
    assert config == TrainingConfig(epochs=3, seed=2)
    assert type(config.epochs) is type(config.seed) is int
    assert type(BaseModelConfig(hidden=np.int64(8)).hidden) is int


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        TrainingConfig().epochs = 3


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 500), warmup=st.floats(0, 0.9), rate=st.floats(1e-5, 1.0))
def test_learning_rate_rises_then_falls_and_stays_positive(total, warmup, rate):
    config = TrainingConfig(learning_rate=rate, warmup=warmup)
    rates = [learning_rate_at(step, total, config) for step in range(total)]
    peak = rates.index(max(rates))
    assert all(0 < r <= rate * (1 + 1e-12) for r in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert learning_rate_at(total, total, config) == 0.0
