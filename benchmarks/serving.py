"""A personalizer at work: one word suggested, one message learned, 95th percentiles.

Run ``python -m benchmarks --only serving``. Messages are typed word by word, as on a phone, by
users in turn; each message is learned as soon as it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from companion.corpora import Corpus, messages
from companion.personal import PersonalizerSettings
from companion.personalizer import Personalizer
from companion.settings import BaseModelConfig, TrainingConfig

from .common import FRAMEWORKS, Row

SUGGEST, LEARN = 5.0, 20.0  # milliseconds
METHOD = "user_embedding+cache"  # what is recommended where there are many users
TYPED = 400  # messages


def rows(framework: str, small: bool = False) -> list[Row]:
    """Rows of the table of benchmarks."""
    data, _ = messages()
    training = TrainingConfig(epochs=1)
    quick = PersonalizerSettings(training=training, steps=1, rates=(0.4,), passes=(1,))
    if small:
        quick = replace(quick, base=BaseModelConfig(embedding=16, hidden=16), targets=1000)
    text = data.test.of_users(np.arange(40)) if small else data.train
    keyboard = Personalizer(METHOD, framework, quick, progress=False)  # type: ignore[arg-type]
    keyboard.fit(text)
    suggested, learned = typed(keyboard, data.validation, 20 if small else TYPED)
    name = f"personalizer in {FRAMEWORKS[framework]}, {len(keyboard.users)} users: "
    return [
        Row(f"{name}one word suggested", suggested, "ms", SUGGEST, higher=False),
        Row(f"{name}one message learned", learned, "ms", LEARN, higher=False),
    ]


def typed(keyboard: Personalizer, text: Corpus, count: int) -> tuple[float, float]:
    """Milliseconds of a suggestion and of learning, 95th percentiles."""
    some = np.random.default_rng(0).choice(len(text), count, replace=False)
    suggesting, learning = [], []
    for message in some:
        user, words = text.user_names[text.users[message]], text.text(message).split()
        for place in range(len(words)):
            so_far = "".join(f"{word} " for word in words[:place])
            suggesting.append(_milliseconds(keyboard.suggest, user, so_far))
        learning.append(_milliseconds(keyboard.learn, user, " ".join(words)))
    return float(np.percentile(suggesting, 95)), float(np.percentile(learning, 95))


def _milliseconds(work: Callable[[str, str], object], user: str, text: str) -> float:
    """What one call takes."""
    began = time.perf_counter()
    work(user, text)
    return 1000 * (time.perf_counter() - began)
