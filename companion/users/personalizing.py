"""Fine-tuning of many users, as far as it knows no framework: checks, groups, going on, saving."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from companion.corpora import Corpus
from companion.keeping import files
from companion.progress import progress_bar

from . import stacks, states
from .lifecycle import kept_states
from .stacks import DOWN, UP
from .states import PersonalStates
from .store import FILE, SqliteStore
from .strategies import Strategy

RECIPE = "recipe.json"
_ELSEWHERE = "name another folder, or delete this one"
Adapt = Callable[[Corpus, np.ndarray, Corpus | None], dict[str, np.ndarray]]
"""``adapt(corpus, users, validation)`` gives the changes of a group of users, a row each."""


@dataclass(frozen=True, eq=False)
class Task:
    """Whose models are to be fine-tuned, on what and how: checked, and ready to be done.

    Parameters
    ----------
    base : str
        Fingerprint of the base model.
    corpus : Corpus
        The text to adapt to.
    users : np.ndarray
        Ids, ascending, ``(users,)``.
    strategy : Strategy
    validation : Corpus or None
    importance : mapping of str to np.ndarray, or None
    """

    base: str
    corpus: Corpus
    users: np.ndarray
    strategy: Strategy
    validation: Corpus | None
    importance: Mapping[str, np.ndarray] | None

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides the state of a user, as JSON gives it back."""
        importance = None if self.importance is None else files.fingerprint(self.importance)
        later = self.validation if self.strategy.validates else None
        made_of = {
            "base": self.base,
            "strategy": asdict(self.strategy),
            "text": self.corpus.fingerprint,
            "validation": None if later is None else later.fingerprint,
            "importance": importance,
        }
        return json.loads(json.dumps(made_of))

    def done(
        self,
        adapt: Adapt,
        folder: str | PathLike[str] | None = None,
        group_size: int = 64,
        progress: bool | None = None,
    ) -> PersonalStates:
        """The states of all users, those of each group saved as soon as they are finished.

        Users whose states an earlier run with the same recipe left in `folder` are not adapted
        again.

        Raises
        ------
        ValueError
            If `folder` holds states that were made otherwise.
        FloatingPointError
            If a change is not finite; the message names the user.
        """
        kept = resume(folder, self.base, self.recipe)
        missing = np.setdiff1d(self.users, [] if kept is None else kept.users)
        finished = [] if kept is None else [kept]
        groups = stacks.groups(self.corpus, missing, self.strategy.batches, group_size)
        with progress_bar(len(missing), "fine-tuning", "user", progress) as bar:
            for group in groups:
                arrays = adapt(self.corpus, group, self.validation)
                check_stored(arrays, group, self.strategy)
                finished.append(PersonalStates(self.base, group, arrays))
                if folder is not None:
                    _keep(folder, finished[-1])
                bar.update(len(group))
        return reduce(PersonalStates.joined, finished).of(self.users)

    def kept(
        self, make: Callable[[], PersonalStates], code: tuple[ModuleType, ...], **key: Any
    ) -> PersonalStates:
        """What `make` gives for this task, from the cache folder if it was made before.

        `key` is what else decides: a name, and the version of the framework.
        """
        key |= {"recipe": self.recipe, "users": self.users.tolist()}
        return kept_states(key, self.corpus, (*code, stacks), make)


def task(
    base: str,
    corpus: Corpus,
    users: Sequence[int] | np.ndarray | None,
    strategy: Strategy,
    validation: Corpus | None,
    importance: Mapping[str, np.ndarray] | None,
) -> Task:
    """A task that can be done.

    Parameters
    ----------
    base : str
        Fingerprint of the base model.
    users : sequence of int or None
        Everybody who has a message in `corpus`, if None.

    Raises
    ------
    ValueError
        If a user has no text, or the strategy needs what is not given.
    """
    users = corpus.active_users if users is None else users
    if not len(users):
        raise ValueError("users is empty: name at least one user, or None for all with a message")
    users = states.check_ascending(np.unique(users))
    without = np.setdiff1d(users, corpus.active_users)
    if len(without):
        raise ValueError(f"user {without[0]} has no message in corpus to adapt to")
    _check_validation(corpus, strategy, validation)
    _check_importance(strategy, importance)
    return Task(base, corpus, users, strategy, validation, importance)


