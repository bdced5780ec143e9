"""Which weights are written for each user, and how: a sweep for the book.

``python -m benchmarks.hypernetworks`` trains every variant on Messages in PyTorch and keeps what
they reach in ``benchmarks/hypernetworks.json``, which the chapter's notebooks read: no notebook has
the time for it. What is there with the same settings is not measured again; delete the file to have
all of it anew.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from companion import measure
from companion.corpora import Corpus, Split, messages
from companion.users.methods import HYPERNETWORK_TRAINING, FittingConfig, HypernetworkConfig
from companion.users.strategies import ADAPTER, Strategy
from tools import environment

from .user_embeddings import captured, shuffle_users

RESULTS = Path(__file__).with_suffix(".json")
DEFAULT = HypernetworkConfig()
BIASES = replace(DEFAULT, input="none", hidden="none", output="none")
LOW_RANK = replace(BIASES, output="low rank", rank=4)
AXIS = {
    "bias of the words": replace(BIASES, biases=("words",)),
    "biases": BIASES,
    "bias of the words, scale of the output": replace(DEFAULT, biases=("words",)),
    "biases, scale of the output": DEFAULT,
    "biases, scale of every matrix": replace(DEFAULT, input="scale", hidden="scale"),
    "biases, low rank, output": LOW_RANK,
    "biases, low rank, recurrent": replace(BIASES, input="low rank", hidden="low rank", rank=4),
    "biases, chunks, output": replace(BIASES, output="chunks"),
    "biases, chunks, every matrix": replace(
        BIASES, input="chunks", hidden="chunks", output="chunks"
    ),
}
VARIANTS = AXIS | {
    "biases, low rank, output, rank 1": replace(LOW_RANK, rank=1),
    "biases, low rank, output, rank 16": replace(LOW_RANK, rank=16),
}
SHUFFLED = "shuffled users"
NONZERO = {
    "not zero at first": DEFAULT,
    "low rank, recurrent, not zero at first": AXIS["biases, low rank, recurrent"],
}
FITTING = "fitting"
PULLS = (0.1, 0.3, 1.0)
SMALL_CHANGE = replace(ADAPTER, layers=("output",), rank=1)  # the least that changes a matrix
CHANGE_PULLS = (5.0, 15.0, 60.0)
SUPPORTS = (5, 20, 80)


def main() -> None:
    """Measure what has not been measured yet."""
    environment.apply()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measures = dict.fromkeys((*VARIANTS, SHUFFLED, *NONZERO), trained) | {FITTING: fitting}
    for name, measured in measures.items():
        if name not in results or settings(name) != results[name]["config"]:
            results[name] = {"config": settings(name), **measured(name)}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, results[name])


def settings(name: str) -> dict[str, Any]:
    """The settings of a training as JSON gives them back."""
    chosen = asdict((VARIANTS | NONZERO).get(name, DEFAULT))
    chosen |= {"training": asdict(HYPERNETWORK_TRAINING)}
    if name == FITTING:
        chosen |= {"fitting": asdict(FittingConfig()), "pulls": PULLS, "supports": SUPPORTS}
        chosen |= {"change": asdict(SMALL_CHANGE), "change_pulls": CHANGE_PULLS}
        chosen |= {"adapter": asdict(ADAPTER)}
    return json.loads(json.dumps(chosen))


def trained(name: str) -> dict[str, Any]:
    """What one variant reaches on the test messages of known users, and as anyone on new ones."""
    from companion.pytorch import base_model, hypernetworks, training

    data, truth = messages()
    base, _ = base_model.trained(data, progress=False)
    config = (VARIANTS | NONZERO).get(name, DEFAULT)
    if name in NONZERO:
        model = as_the_framework_begins(base, data.known_users, config)
        history = training.train(model, data, HYPERNETWORK_TRAINING, progress=False)
    else:
        on = shuffle_users(data) if name == SHUFFLED else data
        model, history = hypernetworks.trained(on, base, config, progress=False)
    anyone = measure.loss(measure.score(lambda tokens, _: model.log_probs(tokens), data.new_test))
    return captured(measure.score_targets(model.log_probs, data.test), data, truth) | {
        "shared": sum(weight.numel() for weight in model.network.generators.parameters()),
        "written": written(model),
        "first_loss": history.steps[0],
        "training_loss": history.training[-1],
        "validation_loss": history.best_loss,
        "anyone_minus_base": anyone - training.evaluate(base, data.new_test),
    }


def as_the_framework_begins(base: Any, users: Any, config: HypernetworkConfig) -> Any:
    """A hypernetwork whose vectors and generators start as PyTorch starts such layers."""
    import torch

    from companion.pytorch import hypernetworks

    model = hypernetworks.from_base(base, users, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.vectors.reset_parameters()
        for layer in model.network.generators.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
    return model


def written(model: Any) -> int:
    """Numbers that are written for one user."""
    _, changes = model.begin(1, model.known_users[:1])
    return sum(change.numel() for change in changes.values())


def fitting(name: str) -> dict[str, Any]:
    """What a new user gets and costs: a vector, or a fine-tuned change of about as many bytes.

    How hard either is held back is chosen on validation text: every fourth known user is taken on
    with their first twenty messages, as if they were new. Milliseconds are of the processor.
    """
    from companion.pytorch import base_model, fine_tuning, hypernetworks

    data, truth = messages()
    base, _ = base_model.trained(data, progress=False)
    model, _ = hypernetworks.trained(data, base, progress=False)
    bounds = measure.bounds(truth, data.new_test)

    def vectors(text: Corpus, pull: float) -> measure.Model:
        own = hypernetworks.fit(model, text, replace(FittingConfig(), pull=pull))
        return model.with_states(own).log_probs

    def changes(text: Corpus, pull: float, of: Strategy = SMALL_CHANGE) -> measure.Model:
        strategy = replace(of, pull=pull)
        own = fine_tuning.personalize(base, text, strategy=strategy, progress=False)
        return fine_tuning.FineTuned(base, own).log_probs

    ways: dict[str, Any] = {
        "vector": (vectors, PULLS),
        "change": (changes, CHANGE_PULLS),
        "adapter": (partial(changes, of=ADAPTER), (ADAPTER.pull,)),
    }
    found: dict[str, Any] = {}
    for way, (take_on, pulls) in ways.items():
        losses = {str(pull): as_if_new(take_on, pull, data) for pull in pulls}
        pull = float(min(losses, key=losses.get))
        row: dict[str, Any] = {"validation_loss_by_pull": losses, "captured_new": {}}
        for n in SUPPORTS:
            start = time.process_time()
            fitted = take_on(data.support(n), pull)
            taken = time.process_time() - start
            scores = measure.score(fitted, data.new_test)
            row["captured_new"][str(n)] = float(measure.gain_captured(scores, *bounds))
        row["milliseconds_per_message"] = 1000 * taken / len(data.support(SUPPORTS[-1]))
        found[way] = row
    own = fine_tuning.personalize(base, data.support(5), strategy=SMALL_CHANGE, progress=False)
    found["change"]["bytes"] = own.bytes_per_user
    return found


def as_if_new(take_on: Any, pull: float, data: Split) -> float:
    """Loss on the validation text of known users who were taken on with twenty messages."""
    some = data.known_users[::4]
    fitted = take_on(data.train.of_users(some).first(20), pull)
    return -float(measure.target_log_probs(fitted, data.validation.of_users(some)).mean())


if __name__ == "__main__":
    main()
