"""The training loops against bare ones over the same messages: what convenience costs.

The bare loops, too, make their batches as they go, in the plainest way of their framework: a list
of messages, in the same order, padded with ``pad_sequence`` or ``pad_sequences``. They have no
learning-rate schedule, no weight decay, no history and no checks of what is finite.

What is measured are seconds of the processor: everything runs in one thread, and what else the
machine does counts for less. What runs beside the steps (reading ahead in Keras) is counted, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise
from statistics import median
from time import process_time as clock
from unittest.mock import patch

import numpy as np

from companion.corpora import BEGIN, END, Split, epoch_batches, messages
from companion.settings import (
    ADAM_BETAS,
    ADAM_EPSILON,
    BaseModelConfig,
    TrainingConfig,
    learning_rate_at,
)

from .common import FRAMEWORKS, Row, ratio, twin

BAR = 0.95
ROUNDS = {"pytorch": 7, "keras": 5}  # Keras compiles anew in every one
MODEL = BaseModelConfig(dropout=0.0, tied=False)  # what the bare loops have
Order = list[list[np.ndarray]]  # epochs of batches of places of messages


def rows(framework: str, small: bool = False) -> list[Row]:
    """Throughput of ``train`` as a share of that of the bare loop."""
    data = training_text(2400 if small else 9600)
    config = TrainingConfig(epochs=2 if small else 3, patience=9)
    bare = {"pytorch": bare_pytorch, "keras": bare_keras}[framework]
    order = [_order(data, config, epoch) for epoch in range(config.epochs)]
    value = ratio(
        ours=lambda: ours(framework, data, config),
        plain=lambda: bare(data, order, config),
        rounds=1 if small else ROUNDS[framework],
    )
    name = f"training in {FRAMEWORKS[framework]}: throughput against a bare loop"
    return [Row(name, value, "times", BAR)]


def training_text(n: int) -> Split:
    """Some of Messages, with next to nothing to validate with: training is what is timed."""
    data, _ = messages()
    part = data.train.select(np.arange(0, len(data.train), max(1, len(data.train) // n)))
    one = data.validation.select(np.arange(1))
    return Split(part, one, one, data.new_history, data.new_test)


def ours(framework: str, data: Split, config: TrainingConfig) -> float:
    """Seconds of an epoch after the first, which compiles in Keras."""
    model = twin(framework, "base_model").BaseModel(len(data.vocabulary), MODEL)
    with patch("time.perf_counter", clock):
        history = twin(framework, "training").train(model, data, config, progress=False)
    return typical_epoch(history.seconds)


def bare_pytorch(data: Split, order: Order, config: TrainingConfig) -> float:
    """The same with ``nn.Embedding``, ``nn.LSTM`` and ``nn.Linear``, nothing else done."""
    import torch
    from torch import nn

    size, texts = len(data.vocabulary), [torch.from_numpy(text) for text in _texts(data)]
    embedding = nn.Embedding(size, MODEL.embedding)
    lstm = nn.LSTM(MODEL.embedding, MODEL.hidden, batch_first=True)
    output = nn.Linear(MODEL.hidden, size)
    weights = [w for layer in (embedding, lstm, output) for w in layer.parameters()]
    loss = nn.CrossEntropyLoss(ignore_index=0)
    adam = torch.optim.Adam(weights, config.learning_rate, ADAM_BETAS, ADAM_EPSILON, fused=True)
    ends = []
    for batches in order:
        for places in batches:
            batch = nn.utils.rnn.pad_sequence([texts[i] for i in places], batch_first=True)
            logits = output(lstm(embedding(batch[:, :-1]))[0])  # (batch, time, word)
            adam.zero_grad()
            loss(logits.flatten(0, 1), batch[:, 1:].flatten().long()).backward()
            nn.utils.clip_grad_norm_(weights, config.clip)
            adam.step()
        ends.append(clock())
    return typical_epoch(ends)


def bare_keras(data: Split, order: Order, config: TrainingConfig) -> float:
    """The same with a ``keras.Sequential`` and its ``fit``, nothing else done."""
    import keras
    import tensorflow as tf

    layers, size, texts = keras.layers, len(data.vocabulary), _texts(data)
    lstm = layers.LSTM(MODEL.hidden, return_sequences=True)
    embedding = layers.Embedding(size, MODEL.embedding)
    model = keras.Sequential([embedding, lstm, layers.Dense(size)])
    total = sum(map(len, order))
    rates = [learning_rate_at(step, total, config) for step in range(total)]
    model.compile(
        keras.optimizers.Adam(float(np.mean(rates)), global_clipnorm=config.clip),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        jit_compile=False,  # XLA compiles anew for every width of a batch
    )

    def stream() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for places in chain.from_iterable(order):
            batch = keras.utils.pad_sequences([texts[i] for i in places], padding="post")
            yield batch[:, :-1], batch[:, 1:]

    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(clock()))
    signature = (tf.TensorSpec((None, None), tf.int32),) * 2
    stored = tf.data.Dataset.from_generator(stream, output_signature=signature).prefetch(2)
    options = {"epochs": len(order), "steps_per_epoch": len(order[0]), "shuffle": False}
    model.fit(stored, callbacks=[watch], verbose=0, **options)
    return typical_epoch(ends)


def _order(data: Split, config: TrainingConfig, epoch: int) -> list[np.ndarray]:
    size, seed, pool = config.batch_size, config.seed, config.pool
    return epoch_batches(data.train.lengths, size, seed, epoch, pool)


def _texts(data: Split) -> list[np.ndarray]:
    """Every message from its begin to its end."""
    texts = map(data.train.words, range(len(data.train)))
    return [np.concatenate([[BEGIN], text, [END]], dtype=np.int32) for text in texts]


def typical_epoch(ends: list[float]) -> float:
    """Seconds from the end of one epoch to that of the next."""
    return median(after - before for before, after in pairwise(ends))
