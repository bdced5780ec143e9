"""A personalizer in a folder: written whole or not at all, read as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from companion.corpora import Corpus, Vocabulary
from companion.corpora.tokens import Tokenizer
from companion.keeping import files
from companion.settings import BaseModelConfig, TrainingConfig
from companion.users import SqliteStore, store
from companion.users.methods import HypernetworkConfig, UserEmbeddingConfig
from companion.users.strategies import Strategy

from .counting import Numbers
from .folders import current_version, locked, write_version
from .kept import Kept
from .networks import Trial, chosen_framework, load_network
from .reporting import Report
from .settings import Method, PersonalizerSettings
from .texts import Texts
from .words import OwnWords

NETWORK, TEXTS = "network.safetensors", "texts.safetensors"
KIND = "personalizer"
OWN = "a function"  # in the place of a tokenizer that no file can hold
PARTS = {
    "base": BaseModelConfig,
    "training": TrainingConfig,
    "user_embedding": UserEmbeddingConfig,
    "hypernetwork": HypernetworkConfig,
    "adapter": Strategy,
}


def save(kept: Kept, folder: str | PathLike[str]) -> None:
    """Write all that is kept as the version of the folder that counts."""

    def write(path: Path) -> None:
        kept.network.save(path / NETWORK)
        if kept.network.states is not None:
            with SqliteStore(path / store.FILE) as states:
                states.put(kept.network.states)
        files.save_arrays(path / TEXTS, _columns(kept.texts), KIND, _described(kept))

    with locked(folder):
        write_version(folder, write)


def load(folder: str | PathLike[str], tokenizer: Tokenizer | None = None) -> Kept:
    """What :func:`save` wrote; where another process saves meanwhile, what it wrote."""
    while True:
        version = current_version(folder)
        try:
            return _read(version, tokenizer)
        except (FileNotFoundError, files.CorruptedFileError):
            if current_version(folder) == version:
                raise


def _read(version: Path, tokenizer: Tokenizer | None) -> Kept:
    columns, told = files.load_arrays(version / TEXTS, KIND)
    framework = chosen_framework(told["framework"])
    method = Method.named(told["method"])
    network = load_network(framework, method.network or "", version / NETWORK)
    if (version / store.FILE).exists():
        with SqliteStore(version / store.FILE, must_exist=True) as states:
            network = network.with_states(states.get(network.fingerprint))
    return Kept(
        framework=framework,
        asked=told["asked"],
        settings=_settings(told["settings"], tokenizer),
        method=method,
        numbers=Numbers(**told["numbers"]),
        trial=None if told["trial"] is None else Trial(**told["trial"]),
        network=network,
        texts=_texts(columns, told, network.network.vocabulary),
        report=Report.from_dict(told["report"]),
        refitted={int(user): count for user, count in told["refitted"].items()},
    )


def _described(kept: Kept) -> dict[str, Any]:
    """Everything that is no array."""
    settings = asdict(kept.settings)
    if callable(settings["tokenizer"]):
        settings["tokenizer"] = OWN
    return {
        "framework": kept.framework,
        "asked": kept.asked,
        "settings": settings,
        "method": str(kept.method),
        "numbers": asdict(kept.numbers),
        "trial": None if kept.trial is None else asdict(kept.trial),
        "report": kept.report.to_dict(),
        "refitted": {str(user): count for user, count in kept.refitted.items()},
        "names": kept.texts.names,
        "own": kept.texts.own.to_dict(),
    }


def _settings(fields: Mapping[str, Any], tokenizer: Tokenizer | None) -> PersonalizerSettings:
    """The settings in a file; lists become the tuples that they were."""
    if fields["tokenizer"] == OWN and not callable(tokenizer):
        raise ValueError(
            "this personalizer was fitted with a tokenizer of your own, which no file can hold: "
            "pass it, load(folder, tokenizer=...)"
        )
    whole = {**fields, "tokenizer": tokenizer or fields["tokenizer"]}
    whole |= {name: kind(**_tuples(whole[name])) for name, kind in PARTS.items()}
    return PersonalizerSettings(**_tuples(whole))


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def _columns(texts: Texts) -> dict[str, np.ndarray]:
    """Everybody's text as arrays: what networks were trained on, then what came since."""
    fitted, later = texts.fitted, texts.learned
    return {
        "tokens": np.concatenate([fitted.tokens, *(tokens for _, tokens in later)]),
        "lengths": np.r_[fitted.lengths, [len(tokens) for _, tokens in later]].astype(np.int64),
        "users": np.r_[fitted.users, [user for user, _ in later]].astype(np.int32),
        "fitted": np.array([len(fitted)]),
    }


def _texts(
    columns: Mapping[str, np.ndarray], told: Mapping[str, Any], vocabulary: Vocabulary
) -> Texts:
    """The text that :func:`_columns` laid out."""
    tokens, lengths, users = (columns[name] for name in ("tokens", "lengths", "users"))
    starts, fitted = np.cumsum(lengths) - lengths, int(columns["fitted"][0])
    whole = Corpus(
        tokens=tokens,
        starts=starts,
        lengths=lengths,
        users=users,
        times=np.arange(len(lengths), dtype=np.int64),
        vocabulary=vocabulary,
        user_names=tuple(name or "" for name in told["names"]),
    )
    own = {int(user): words for user, words in told["own"].items()}
    later = [(int(users[i]), whole.words(i)) for i in range(fitted, len(lengths))]
    return Texts(told["names"], whole.select(np.arange(fitted)), OwnWords(own), later)


__all__ = ["load", "save"]
