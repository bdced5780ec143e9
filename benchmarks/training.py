"""The training loops against bare ones over the same batches: what convenience costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import numpy as np

from companion.corpora import Split, epoch_batches, messages
from companion.settings import (
    ADAM_BETAS,
    ADAM_EPSILON,
    BaseModelConfig,
    TrainingConfig,
    learning_rate_at,
)

from .common import FRAMEWORKS, Row, ratio, twin

BAR = 0.95
MODEL = BaseModelConfig(dropout=0.0, tied=False)  # what the bare loops have
Batch = tuple[np.ndarray, np.ndarray]


def rows(framework: str, small: bool = False) -> list[Row]:
    """Throughput of ``train`` as a share of that of the bare loop."""
    data = training_text(2400 if small else 9600)
    config = TrainingConfig(epochs=2 if small else 3, patience=9)
    bare = {"pytorch": bare_pytorch, "keras": bare_keras}[framework]
    batches = [_batches(data, config, epoch) for epoch in range(config.epochs)]
    value = ratio(
        ours=lambda: ours(framework, data, config),
        plain=lambda: bare(len(data.vocabulary), batches, config),
        rounds=1 if small else 3,
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
    history = twin(framework, "training").train(model, data, config, progress=False)
    return _typical(history.seconds)


def bare_pytorch(size: int, epochs: list[list[Batch]], config: TrainingConfig) -> float:
    """The same with ``nn.Embedding``, ``nn.LSTM`` and ``nn.Linear``, nothing else done."""
    import torch
    from torch import nn

    embedding = nn.Embedding(size, MODEL.embedding)
    lstm = nn.LSTM(MODEL.embedding, MODEL.hidden, batch_first=True)
    output = nn.Linear(MODEL.hidden, size)
    weights = [w for layer in (embedding, lstm, output) for w in layer.parameters()]
    loss = nn.CrossEntropyLoss(ignore_index=0)
    adam = torch.optim.Adam(weights, config.learning_rate, ADAM_BETAS, ADAM_EPSILON, fused=True)
    ends = []
    for batches in epochs:
        for inputs, targets in batches:
            logits = output(lstm(embedding(torch.from_numpy(inputs)))[0])  # (batch, time, word)
            adam.zero_grad()
            loss(logits.flatten(0, 1), torch.from_numpy(targets).flatten().long()).backward()
            nn.utils.clip_grad_norm_(weights, config.clip)
            adam.step()
        ends.append(time.perf_counter())
    return _typical(ends)


def bare_keras(size: int, epochs: list[list[Batch]], config: TrainingConfig) -> float:
    """The same with a ``keras.Sequential`` and its ``fit``, nothing else done."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    lstm = layers.LSTM(MODEL.hidden, return_sequences=True)
    embedding = layers.Embedding(size, MODEL.embedding)
    model = keras.Sequential([embedding, lstm, layers.Dense(size)])
    total = sum(map(len, epochs))
    rates = [learning_rate_at(step, total, config) for step in range(total)]
    model.compile(
        keras.optimizers.Adam(float(np.mean(rates)), global_clipnorm=config.clip),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        jit_compile=False,  # XLA compiles anew for every width of a batch
    )

    def stream() -> Iterator[Batch]:
        for batches in epochs:
            yield from batches

    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
    )
    signature = (tf.TensorSpec((None, None), tf.int32),) * 2
    stored = tf.data.Dataset.from_generator(stream, output_signature=signature).prefetch(2)
    options = {"epochs": len(epochs), "steps_per_epoch": len(epochs[0]), "shuffle": False}
    model.fit(stored, callbacks=[clock], verbose=0, **options)
    return _typical(ends)


def _batches(data: Split, config: TrainingConfig, epoch: int) -> list[Batch]:
    order = epoch_batches(data.train.lengths, config.batch_size, config.seed, epoch, config.pool)
    return [data.train.padded(places) for places in order]


def _typical(ends: list[float]) -> float:
    """Seconds from the end of one epoch to that of the next."""
    return median(after - before for before, after in pairwise(ends))
