"""What every model can do, whatever its method and its framework; a twin adds the network."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion.corpora.vocabulary import Vocabulary


class LanguageModel:
    """A model that predicts the next word of a message, whoever wrote it.

    Called in the way of its framework, with token ids ``(batch, time)`` and who wrote each message
    ``(batch,)``, it gives the logits of the next token at every step, ``(batch, time, word)``; no
    softmax inside. Called so, it takes anybody for a user; the methods below refuse whom it does
    not know.

    Attributes
    ----------
    vocabulary : Vocabulary or None
        What the ids stand for; a network made by hand does not know it.
    vocabulary_size : int
        Words it reads and predicts, special tokens included.
    known_users : np.ndarray
        Ids of the users it knows, ascending; a base model has no such table.
    user_names : tuple of str or None, or None
        What these users are called, where training or a file has told; None for a user who came
        later, of whom nobody said it.
    """

    vocabulary: Vocabulary | None = None
    vocabulary_size: int
    known_users: np.ndarray
    user_names: tuple[str | None, ...] | None = None

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token at every step, without dropout.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(message, step)``.
        users : np.ndarray, optional
            Who wrote each message, ``(message,)``; anyone, where not given. A base model knows no
            user: any id from 0 is accepted, and changes nothing.

        Returns
        -------
        np.ndarray
            ``(message, step, word)`` float32; a row sums to one once exponentiated.

        Raises
        ------
        TypeError, ValueError
            If the ids are no integers, a token is outside the vocabulary, a user is not known, or
            `users` is not one for each message.
        """
        raise NotImplementedError

    def begin(self, batch: int, users: np.ndarray | None = None) -> Any:
        """The state before any token of messages by these users ``(batch,)``.

        It settles who is typing: :meth:`step` does not look at the users again.
        """
        raise NotImplementedError

    def step(
        self, tokens: np.ndarray, state: Any, users: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """Read one token per message, going on from `state`.

        Parameters
        ----------
        tokens : np.ndarray
            Token ids, ``(batch,)``.
        state : tuple
            What :meth:`begin` or the step before gave; it is not changed.

        Returns
        -------
        log_probs : np.ndarray
            Log-probabilities of the next token, ``(batch, word)`` float32.
        state : tuple
            The state after these tokens.
        """
        raise NotImplementedError

    def _names_of(self, users: np.ndarray) -> tuple[str | None, ...] | None:
        """What it calls these users; None for each that it does not know."""
        if self.user_names is None:
            return None
        names = dict(zip(self.known_users.tolist(), self.user_names, strict=True))
        return tuple(names.get(user) for user in users.tolist())
