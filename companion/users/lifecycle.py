"""The life of a model, the same for every method: trained once, fitted once, saved, loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from companion import checks, settings
from companion import history as histories
from companion.corpora import Corpus, Split, batches, corpus, vocabulary
from companion.corpora.vocabulary import Vocabulary
from companion.history import History
from companion.keeping import cache, files

from . import methods, states
from .states import PersonalStates

T = TypeVar("T")


class Model(Protocol):
    """What has a life: it says which words its ids stand for, once it was trained."""

    vocabulary: Vocabulary | None


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Life(Generic[M]):
    """How the models of one method in one framework are trained once, kept, saved and loaded.

    Parameters
    ----------
    kind : str
        What a file holds, such as ``"user heads in PyTorch"``: asked for again on loading.
    name : str
        What it is called in the cache folder.
    framework : tuple of modules
        Another version of one of them trains anew.
    code : tuple of modules
        Where the model and its training are written: other code trains anew.
    arrays, settings : callable
        What decides what a model predicts: arrays by name, and what JSON can hold.
    make : callable
        ``make(arrays, settings, path)`` gives the model back, `path` being for error messages.
    """

    kind: str
    name: str
    framework: tuple[ModuleType, ...]
    code: tuple[ModuleType, ...]
    arrays: Callable[[M], dict[str, np.ndarray]]
    settings: Callable[[M], dict[str, Any]]
    make: Callable[[dict[str, np.ndarray], dict[str, Any], Path], M]

    def trained(
        self, data: Split, make: Callable[[], tuple[M, History]], **key: Any
    ) -> tuple[M, History]:
        """What `make` trains on `data`, once; `key` is what decides it besides."""

        def make_named() -> tuple[M, History]:
            model, history = make()
            _name(model, data)
            return model, history

        key = {"name": self.name, "framework": self._versions, **key}
        return kept_training(key, data, self.code, make_named, self._write, self._read)

    def fitted(
        self, corpus: Corpus, fit: Callable[[], PersonalStates], **key: Any
    ) -> PersonalStates:
        """What `fit` fits to `corpus`, once; `key` is what decides it besides."""
        key = {"name": f"{self.name} fitted", "framework": self._versions, **key}
        return kept_states(key, corpus, self.code, fit)

    def save(self, model: M, path: str | PathLike[str]) -> None:
        """Write a model, its vocabulary and the names of its users to a safetensors file."""
        self._write(model, path)

    def load(self, path: str | PathLike[str]) -> M:
        """Read a model that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        companion.keeping.files.CorruptedFileError
            If the file is truncated or was altered.
        """
        return self._read(path)[0]

    @property
    def _versions(self) -> list[str]:
        return [module.__version__ for module in self.framework]

    def _write(self, model: M, path: str | PathLike[str], **more: Any) -> None:
        vocabulary = None if model.vocabulary is None else asdict(model.vocabulary)
        named = {"vocabulary": vocabulary, "user_names": getattr(model, "user_names", None)}
        metadata = {**self.settings(model), **named, **more}
        files.save_arrays(path, self.arrays(model), self.kind, metadata)

    def _read(self, path: str | PathLike[str]) -> tuple[M, dict[str, Any]]:
        """The model in a file, and what else its metadata holds."""
        arrays, metadata = files.load_arrays(path, self.kind)
        model = self.make(arrays, metadata, Path(path))
        words, names = metadata["vocabulary"], metadata["user_names"]
        if words is not None:
            model.vocabulary = Vocabulary(tuple(words["words"]), words["unknown_length"])
        if names is not None:
            model.user_names = tuple(names)  # type: ignore[attr-defined]  # of those with users
        return model, metadata


def check_text(vocabulary: Vocabulary | None, size: int, corpus: Corpus) -> None:
    """Refuse text that is empty, or whose ids stand for other words than the model's.

    Parameters
    ----------
    vocabulary : Vocabulary or None
        The model's, where it has one: a network made by hand has none.
    size : int
        Of the model's vocabulary.
    corpus : Corpus

    Raises
    ------
    ValueError
        The message says where the vocabularies differ.
    """
    if not len(corpus):
        raise ValueError("corpus is empty: it needs at least one message")
    checks.check_vocabulary("corpus", corpus.vocabulary, vocabulary, size)


def _name(model: Model, data: Split) -> None:
    """Say which words the ids of a trained model stand for, and who its users are."""
    model.vocabulary = data.vocabulary
    known = getattr(model, "known_users", None)
    if known is not None:
        names = data.train.user_names
        model.user_names = tuple(names[user] for user in known)  # type: ignore[attr-defined]


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
    shared = (states, settings, methods, checks, batches, corpus, vocabulary)
    decides = cache.source_fingerprint(*code, *shared)
    return cache.kept(
        {**key, "corpora": [text.fingerprint], "code": decides},
        make,
        save=PersonalStates.save,
        load=PersonalStates.load,
    )


__all__ = ["Life", "check_text", "kept_states", "kept_training"]
