import dataclasses
import math

import numpy as np
import pytest

from companion.settings import BaseModelConfig
from companion.users.methods import (
    HYPERNETWORK_TRAINING,
    PLACEMENTS,
    STORED,
    USER_EMBEDDING_TRAINING,
    FittingConfig,
    HypernetworkConfig,
    UserEmbeddingConfig,
    UserHeadsConfig,
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


def test_user_heads_read_a_vector_as_user_embeddings_do():
    config = UserHeadsConfig(size=np.int64(7), placements=["output", "film"], dropout=0.5)
    assert config.reading == UserEmbeddingConfig(7, ("film", "output"), 0.0, 0.5)
    assert UserHeadsConfig(evidence=["state", "word"]).evidence == ("word", "state")
    assert UserHeadsConfig(untold=1).untold == 1


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, not 0"),
        ({"placements": ("film", "state")}, ValueError, "not 'state': a belief that enters"),
        ({"placements": ("gate",)}, ValueError, "placements must be some of"),
        ({"evidence": ()}, ValueError, r"evidence must be some of \('word', 'state'\)"),
        ({"evidence": "word"}, TypeError, "evidence must be a tuple of names, not 'word'"),
        ({"weight": -1.0}, ValueError, "weight must be at least 0, not -1.0"),
        ({"untold": 1.1}, ValueError, "untold must be at most 1, not 1.1"),
        ({"untold": "0"}, TypeError, "untold must be a number, not '0'"),
        ({"untold": math.nan}, ValueError, "untold must be at least 0, not nan"),
        ({"dropout": 1.0}, ValueError, "dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_bad_user_heads_settings(settings, error, says):
    with pytest.raises(error, match=says):
        UserHeadsConfig(**settings)


def test_hypernetwork_defaults():
    config = HypernetworkConfig()
    assert (config.input, config.hidden, config.output) == ("none", "none", "scale")
    assert config.biases == ("words", "gates")
    assert config.size * np.dtype(STORED).itemsize == 256
    assert config.placements == ()
    assert HYPERNETWORK_TRAINING.epochs == 5


def test_biases_stand_in_one_order_and_may_be_none():
    assert HypernetworkConfig(biases=["gates", "words"]).biases == ("words", "gates")
    for none in ((), []):
        assert HypernetworkConfig(biases=none).biases == ()
    assert HypernetworkConfig(output="none", biases=("gates",)).output == "none"
    assert type(HypernetworkConfig(rank=np.int64(3)).rank) is int


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, not 0"),
        ({"rank": 0}, ValueError, "rank must be at least 1, not 0"),
        ({"chunk": 1.5}, TypeError, "chunk must be an integer, not 1.5"),
        ({"input": "whole"}, ValueError, r"input must be one of \('none', .*, not 'whole'"),
        ({"hidden": None}, ValueError, r"hidden must be one of \('none', .*, not None"),
        ({"output": "bias"}, ValueError, r"output must be one of \('none', .*, not 'bias'"),
        ({"biases": "words"}, TypeError, "biases must be a tuple of names, not 'words'"),
        ({"biases": ("words", "words")}, ValueError, "each once, not"),
        ({"biases": ("all",)}, ValueError, r"biases must be some of \('words', 'gates'\)"),
        ({"output": "none", "biases": ()}, ValueError, "nothing is written"),
        ({"user_dropout": 1.0}, ValueError, "user_dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": math.nan}, ValueError, "dropout must be .* not nan"),
    ],
)
def test_bad_hypernetwork_settings(settings, error, says):
    with pytest.raises(error, match=says):
        HypernetworkConfig(**settings)


@pytest.mark.parametrize("way", ["scale", "low rank", "chunks"])
def test_an_output_layer_that_is_the_embedding_is_not_written(way):
    config = HypernetworkConfig(output=way)
    with pytest.raises(ValueError, match=f"output must be 'none', not '{way}', where the output"):
        config.check_writable(BaseModelConfig(embedding=8, hidden=8))
    config.check_writable(BaseModelConfig(embedding=8, hidden=8, tied=False))
    config.check_writable(BaseModelConfig(embedding=8, hidden=9))
    HypernetworkConfig(output="none").check_writable(BaseModelConfig(embedding=8, hidden=8))
