"""Fine-tuning of many users at once, and what of it both frameworks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np

from companion.corpora import Corpus

from . import groups, personalizing, stacks
from .groups import Arrays, Importance
from .lifecycle import check_text
from .models import LanguageModel
from .personalizing import Adapt, Task
from .stacks import Stack
from .states import PersonalStates
from .strategies import ADAPTER, Strategy

FISHER_GROUP = 32  # messages whose gradients are held at once
B = TypeVar("B", bound=LanguageModel)
M = TypeVar("M")


@dataclass(frozen=True)
class Tuning(Generic[B, M]):
    """How the base models of one framework are fine-tuned.

    Parameters
    ----------
    name : str
        What fine-tuned models are called in the cache folder.
    framework, code : tuple of modules
        As in :class:`companion.users.lifecycle.Life`.
    fingerprint : callable
        Of a base model.
    adaptation : callable
        ``adaptation(base, strategy, importance)`` says how a group of users is adapted.
    squares : callable
        ``squares(base, stack, steps, draw)``: the squared gradient, by each weight, of the
        log-probability of a word after one step of each message of the stack, summed over them.
        ``draw(log_probs)`` says which word.
    tuned : callable
        ``tuned(base, states)`` is the model that is changed so.
    """

    name: str
    framework: tuple[ModuleType, ...]
    code: tuple[ModuleType, ...]
    fingerprint: Callable[[B], str]
    adaptation: Callable[[B, Strategy, Importance | None], Adapt]
    squares: Callable[[B, Stack, np.ndarray, Callable[[np.ndarray], np.ndarray]], Arrays]
    tuned: Callable[[B, PersonalStates], M]

    def personalize(
        self,
        base: B,
        corpus: Corpus,
        users: Sequence[int] | np.ndarray | None = None,
        strategy: Strategy = ADAPTER,
        validation: Corpus | None = None,
        importance: Importance | None = None,
        folder: str | PathLike[str] | None = None,
        group_size: int = 64,
        progress: bool | None = None,
    ) -> PersonalStates:
        """Fine-tune the base model for each of many users, all users of a group in one computation.

        The result for a user is that of a loop over copies of the model, up to rounding, and does
        not depend on who else is in the group.

        Parameters
        ----------
        base : base model of the twin
            Where everybody starts; it is not changed. Dropout is off.
        corpus : Corpus
            The text to adapt to.
        users : sequence of int, optional
            Whose; everybody's who has a message in `corpus`, if not given.
        strategy : Strategy
        validation : Corpus, optional
            Later text of the same users, for early stopping and the gate. The gate stays shut for
            users who have none; early stopping then keeps the last pass.
        importance : mapping of str to np.ndarray, optional
            How much harder than others each number of a weight is held, such as `fisher` gives.
        folder : path, optional
            Where each user's state is put into a store, ``states.sqlite``, as soon as it is
            finished. Users whose state is there already are not adapted again: a run that was
            killed goes on where it stopped.
        group_size : int
            Users adapted together, at most: it bounds the memory, and changes no result.
        progress : bool, optional
            Whether to show a bar; if not given, in a terminal and a notebook.

        Returns
        -------
        PersonalStates
            The change of every weight that is adapted, in half precision.

        Raises
        ------
        ValueError
            If there is no text, a user has none, the base model lacks words of it, `validation` has
            other words, the strategy needs what is not given, or `folder` holds states that were
            made otherwise.
        FloatingPointError
            If the loss or a change of a user is not finite; the message names the user. The users
            of the groups before stay saved in `folder`.
        """
        task = self._task(base, corpus, users, strategy, validation, importance)
        adapt = self.adaptation(base, strategy, importance)
        return task.done(adapt, folder, group_size, progress)

    def personalized(
        self,
        base: B,
        corpus: Corpus,
        users: Sequence[int] | np.ndarray | None = None,
        strategy: Strategy = ADAPTER,
        validation: Corpus | None = None,
        importance: Importance | None = None,
    ) -> M:
        """The model that `personalize` makes, from the cache folder if it was made before."""
        task = self._task(base, corpus, users, strategy, validation, importance)

        def make() -> PersonalStates:
            return task.done(self.adaptation(base, strategy, importance))

        versions = [module.__version__ for module in self.framework]
        code = *self.code, groups
        return self.tuned(base, task.kept(make, code, name=self.name, framework=versions))

    def fisher(self, base: B, corpus: Corpus, tokens: int = 1000, seed: int = 0) -> Arrays:
        """Diagonal of the Fisher information of the base model's weights, per token.

        The mean, over tokens of `corpus`, of the squared gradient of the log-probability of a word
        that the model itself draws there [1]_. The gradient of each token alone: the square of a
        batch's mean gradient is something else.

        Parameters
        ----------
        base : base model of the twin
        corpus : Corpus
            Text of everybody.
        tokens : int
            How many tokens to look at; all, where there are not so many.
        seed : int
            Decides which, and the words drawn.

        Returns
        -------
        dict of str to np.ndarray
            For every weight that is trained, an array of its shape.

        Raises
        ------
        ValueError
            If there is no text, or the base model lacks words of it.

        References
        ----------
        .. [1] Kunstner, F. et al. Limitations of the empirical Fisher approximation for natural
           gradient descent. NeurIPS, 2019.
        """
        check_text(base.vocabulary, base.vocabulary_size, corpus)
        rng = np.random.default_rng(seed)
        chosen, steps = stacks.draw_tokens(corpus, tokens, rng)
        total: Arrays = {}
        for start in range(0, len(chosen), FISHER_GROUP):
            some, at = (array[start : start + FISHER_GROUP] for array in (chosen, steps))
            stack = Stack.of(corpus, list(some[:, None]))
            found = self.squares(base, stack, at, lambda log_probs: stacks.draw(log_probs, rng))
            total = {name: total.get(name, 0.0) + sums for name, sums in found.items()}
        return {name: sums / len(chosen) for name, sums in total.items()}

    def _task(self, base: B, corpus: Corpus, *given: Any) -> Task:
        """What is asked, checked against this base model."""
        check_text(base.vocabulary, base.vocabulary_size, corpus)
        return personalizing.task(self.fingerprint(base), corpus, *given)
