"""Weights written for each user against weights that stay: what a hypernetwork costs.

Training: seconds of the processor for an epoch, against an epoch of the base model on the same
messages in the same order. Serving: one suggestion for a user whose weights are written once and
kept, against one by the base model.
"""

from __future__ import annotations

from time import process_time as clock
from typing import Any
from unittest.mock import patch

import numpy as np

from companion.corpora import Split, messages
from companion.keyboard import Keyboard
from companion.settings import TrainingConfig
from companion.users.methods import HypernetworkConfig

from .common import FRAMEWORKS, Row, ratio, twin
from .suggestion import typical
from .training import training_text, typical_epoch

EPOCH_BAR, SUGGESTION_BAR = 2.0, 1.1
KEPT, CARRIED = "weights kept in a base model", "weights carried with the state"
SETTINGS = {
    "the default": HypernetworkConfig(),
    "low-rank changes of every matrix": HypernetworkConfig(
        input="low rank", hidden="low rank", output="low rank", rank=4
    ),
}


def rows(framework: str, small: bool = False) -> list[Row]:
    """How many times as long as with the base model."""
    name = f"hypernetwork in {FRAMEWORKS[framework]}"
    data = training_text(1200 if small else 4800)
    found = [
        Row(
            f"{name}: an epoch against the base model's, {label}",
            epoch(framework, data, config, small),
            "times",
            EPOCH_BAR,
            higher=False,
        )
        for label, config in SETTINGS.items()
    ]
    label = f"{name}: one suggestion against the base model's, "
    for how, value in suggestion(framework, small).items():
        bar = SUGGESTION_BAR if how == KEPT else None
        found.append(Row(label + how, value, "times", bar, higher=False))
    return found


def epoch(framework: str, data: Split, config: HypernetworkConfig, small: bool) -> float:
    """Seconds of an epoch, as a multiple of the base model's."""
    base = twin(framework, "base_model").BaseModel(len(data.vocabulary))
    hypernetworks = twin(framework, "hypernetworks")

    def seconds(model: Any) -> float:
        training = TrainingConfig(epochs=3, patience=9)
        with patch("time.perf_counter", clock):
            history = twin(framework, "training").train(model, data, training, progress=False)
        return typical_epoch(history.seconds)

    return ratio(
        ours=lambda: seconds(twin(framework, "base_model").BaseModel(len(data.vocabulary))),
        plain=lambda: seconds(hypernetworks.from_base(base, np.arange(data.train.n_users), config)),
        rounds=1 if small else 5,
    )


def suggestion(framework: str, small: bool) -> dict[str, float]:
    """Seconds of a suggestion after one more word, as multiples of the base model's."""
    data, _ = messages()
    base = twin(framework, "base_model").BaseModel(len(data.vocabulary))
    model = twin(framework, "hypernetworks").from_base(base, data.known_users)
    plain = Keyboard(base, data.vocabulary)
    written = {
        KEPT: Keyboard(model.for_user(0), data.vocabulary),
        CARRIED: Keyboard(model, data.vocabulary, user=0),
    }
    times = 20 if small else 50
    return {
        how: ratio(
            ours=lambda: typical(plain, times),
            plain=lambda keyboard=keyboard: typical(keyboard, times),
            rounds=1 if small else 41,
        )
        for how, keyboard in written.items()
    }
