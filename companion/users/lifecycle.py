"""Train a model once and keep it: what decides a training, the same for every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from companion import checks, settings
from companion import history as histories
from companion.corpora import Corpus, Split, batches, corpus, vocabulary
from companion.history import History
from companion.keeping import cache, files

from . import methods, states
from .states import PersonalStates

T = TypeVar("T")
STATES = "personal states"


def kept_training(
    key: Mapping[str, Any],
    data: Split,
    code: tuple[ModuleType, ...],
    make: Callable[[], tuple[T, History]],
    save: Callable[..., None],
    load: Callable[[Path], tuple[T, dict[str, Any]]],
) -> tuple[T, History]:
    """A trained model and the history of its training, from the cache folder if it is there.

    Parameters
    ----------
    key : mapping
        The settings of the model and of its training, and the version of the framework. The text
        and all source code that has a say are added to it.
    data : Split
        What the model is trained on.
    code : tuple of modules
        Where the model and its training are written.
    make : callable
        Trains it.
    save : callable
        ``save(model, path, history=...)`` writes the model with one more entry of metadata.
    load : callable
        Gives the model in a file, and its metadata.
    """

    def load_both(path: Path) -> tuple[T, History]:
        model, metadata = load(path)
        return model, History.from_dict(metadata["history"])

    shared = (settings, histories, checks, batches, corpus, vocabulary)
    texts = [data.train.fingerprint, data.validation.fingerprint]
    return cache.kept(
        {**key, "corpora": texts, "code": cache.source_fingerprint(*code, *shared)},
        make,
        save=lambda made, path: save(made[0], path, history=made[1].to_dict()),
        load=load_both,
        finished=lambda made: not made[1].interrupted,
    )


def kept_states(
    key: Mapping[str, Any], text: Corpus, code: tuple[ModuleType, ...], make: Callable[[], Any]
) -> PersonalStates:
    """Personal states fitted to `text`, from the cache folder if they are there.

    Parameters
    ----------
    key : mapping
        The model, the settings and the version of the framework.
    text : Corpus
    code : tuple of modules
        Where the model and the fitting are written.
    make : callable
        Fits them.
    """
    code = cache.source_fingerprint(
        *code, states, settings, methods, checks, batches, corpus, vocabulary
    )
    return cache.kept(
        {**key, "corpora": [text.fingerprint], "code": code}, make, save=_save, load=_load
    )


def _save(states: PersonalStates, path: Path) -> None:
    arrays = {f"array {name}": array for name, array in states.arrays.items()}
    files.save_arrays(path, {**arrays, "users": states.users}, STATES, {"model": states.model})


def _load(path: Path) -> PersonalStates:
    arrays, metadata = files.load_arrays(path, STATES)
    users = arrays.pop("users")
    arrays = {name.removeprefix("array "): array for name, array in arrays.items()}
    return PersonalStates(metadata["model"], users, arrays)


__all__ = ["kept_states", "kept_training"]
