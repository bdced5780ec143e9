import dataclasses

import pytest

from companion.users.strategies import ADAPTER, LAYERS, STRATEGIES, Strategy


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        ({"layers": "bias"}, TypeError, "layers must be a tuple of names, not 'bias'"),
        ({"layers": ()}, ValueError, "layers must be some of"),
        ({"layers": ("bias", "head")}, ValueError, "layers must be some of .* not .*'head'"),
        ({"rank": -1}, ValueError, "rank must be at least 0, not -1"),
        ({"rank": 1.5}, TypeError, "rank must be an integer"),
        ({"passes": 0}, ValueError, "passes must be at least 1"),
        ({"batches": True}, TypeError, "batches must be an integer"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0"),
        ({"bias_scale": 0}, ValueError, "bias_scale must be above 0"),
        ({"pull": -1.0}, ValueError, "pull must be at least 0"),
        ({"pull": float("nan")}, ValueError, "pull must be at least 0"),
        ({"distillation": "1"}, TypeError, "distillation must be a number"),
        ({"early_stopping": 1}, TypeError, "early_stopping must be True or False, not 1"),
        ({"gate": None}, TypeError, "gate must be True or False"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_bad_settings(setting, error, says):
    with pytest.raises(error, match=says):
        Strategy(**setting)


def test_equal_choices_are_equal():
    assert Strategy(("bias", "embedding", "bias")) == Strategy(("embedding", "bias"))
    assert Strategy().layers == LAYERS
    with pytest.raises(dataclasses.FrozenInstanceError):
        Strategy().rank = 3


@pytest.mark.parametrize(
    ("fields", "needs"),
    [({}, False), ({"early_stopping": True}, True), ({"gate": True}, True)],
)
def test_validation_text_is_needed_by_two_fields(fields, needs):
    assert Strategy(**fields).validates == needs


def test_named_strategies():
    assert all(isinstance(strategy, Strategy) for strategy in STRATEGIES.values())
    assert len(set(STRATEGIES.values())) == len(STRATEGIES)
    assert STRATEGIES["adapter"] is ADAPTER
    with pytest.raises(TypeError):
        STRATEGIES["mine"] = Strategy()
