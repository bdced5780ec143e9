"""What each way of reading is worth, and what training it needs: a sweep for the book.

``python -m benchmarks.user_memory`` trains every variant on Messages in PyTorch and keeps what
they reach in ``benchmarks/user_memory.json``, which the chapter's notebooks read: no notebook has
the time for it. What is there with the same settings is not measured again; delete the file to have
all of it anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from companion import measure
from companion.corpora import Corpus, Split, Truth, messages
from companion.settings import TrainingConfig
from companion.users.methods import (
    READING,
    USER_EMBEDDING_TRAINING,
    USER_MEMORY_TRAINING,
    FittingConfig,
    UserEmbeddingConfig,
    UserMemoryConfig,
)
from tools import environment

from .user_embeddings import captured

RESULTS = Path(__file__).with_suffix(".json")
DEFAULT = UserMemoryConfig()
BOTH, SHORTER = "with a vector", "default, trained as shortly"
FULL = {"default": DEFAULT, BOTH: replace(DEFAULT, embedding=128)}
VARIANTS = FULL | {
    SHORTER: DEFAULT,
    **{f"{way} alone": replace(DEFAULT, ways=(way,)) for way in READING},
    "without leaving out": replace(DEFAULT, leave_out=False),
    "without cutting": replace(DEFAULT, cut=0.0),
}
FEWER = replace(USER_MEMORY_TRAINING, epochs=1)  # passes of what is compared with each other
EMBEDDING = "user embedding"
SUPPORTS = (0, 5, 20, 80)  # messages of a new user
LASTS = (25, 50, 100, 200, 400, 800, None)  # positions kept of a user


def main() -> None:
    """Measure what has not been measured yet."""
    environment.apply()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measures = dict.fromkeys(VARIANTS, trained) | {EMBEDDING: embedded}
    for name, measured in measures.items():
        if settings(name) != results.get(name, {}).get("config"):
            results[name] = {"config": settings(name), **measured(name)}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, {key: value for key, value in results[name].items() if key != "losses"})


def settings(name: str) -> dict[str, Any]:
    """The settings of a training as JSON gives them back."""
    if name == EMBEDDING:
        chosen = asdict(UserEmbeddingConfig()) | {"training": asdict(USER_EMBEDDING_TRAINING)}
    else:
        chosen = asdict(VARIANTS[name]) | {"training": asdict(training_of(name))}
    chosen |= {"supports": SUPPORTS}
    if name in (BOTH, EMBEDDING):
        chosen |= {"fitting": asdict(FittingConfig())}
    if name == "default":
        chosen |= {"lasts": LASTS}
    return json.loads(json.dumps(chosen))


def training_of(name: str) -> TrainingConfig:
    """How a variant is trained."""
    return USER_MEMORY_TRAINING if name in FULL else FEWER


def trained(name: str) -> dict[str, Any]:
    """What one variant reaches: known users, and new ones with nothing fitted."""
    from companion.pytorch import base_model, user_memory

    data, truth = messages()
    base, _ = base_model.trained(data, progress=False)
    model, history = user_memory.trained(
        data, base, VARIANTS[name], training_of(name), progress=False
    )
    weights, below = (sum(w.numel() for w in of.parameters()) for of in (model.network, base))

    def read(text: Corpus) -> measure.Model:
        return model.with_memories(model.read(text)).log_probs

    found = reached(model.log_probs, data, truth, keep=name == BOTH) | {
        "bytes_per_user": model.states().bytes_per_user,
        "parameters_more": weights - below,
        "training_loss": history.training[-1],
        "validation_loss": history.best_loss,
        "new": new_users(lambda tokens, _: model.log_probs(tokens), read, data, truth),
    }
    if name == BOTH:
        found |= fitting(model, data, truth)
    if name == "default":
        found |= {"last": bounded(model, data, truth)}
    return found


def reached(model: measure.Model, data: Split, truth: Truth, keep: bool) -> dict[str, Any]:
    """Gain captured of known users; with the loss of each of them, where it is to be kept."""
    targets = measure.score_targets(model, data.test)
    losses = {"losses": measure.summed(targets)["nll"].round(3).tolist()} if keep else {}
    return captured(targets, data, truth) | losses


def embedded(name: str) -> dict[str, Any]:
    """What the chapter on user embeddings trains reaches, new users having a vector fitted."""
    from companion.pytorch import base_model, user_embeddings

    data, truth = messages()
    model, _ = user_embeddings.trained(data, base_model.trained(data)[0], progress=False)

    def take_on(text: Corpus) -> measure.Model:
        return model.with_states(user_embeddings.fit(model, text)).log_probs

    new = new_users(lambda tokens, _: model.log_probs(tokens), take_on, data, truth)
    return reached(model.log_probs, data, truth, keep=True) | {"new": new}


def new_users(
    nobody: measure.Model, take_on: Callable[[Corpus], measure.Model], data: Split, truth: Truth
) -> dict[str, list[float]]:
    """Gain captured and its interval, by how many messages of a new user are taken on."""
    bounds, found = measure.bounds(truth, data.new_test), {}
    for n in SUPPORTS:
        scores = measure.score(take_on(data.support(n)) if n else nobody, data.new_test)
        ends = measure.interval(measure.gain_captured, scores, *bounds)
        found[str(n)] = [float(measure.gain_captured(scores, *bounds)), *ends]
    return found


def fitting(model: Any, data: Split, truth: Truth) -> dict[str, Any]:
    """New users who have a vector fitted beside the memory, and what it costs, processor time."""
    from companion.pytorch import user_memory

    taken = []

    def take_on(text: Corpus) -> measure.Model:
        start = time.process_time()
        own = user_memory.fit(model, text)
        taken.append(1000 * (time.process_time() - start) / len(text))
        return model.with_memories(own).log_probs

    found = new_users(lambda tokens, _: model.log_probs(tokens), take_on, data, truth)
    return {"both_new": found, "milliseconds_per_message": taken[-1]}


def bounded(model: Any, data: Split, truth: Truth) -> list[dict[str, Any]]:
    """Gain captured where no more than the last positions are kept, and the bytes of a user."""
    bounds, found = measure.bounds(truth, data.test), []
    for last in LASTS:
        memories = model.states().last(last)
        scores = measure.score(model.with_memories(memories).log_probs, data.test)
        gain = float(measure.gain_captured(scores, *bounds))
        found.append(
            {
                "last": last,
                "bytes_per_user": memories.bytes_per_user,
                "largest": int(memories.bytes.max()),
                "captured": gain,
            }
        )
    return found


if __name__ == "__main__":
    main()
