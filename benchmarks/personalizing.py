"""Hundreds of users fine-tuned in one computation, against a loop over copies of the model."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from companion import measure
from companion.corpora import Corpus, messages
from companion.settings import ADAM_BETAS, ADAM_EPSILON
from companion.users import stacks
from companion.users.strategies import ADAPTER, Strategy

from .common import FRAMEWORKS, Row, twin

LOOP = Strategy(learning_rate=3e-3)  # all weights, at the rate that does best without a pull
QUICK = replace(ADAPTER, rank=8, passes=1, batches=16, learning_rate=0.08, distillation=0.0)
ROUNDS = 3
FEW, MANY, MOST = 100, 1000, 3000
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def rows(framework: str, small: bool = False) -> list[Row]:
    """Users per second, test loss, and what ten times as many users cost."""
    speed, memory, later = _growth(framework, small)
    data, _ = messages()
    base, _ = twin(framework, "base_model").trained(data, progress=False)
    users = data.known_users[:: 100 if small else 16]  # histories of every length
    works = {
        "loop": lambda: LOOPS[framework](base, data.train, users),
        "full": lambda: _stacked(framework, base, data.train, users, LOOP),
        "adapter": lambda: _stacked(framework, base, data.train, users, QUICK),
    }
    own = data.test.of_users(users)
    losses = {name: -measure.target_log_probs(work(), own).mean() for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(1 if small else ROUNDS):  # by turns: what else runs hits all alike
        for name, work in works.items():
            seconds[name].append(_seconds(work))
    faster = {name: median(np.divide(seconds["loop"], seconds[name])) for name in works}
    bar = 2.0 if framework == "pytorch" else None
    apart = abs(losses["full"] - losses["loop"])
    found = [
        ("adapters, users per second against the loop", faster["adapter"], "times", 20.0, True),
        ("adapters, test loss above the loop's", losses["adapter"] - losses["loop"], "nats", 0.0),
        ("full fine-tuning, users per second against the loop", faster["full"], "times", bar, True),
        ("full fine-tuning, test loss apart from the loop's", apart, "nats", 1e-3),
        (f"{MANY} users, tokens per second against {FEW}", speed, "times", 0.9, True),
        (f"{MANY} users, more memory than for {FEW}", memory, "GB", 0.1),
        (f"{MOST} users, more memory than for {MANY}", later, "GB", 0.1),
    ]
    return [
        Row(f"{name} ({FRAMEWORKS[framework]})", float(value), unit, bar, bool(higher))
        for name, value, unit, bar, *higher in found
    ]


def _stacked(
    framework: str, base: Any, text: Corpus, users: np.ndarray, strategy: Strategy
) -> measure.Model:
    """All users adapted together."""
    fine_tuning = twin(framework, "fine_tuning")
    states = fine_tuning.personalize(base, text, users, strategy, progress=False)
    return fine_tuning.FineTuned(base, states).log_probs


def _growth(framework: str, small: bool) -> tuple[float, float, float]:
    """Tokens per second of many users against few; gigabytes that many, and most, take more.

    The steps have the shapes of their groups. TensorFlow keeps what oneDNN has compiled for a shape
    (for none with ``TF_ENABLE_ONEDNN_OPTS=0``), so its first hundreds of users take more memory,
    and later ones hardly any.
    """
    few, many, most = (10, 40, 80) if small else (FEW, MANY, MOST)
    data, _ = messages(known_users=most, new_users=0)
    base = twin(framework, "base_model").BaseModel(len(data.vocabulary))
    order = np.random.default_rng(0).permutation(data.known_users)
    taken, peaks = {}, {}
    for n in (few, few, many, most):  # the first time warms up
        users = np.sort(order[:n])
        text = data.train.of_users(users)
        work = partial(_stacked, framework, base, text, users, QUICK)
        CLEAR.write_text("5")  # forget the highest peak so far
        taken[n] = _seconds(work) / text.n_tokens  # for users are not equally long
        peaks[n] = _peak()
    return taken[few] / taken[many], peaks[many] - peaks[few], peaks[most] - peaks[many]


def _peak() -> float:
    """Highest memory of this process since it was last cleared, gigabytes (Linux only)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    return int(found[1]) / 2**20 if found else float("nan")


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of the processor that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _torch_loop(base: Any, text: Corpus, users: np.ndarray) -> measure.Model:
    """A copy of the model for each user, one user after the other."""
    import torch
    from torch.optim.lr_scheduler import LinearLR

    from companion.pytorch.training import masked_loss

    models = {}
    for user in users:
        model = models[user] = copy.deepcopy(base)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        adam = torch.optim.Adam(
            weights, LOOP.learning_rate, betas=ADAM_BETAS, eps=ADAM_EPSILON, fused=True
        )
        batches = _batches(text, user)
        fall = LinearLR(adam, 1.0, 0.0, len(batches))
        for messages_of_batch in batches:
            inputs, targets = map(torch.from_numpy, text.padded(messages_of_batch))
            loss = masked_loss(model(inputs), targets)
            adam.zero_grad()
            loss.backward()
            adam.step()
            fall.step()
    return _apart(lambda user, tokens: models[user].log_probs(tokens))


def _keras_loop(base: Any, text: Corpus, users: np.ndarray) -> measure.Model:
    """One working copy, which gets the base model's weights back for each user."""
    import tensorflow as tf

    from companion.keras.base_model import BaseModel
    from companion.keras.training import LateEpsilonAdam, masked_loss

    model = BaseModel(base.vocabulary_size, base.config)
    weights = model.trainable_variables
    adam = LateEpsilonAdam(LOOP.learning_rate, epsilon=ADAM_EPSILON)
    adam.build(weights)
    shape = tf.TensorSpec((None, None), tf.int32)

    @tf.function(input_signature=[shape, shape])
    def step(inputs: tf.Tensor, targets: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = masked_loss(model(inputs), targets)
        adam.apply(tape.gradient(loss, weights), weights)

    adapted = {}
    for user in users:
        model.set_weights(base.get_weights())
        for variable in adam.variables:
            variable.assign(tf.zeros_like(variable))
        batches = _batches(text, user)
        for number, messages_of_batch in enumerate(batches):
            adam.learning_rate.assign(LOOP.learning_rate * (1 - number / len(batches)))
            step(*map(tf.constant, text.padded(messages_of_batch)))
        adapted[user] = model.get_weights()

    def log_probs(user: int, tokens: np.ndarray) -> np.ndarray:
        model.set_weights(adapted[user])
        return model.log_probs(tokens)

    return _apart(log_probs)


def _batches(text: Corpus, user: int) -> list[np.ndarray]:
    """The same messages in the same steps as the stacked computation takes."""
    passes = stacks.passes(text, np.array([user]), LOOP)
    return [messages_of_user for parts in passes for (messages_of_user,) in parts]


def _apart(log_probs: Callable[[int, np.ndarray], np.ndarray]) -> measure.Model:
    """A model that asks for each user's messages alone."""

    def of_all(tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        found = np.empty((*tokens.shape, log_probs(users[0], tokens[:1]).shape[-1]), np.float32)
        for user in np.unique(users):
            found[users == user] = log_probs(user, tokens[users == user])
        return found

    return of_all


LOOPS = {"pytorch": _torch_loop, "keras": _keras_loop}
