"""Gain against forgetting, and against the length of the history: a sweep for the book.

``python -m benchmarks.fine_tuning`` fine-tunes every eighth known user of Messages in PyTorch with
every strategy at several strengths, and the new users on ever more of their text, for the generator
lets them write on. The results are kept in ``benchmarks/fine_tuning.json``, which the chapter's
notebooks read: no notebook has the time for it. What is there with the same settings is not
measured again; delete the file to have all of it anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from companion import measure
from companion.corpora import Corpus, messages, sitting
from companion.users.methods import USER_EMBEDDING_TRAINING, FittingConfig, UserEmbeddingConfig
from companion.users.strategies import ADAPTER, LAYERS, STRATEGIES, Strategy
from tools import environment

RESULTS = Path(__file__).with_suffix(".json")
NAIVE = STRATEGIES["naive"]
RATE, PULL = "learning_rate", "pull"
STRENGTHS = {
    "all weights": (RATE, (3e-4, 1e-3, 3e-3, 1e-2)),
    "output bias": (RATE, (0.03, 0.1, 0.3, 1.0)),
    "output layer": (RATE, (3e-3, 1e-2, 3e-2)),
    "recurrent layer": (RATE, (3e-3, 1e-2, 3e-2)),
    "embeddings": (RATE, (1e-3, 3e-3, 1e-2, 3e-2)),
    "L2-SP": (PULL, (300.0, 100.0, 30.0, 10.0)),
    "L2-SP, the adapter's steps": (PULL, (120.0, 60.0, 30.0)),
    "EWC": (PULL, (1e7, 3e6, 1e6, 3e5, 1e5)),
    "distillation": ("distillation", (10.0, 3.0, 1.0, 0.3)),
    "LoRA": (RATE, (3e-3, 1e-2, 3e-2)),
    "early stopping": (RATE, (1e-3, 3e-3, 1e-2)),
    "adapter": (PULL, (480.0, 240.0, 120.0, 60.0, 30.0)),
    "adapter, bias only": (PULL, (240.0, 120.0, 60.0, 30.0)),
    "adapter, no distillation": (PULL, (480.0, 240.0, 120.0, 60.0, 30.0)),
    "adapter, no pull": ("distillation", (0.1, 0.0)),
}
VARIANTS = {
    "EWC": STRATEGIES["L2-SP"],
    "L2-SP, the adapter's steps": replace(ADAPTER, layers=LAYERS, rank=0, learning_rate=1e-2),
    "adapter, bias only": replace(ADAPTER, layers=("bias",)),
    "adapter, no distillation": replace(ADAPTER, distillation=0.0),
    "adapter, no pull": replace(ADAPTER, pull=0.0),
}
FRONTIER = {
    name: (field, VARIANTS.get(name) or STRATEGIES[name], values)
    for name, (field, values) in STRENGTHS.items()
}
HISTORY = "history"
LONGER = "longer fitting"
HISTORIES = (5, 10, 20, 40, 80, 160, 320, 1000)
STEPS = (40, 160)  # of fitting a vector to the longest of them
STRIDE = 8  # every eighth known user stands for all


def main() -> None:
    """Measure what has not been measured yet."""
    environment.apply()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    measures = dict.fromkeys(FRONTIER, frontier) | {HISTORY: history, LONGER: longer}
    for name, measure_it in measures.items():
        if settings(name) != results.get(name, {}).get("config"):
            measured = measure_it(name)
            results[name] = {"config": settings(name), **measured}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(name, results[name])


def settings(name: str) -> dict[str, Any]:
    """The settings of a measurement as JSON gives them back."""
    if name in (HISTORY, LONGER):
        chosen = {"naive": asdict(NAIVE), "adapter": asdict(ADAPTER), "histories": HISTORIES}
        chosen |= {"embedding": asdict(UserEmbeddingConfig()), "fitting": asdict(FittingConfig())}
        chosen |= {"training": asdict(USER_EMBEDDING_TRAINING)}
        chosen |= {"steps": STEPS} if name == LONGER else {}
    else:
        field, strategy, values = FRONTIER[name]
        first = replace(strategy, **{field: values[0]})
        chosen = {"field": field, "strategy": asdict(first), "values": values}
    text = messages()[0].train.fingerprint
    return json.loads(json.dumps(chosen | {"stride": STRIDE, "text": text}))


def frontier(name: str) -> dict[str, Any]:
    """One strategy at several strengths: what it gains on own text, and loses on that of others."""
    from companion.pytorch import base_model, fine_tuning

    data, truth = messages()
    base, _ = base_model.trained(data, progress=False)
    users = data.known_users[::STRIDE]
    own, later = data.test.of_users(users), data.validation.of_users(users)
    others = measure.of_others(data.test, users, messages=20)
    blind, aware = (table.loc[users] for table in measure.bounds(truth, data.test))
    before = measure.score(base.log_probs, own)
    before_others = measure.target_log_probs(base.log_probs, others)
    field, strategy, values = FRONTIER[name]
    rows = []
    for value in values:
        model = fine_tuning.FineTuned(
            base,
            fine_tuning.personalize(
                base,
                data.train,
                users,
                replace(strategy, **{field: value}),
                data.validation if strategy.validates else None,
                fine_tuning.fisher(base, data.train) if name == "EWC" else None,
                progress=False,
            ),
        )
        scores = measure.score(model.log_probs, own)
        validation = -measure.target_log_probs(model.log_probs, later).mean()
        lost = before_others - measure.target_log_probs(model.log_probs, others)
        rows.append(
            {
                "value": value,
                "validation_loss": float(validation),
                "captured": float(measure.gain_captured(scores, blind, aware)),
                "gain": float(measure.loss(before) - measure.loss(scores)),
                "forgotten": float(lost.mean()),
                "hurt": float(measure.hurt(scores, before)),
                "bytes": model.states().bytes_per_user,
            }
        )
    return {"rows": rows}


def history(name: str) -> dict[str, Any]:
    """Gain captured and users hurt, where new users write on and on."""
    from companion.pytorch import base_model, user_embeddings

    data, truth = messages()
    base, _ = base_model.trained(data, progress=False)
    embedding, _ = user_embeddings.trained(data, base, progress=False)
    written = sitting(truth, data.new_users, max(HISTORIES))
    blind, aware = measure.bounds(truth, data.new_test)
    before = measure.score(base.log_probs, data.new_test)
    others = data.validation.of_users(data.known_users[::3])  # as in the notebooks
    power = measure.choose_power(base.log_probs, measure.UnigramCache(data.train), others)
    rows = []
    for n in HISTORIES:
        text = written.first(n)
        counted = measure.UnigramCache(data.train, text, strength=100)
        models = {
            "fine-tuning, naive": _fine_tuned(base, text, NAIVE),
            "fine-tuning": _fine_tuned(base, text, ADAPTER),
            "user embedding": embedding.with_states(user_embeddings.fit(embedding, text)).log_probs,
            "base model × unigram cache": measure.rescale(base.log_probs, counted, power),
        }
        for name, model in models.items():
            scores = measure.score(model, data.new_test)
            rows.append(
                {
                    "method": name,
                    "messages": n,
                    "captured": float(measure.gain_captured(scores, blind, aware)),
                    "interval": list(measure.interval(measure.gain_captured, scores, blind, aware)),
                    "hurt": float(measure.hurt(scores, before)),
                }
            )
    return {"rows": rows}


def longer(name: str) -> dict[str, Any]:
    """Whether more steps of fitting bring a vector on, for every fourth new user and all text."""
    from companion.pytorch import base_model, user_embeddings

    data, truth = messages()
    model, _ = user_embeddings.trained(data, base_model.trained(data)[0], progress=False)
    users = data.new_users[::4]
    text = sitting(truth, data.new_users, max(HISTORIES)).of_users(users)
    test = data.new_test.of_users(users)
    bounds, captured = measure.bounds(truth, test), {}
    for steps in STEPS:
        own = user_embeddings.fit(model, text, FittingConfig(steps=steps))
        scores = measure.score(model.with_states(own).log_probs, test)
        captured[str(steps)] = float(measure.gain_captured(scores, *bounds))
    return {"users": len(users), "captured_by_steps": captured}


def _fine_tuned(base: Any, text: Corpus, strategy: Strategy) -> measure.Model:
    from companion.pytorch import fine_tuning

    states = fine_tuning.personalize(base, text, strategy=strategy, progress=False)
    return fine_tuning.FineTuned(base, states).log_probs


if __name__ == "__main__":
    main()
