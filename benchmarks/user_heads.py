"""Two heads, trained in several ways, and other ways to find out who types: a sweep for the book.

``python -m benchmarks.user_heads`` trains every variant on Messages in PyTorch and keeps what they
reach in ``benchmarks/user_heads.json``, which the chapter's notebooks read: no notebook has the
time for it. What is there with the same settings is not measured again; delete the file to have
all of it anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from companion import measure
from companion.corpora import Corpus, messages, sitting
from companion.users import beliefs
from companion.users.methods import UserHeadsConfig
from tools import environment

RESULTS = Path(__file__).with_suffix(".json")
DEFAULT = UserHeadsConfig()
VARIANTS = {
    "default": DEFAULT,
    "the word head alone": replace(DEFAULT, weight=0.0, untold=0.0),
    **{f"weight {weight:g}": replace(DEFAULT, weight=weight) for weight in (0.0, 1.0, 10.0)},
    **{f"untold {untold:g}": replace(DEFAULT, untold=untold) for untold in (0.0, 0.5, 1.0)},
    "evidence of the state": replace(DEFAULT, evidence=("state",)),
    "evidence of word and state": replace(DEFAULT, evidence=("word", "state")),
}
ASKED = "the word head asked for every user"
TYPISTS = 4  # every fourth: each message is read once for each of the 400 users
DOUBT = "doubt"
DOUBTS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
SITTING = 20


def main() -> None:
    """Measure what has not been measured yet."""
    environment.apply()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, measured in (dict.fromkeys(VARIANTS, trained) | {ASKED: asked, DOUBT: doubt}).items():
        if name not in results or settings(name) != results[name]["config"]:
            results[name] = {"config": settings(name), **measured(name)}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, results[name])


def settings(name: str) -> dict[str, Any]:
    """The settings of a training as JSON gives them back."""
    return json.loads(json.dumps(asdict(VARIANTS.get(name, DEFAULT))))


def trained(name: str) -> dict[str, Any]:
    """What one variant reaches on the test messages, told and untold, and whom it names."""
    from companion.pytorch import user_heads

    data, truth = messages()
    model, bounds = _model(name), measure.bounds(truth, data.test)
    before = sitting(truth, data.known_users, SITTING)
    carried = model.with_states(user_heads.believed(model, before))
    models = {
        "told": model.log_probs,
        "asked": lambda tokens, _: model.log_probs(tokens),
        "carried": carried.log_probs,
    }
    scores = {key: measure.score(one, data.test) for key, one in models.items()}
    gains = {f"captured_{k}": measure.gain_captured(s, *bounds) for k, s in scores.items()}
    told = measure.interval(measure.gain_captured, scores["told"], *bounds)
    evidence = user_heads.message_evidence(model, before)
    return {k: float(gain) for k, gain in gains.items()} | {
        "interval_told": list(told),
        "temperature": model.temperature,
        "named": named(evidence, before, data.known_users),
    }


def asked(name: str) -> dict[str, Any]:
    """Who is named when the word head says how probable the messages are under every user."""
    data, truth = messages()
    model = _model("default")
    before = sitting(truth, data.known_users[::TYPISTS], SITTING // 2)
    message = np.repeat(np.arange(len(before)), before.lengths + 1)
    evidence = np.empty((len(before), len(data.known_users)))
    for column, user in enumerate(data.known_users):
        told = np.full(len(before), user, dtype=np.int32)
        own = measure.target_log_probs(model.log_probs, replace(before, users=told))
        evidence[:, column] = np.bincount(message, own)
    return {"named": named(evidence, before, data.known_users)}


def doubt(name: str) -> dict[str, Any]:
    """Loss on the validation text of known users of whom the belief knows only the others."""
    from companion.pytorch import user_heads

    data, truth = messages()
    model = _model("default")
    before = sitting(truth, data.known_users, SITTING, seed=1)
    losses = {}
    for doubted in DOUBTS:
        states = user_heads.believed(model, before, doubt=doubted)
        others = states.arrays["belief"].copy()
        np.fill_diagonal(others, beliefs.FAINTEST)
        left_out = model.with_states(replace(states, arrays={"belief": others}))
        losses[f"{doubted:g}"] = -float(
            measure.target_log_probs(left_out.log_probs, data.validation).mean()
        )
    return {"validation_loss_by_doubt": losses}


def named(evidence: np.ndarray, text: Corpus, users: np.ndarray) -> dict[str, float]:
    """Typists named correctly after 1, 2, ... messages, percent, all users being as probable."""
    typists = text.active_users
    evidence = evidence.reshape(len(typists), -1, len(users))
    believed = beliefs.followed(evidence, np.zeros(len(users)))
    right = measure.named(believed, np.searchsorted(users, typists)[:, None]).mean(axis=0)
    return {str(n + 1): 100 * float(share) for n, share in enumerate(right)}


def _model(name: str) -> Any:
    from companion.pytorch import base_model, user_heads

    data, _ = messages()
    base, _ = base_model.trained(data, progress=False)
    return user_heads.trained(data, base, VARIANTS[name], progress=False)[0]


if __name__ == "__main__":
    main()
