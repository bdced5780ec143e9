"""Where a user's vector enters, how large it is, and what could be known: a sweep for the book.

``python -m benchmarks.user_embeddings`` trains every variant on Messages in PyTorch, asks the truth
what could be known of the users at all, and keeps what they reach in
``benchmarks/user_embeddings.json``, which the chapter's notebooks read: no notebook has the time
for it. What is there with the same settings is not measured again; delete the file to have all of
it anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion import measure
from companion.corpora import Corpus, Split, Truth, best_learner, messages, sitting
from companion.corpora.corpus import in_order
from companion.corpora.generator.messages import write
from companion.corpora.generator.profiles import STYLE_DIMENSIONS, draw_profiles, habits
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users.methods import (
    HYPERNETWORK_TRAINING,
    PLACEMENTS,
    USER_EMBEDDING_TRAINING,
    FittingConfig,
    UserEmbeddingConfig,
)
from tools import environment

RESULTS = Path(__file__).with_suffix(".json")
DEFAULT = UserEmbeddingConfig()


@dataclass(frozen=True)
class Variant:
    """What is trained: by default, what the chapter trains."""

    config: UserEmbeddingConfig = DEFAULT
    training: TrainingConfig = USER_EMBEDDING_TRAINING
    base: BaseModelConfig = BaseModelConfig()
    base_training: TrainingConfig = TrainingConfig()
    text: str = "as it is"


MORE, FEWER_EPOCHS = 600, replace(USER_EMBEDDING_TRAINING, epochs=3, learning_rate=1e-2)
PARTS = "train", "validation", "test", "new_history", "new_test"
SLOWER = replace(USER_EMBEDDING_TRAINING, learning_rate=7e-3, epochs=8)
VARIANTS = {
    "default": Variant(),
    **{place: Variant(replace(DEFAULT, placements=(place,))) for place in PLACEMENTS},
    "input and output": Variant(replace(DEFAULT, placements=("input", "output"))),
    "all": Variant(replace(DEFAULT, placements=PLACEMENTS)),
    **{f"size {size}": Variant(replace(DEFAULT, size=size)) for size in (8, 32, 512)},
    "no dropout": Variant(replace(DEFAULT, dropout=0.0)),
    "size 512, no dropout": Variant(replace(DEFAULT, size=512, dropout=0.0)),
    "trained as hypernetworks": Variant(training=HYPERNETWORK_TRAINING),
    "shuffled users": Variant(text="shuffled users"),
    "larger network": Variant(
        training=replace(SLOWER, epochs=10),
        base=BaseModelConfig(layers=2, hidden=256, embedding=128, dropout=0.35),
        base_training=SLOWER,
    ),
    "more text": Variant(training=FEWER_EPOCHS, text="more of the same users"),
    "more users": Variant(training=FEWER_EPOCHS, text="ten times as many others"),
}
TOLD = {
    "told topics": {"topics"},
    "told habits": {"style"},
    "told topics and habits": {"topics", "style"},
    "told personal words": {"personal"},
}
LEARNER = "best learner"
FITTING = "fitting"
PULLS = (0.1, 0.3, 1.0)


def main() -> None:
    """Measure what has not been measured yet."""
    environment.apply()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measures = dict.fromkeys((*TOLD, LEARNER), known) | dict.fromkeys(VARIANTS, trained)
    measures |= {FITTING: fitting}
    for name, measured in measures.items():
        if settings(name) != results.get(name, {}).get("config"):
            results[name] = {"config": settings(name), **measured(name)}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, results[name])


def settings(name: str) -> dict[str, Any]:
    """The settings of a training as JSON gives them back; nothing, where nothing is trained."""
    if name in (*TOLD, LEARNER):
        return {}
    chosen = asdict(VARIANTS.get(name, Variant()))
    chosen |= {"pulls": PULLS, "fitting": asdict(FittingConfig())} if name == FITTING else {}
    return json.loads(json.dumps(chosen))


def known(name: str) -> dict[str, Any]:
    """What the generator captures that is told a part of the truth, and what the best learner."""
    data, truth = messages()
    if name == LEARNER:
        return captured(measure.score_targets(best_learner().aware, data.test), data, truth)
    aware = measure.bounds_targets(truth, data.test).aware
    return captured(aware.assign(log_prob=truth.told(data.test, TOLD[name])), data, truth)


def trained(name: str) -> dict[str, Any]:
    """What one variant reaches on the test messages of known users, and as anyone on new ones."""
    from companion.pytorch import base_model, training, user_embeddings

    data, truth = messages()
    variant = VARIANTS[name]
    base, _ = base_model.trained(data, variant.base, variant.base_training, progress=False)
    trained_on = TEXTS[variant.text](data, truth)
    model, history = user_embeddings.trained(
        trained_on, base, variant.config, variant.training, progress=False
    )
    anyone = measure.loss(measure.score(lambda tokens, _: model.log_probs(tokens), data.new_test))
    return captured(measure.score_targets(model.log_probs, data.test), data, truth) | {
        "messages": len(trained_on.train),
        "users": len(trained_on.known_users),
        "weights": sum(weight.size for weight in base_model.weights_of(base).values()),
        "training_loss": history.training[-1],
        "validation_loss": history.best_loss,
        "anyone_minus_base": anyone - training.evaluate(base, data.new_test),
    }


def fitting(name: str) -> dict[str, Any]:
    """What fitting new vectors costs, and how hard it should pull them to the typical one.

    The pull is chosen on validation text: every fourth known user is fitted anew to their first
    twenty messages, as if they were new.
    """
    from companion.pytorch import base_model, user_embeddings

    data, _ = messages()
    model, _ = user_embeddings.trained(data, base_model.trained(data)[0])
    some = data.known_users[::4]
    first, later = data.train.of_users(some).first(20), data.validation.of_users(some)
    losses = {}
    for pull in PULLS:
        own = user_embeddings.fit(model, first, replace(FittingConfig(), pull=pull))
        fitted = model.with_states(own).log_probs
        losses[str(pull)] = -float(measure.target_log_probs(fitted, later).mean())
    counts = measure.UnigramCache(data.train)
    start = time.process_time()
    user_embeddings.fit(model, data.support(80))
    taken = time.process_time() - start
    return {
        "validation_loss_by_pull": losses,
        "power_of_counts": measure.choose_power(model.log_probs, counts, data.validation),
        "milliseconds_per_message": 1000 * taken / len(data.support(80)),
    }


def captured(targets: pd.DataFrame, data: Split, truth: Truth) -> dict[str, Any]:
    """Gain captured, percent: of all known users, with its interval, and by length of history."""
    bounds, scores = measure.bounds(truth, data.test), measure.summed(targets)
    lengths = data.train.message_counts[scores.index]
    return {
        "captured": float(measure.gain_captured(scores, *bounds)),
        "interval": list(measure.interval(measure.gain_captured, scores, *bounds)),
        "captured_short": captured_by(scores, bounds, lengths <= np.quantile(lengths, 0.25)),
        "captured_long": captured_by(scores, bounds, lengths >= np.quantile(lengths, 0.75)),
    }


def captured_by(
    scores: pd.DataFrame, bounds: tuple[pd.DataFrame, pd.DataFrame], users: np.ndarray
) -> float:
    """Gain captured for some of the users, percent."""
    return float(measure.gain_captured(scores[users], *(bound[users] for bound in bounds)))


def shuffle_users(data: Split, truth: Truth | None = None, seed: int = 0) -> Split:
    """The same messages, each said to be by the author of another one drawn at random."""
    rng = np.random.default_rng(seed)
    train, validation = (
        replace(part, users=rng.permutation(part.users)) for part in (data.train, data.validation)
    )
    return replace(data, train=train, validation=validation)


def more_text(data: Split, truth: Truth) -> Split:
    """As many messages more from every known user; validation and test text stay."""
    return replace(data, train=joined(data.train, sitting(truth, data.known_users, MORE)))


def more_users(data: Split, truth: Truth) -> Split:
    """The text of ten times as many other people beside it, who write as much each."""
    others = other_people(truth, np.tile(data.train.message_counts[data.known_users], 10))
    names = (*data.train.user_names, *(f"another {name}" for name in others.user_names))
    others = replace(others, users=others.users + data.train.n_users, user_names=names)
    known = {part: replace(getattr(data, part), user_names=names) for part in PARTS}
    return Split(**{**known, "train": joined(known["train"], others)})


def other_people(truth: Truth, counts: np.ndarray, seed: int = 1) -> Corpus:
    """Messages of people drawn anew by the same generator, so many of each, ``(people,)``.

    What the generator's law says of everybody, how character shows in habits, stays as it is.
    """
    rng, grammar = np.random.default_rng(seed), truth.grammar
    drawn = draw_profiles(grammar, len(counts), rng)
    character = rng.normal(size=(len(counts), STYLE_DIMENSIONS))
    law = truth.profiles.loadings
    slots = drawn.slots | habits(grammar, drawn.dialects, character, law)
    people = replace(drawn, slots=slots, loadings=law)
    return write(grammar, people, np.repeat(np.arange(len(counts)), counts), rng)


def joined(first: Corpus, second: Corpus) -> Corpus:
    """Both texts, the second one later, in the vocabulary and with the users of the first."""
    both = first, second.with_vocabulary(first.vocabulary)
    tokens = [part.words(message) for part in both for message in range(len(part))]
    return in_order(
        tokens=np.concatenate(tokens),
        lengths=np.concatenate([part.lengths for part in both]),
        users=np.concatenate([part.users for part in both]),
        times=np.arange(sum(map(len, both))),
        vocabulary=first.vocabulary,
        user_names=first.user_names,
    )


TEXTS: dict[str, Callable[[Split, Truth], Split]] = {
    "as it is": lambda data, truth: data,
    "shuffled users": shuffle_users,
    "more of the same users": more_text,
    "ten times as many others": more_users,
}


if __name__ == "__main__":
    main()
