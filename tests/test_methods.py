import dataclasses
import math

import numpy as np
import pytest

from companion.methods import (
    PLACEMENTS,
    STORED,
    USER_EMBEDDING_TRAINING,
    FittingConfig,
    UserEmbeddingConfig,
)


def test_defaults():
    config = UserEmbeddingConfig()
    assert config.placements == ("film", "output")
    assert config.size * np.dtype(STORED).itemsize == 256
    assert USER_EMBEDDING_TRAINING.epochs == 5


def test_placements_stand_in_one_order_whatever_was_given():
    for given in (PLACEMENTS[::-1], list(PLACEMENTS), tuple(sorted(PLACEMENTS))):
        assert UserEmbeddingConfig(placements=given) == UserEmbeddingConfig(placements=PLACEMENTS)
    assert UserEmbeddingConfig(placements=["output", "input"]).placements == ("input", "output")


def test_numpy_integers_become_plain_ones():
    assert type(UserEmbeddingConfig(size=np.int64(7)).size) is int
    assert type(FittingConfig(steps=np.int32(7)).steps) is int


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        UserEmbeddingConfig().size = 3


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, not 0"),
        ({"size": 2.0}, TypeError, "size must be an integer, not 2.0"),
        ({"placements": "film"}, TypeError, "placements must be a tuple of names, not 'film'"),
        ({"placements": ()}, ValueError, r"placements must be some of \('input', 'state'"),
        ({"placements": ("film", "film")}, ValueError, "each once, not"),
        ({"placements": ("film", "gate")}, ValueError, r"not \('film', 'gate'\)"),
        ({"user_dropout": 1.0}, ValueError, "user_dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, ValueError, "dropout must be at least 0 and below 1, not -0.1"),
        ({"dropout": "0.1"}, TypeError, "dropout must be a number, not '0.1'"),
        ({"dropout": math.nan}, ValueError, "dropout must be .* not nan"),
    ],
)
def test_bad_user_embedding_settings(settings, error, says):
    with pytest.raises(error, match=says):
        UserEmbeddingConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, not 0"),
        ({"steps": True}, TypeError, "steps must be an integer, not True"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0, not 0.0"),
        ({"learning_rate": None}, TypeError, "learning_rate must be a number, not None"),
        ({"pull": -1.0}, ValueError, "pull must be at least 0, not -1.0"),
        ({"pull": math.inf}, ValueError, "pull must be .* not inf"),
    ],
)
def test_bad_fitting_settings(settings, error, says):
    with pytest.raises(error, match=says):
        FittingConfig(**settings)
