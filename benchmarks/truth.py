"""The default corpus and its exact bounds."""

from __future__ import annotations

import numpy as np

from companion.corpora import messages
from companion.measure import score

from .common import Row, seconds

LOAD_BAR, BOUNDS_BAR = 3.0, 15.0  # seconds


def rows(small: bool = False) -> list[Row]:
    """Seconds to have Messages, and for both bounds over its whole test split."""
    load = seconds(messages)
    data, truth = messages()
    test = data.test.select(np.arange(50)) if small else data.test

    def bounds() -> None:
        for model in (truth.aware, truth.blind):
            score(model, test)

    return [
        Row("messages()", load, "s", LOAD_BAR, higher=False),
        Row("both bounds over the test split", seconds(bounds), "s", BOUNDS_BAR, higher=False),
    ]