def _check_validation(corpus: Corpus, strategy: Strategy, validation: Corpus | None) -> None:
    if strategy.validates and validation is None:
        raise ValueError("early_stopping and gate need validation text: give validation")
    if validation is not None and validation.vocabulary.words != corpus.vocabulary.words:
        raise ValueError("validation must have the vocabulary of corpus: its words differ")


def _check_importance(strategy: Strategy, importance: Mapping[str, np.ndarray] | None) -> None:
    if importance is None:
        return
    if strategy.rank:
        raise ValueError(f"importance is of whole weights: rank must be 0, not {strategy.rank}")
    if not all(np.isfinite(each).all() and (each >= 0).all() for each in importance.values()):
        raise ValueError("importance must be finite and at least 0 everywhere")
    if not strategy.pull:
        raise ValueError("importance needs a pull above 0 to have an effect")


def resume(
    folder: str | PathLike[str] | None, made_for: str, made_of: Mapping[str, Any]
) -> PersonalStates | None:
    """The states that an earlier run with this recipe left in a folder; a new folder gets it.

    Raises
    ------
    ValueError
        If the states there were made with another recipe, or nobody knows with which.
    """
    if folder is None:
        return None
    path = Path(folder) / RECIPE
    if not path.exists():
        if path.with_name(FILE).exists():
            raise ValueError(f"{folder} holds states, but no {RECIPE}: {_ELSEWHERE}")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, (json.dumps(made_of, indent=1) + "\n").encode())
    other = sorted(name for name in made_of if _read_recipe(path).get(name) != made_of[name])
    if other:
        raise ValueError(
            f"{folder} holds states made with another {' and '.join(other)}: {_ELSEWHERE}"
        )
    with SqliteStore(path.with_name(FILE)) as store:
        return store.get(made_for) if len(store) else None


def _keep(folder: str | PathLike[str], finished: PersonalStates) -> None:
    with SqliteStore(Path(folder) / FILE) as store:
        store.put(finished)


def _read_recipe(path: Path) -> Mapping[str, Any]:
    """What the states of a folder were made of."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise files.CorruptedFileError(f"{path} is no recipe: {_ELSEWHERE}") from error


def check_stored(arrays: Mapping[str, np.ndarray], users: np.ndarray, strategy: Strategy) -> None:
    """Refuse changes that are not finite, or too large for the half precision they are kept in.

    Raises
    ------
    FloatingPointError
        The message names the user.
    """
    for name, array in arrays.items():
        wrong = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if wrong.any():
            raise FloatingPointError(
                f"the change of {name} of user {users[wrong][0]} is not finite in half precision: "
                f"try a learning_rate below {strategy.learning_rate:g}"
            )


def _multiply_to(shape: tuple[int, ...], down: np.ndarray, up: np.ndarray) -> bool:
    """Whether two narrow matrices a user have a product of this shape."""
    return down.shape[2:] == up.shape[1:2] and (down.shape[1], up.shape[2]) == shape


def check_changes(states: PersonalStates, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse states that are no changes of weights of these shapes.

    Raises
    ------
    ValueError
        The message names the array.
    """
    for name, array in states.arrays.items():
        weight = name.removesuffix(DOWN).removesuffix(UP)
        expected, found = shapes.get(weight, ()), array.shape[1:]
        if name.endswith((DOWN, UP)):
            down, up = (states.arrays.get(weight + end) for end in (DOWN, UP))
            fits = down is not None and up is not None and _multiply_to(expected, down, up)
        else:
            fits = found in (expected, expected[::-1]) and bool(expected)
        if not fits:
            raise ValueError(
                f"states hold {name!r} with shape {found}, no change of a weight here: "
                "another method's"
            )


__all__ = ["Task", "check_changes", "check_stored", "resume", "task"]
