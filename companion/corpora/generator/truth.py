"""The exact probabilities of *Messages*: told the user, told nothing, and after any evidence."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from companion.checks import check_ids
from companion.corpora.corpus import Corpus
from companion.corpora.vocabulary import PADDING, Vocabulary
from companion.keeping import files

from .forward import Forward, State, Tables, conditional, joint_of
from .grammar import Grammar
from .profiles import Profiles, population

KINDS = ("topics", "style", "personal")


class Truth:
    """The generator's own probabilities, a *model* in the sense of ``companion.measure``.

    The exact forward algorithm over the grammar: it follows every way in which the message so far
    can have been written, for all users at once.

    Parameters
    ----------
    grammar : Grammar
    profiles : Profiles
        All users, known and new.
    vocabulary : Vocabulary
        Words of the grammar that it lacks count as ``<unknown>``.
    message_counts : np.ndarray
        Training messages of each user, ``(users,)``. A message of unknown origin is by user *u*
        in proportion to them; users without any (new users) are not in the mixture.
    """

    def __init__(
        self,
        grammar: Grammar,
        profiles: Profiles,
        vocabulary: Vocabulary,
        message_counts: np.ndarray,
    ) -> None:
        self.grammar = grammar
        self.profiles = profiles
        self.vocabulary = vocabulary
        self.prior = self._normalized(message_counts)  # (users,)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with anything that changes a probability."""
        grammar, profiles = self.grammar, self.profiles
        written = (grammar.templates, grammar.style, grammar.personal, self.vocabulary.words)
        arrays = {"written": np.frombuffer(repr(written).encode(), dtype=np.uint8)}
        arrays |= {"prior": self.prior, "topics": profiles.topics}
        tables = {"slot": profiles.slots, "loading": profiles.loadings}
        tables |= {f"dialect {name}": weights for name, weights in grammar.dialects.items()}
        for name, table in tables.items():
            arrays |= {f"{name} {key}": array for key, array in table.items()}
        return files.fingerprint(arrays)

    def aware(self, tokens: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next word, told who is typing: the user-aware bound.

        Parameters
        ----------
        tokens : np.ndarray
            ``(message, step)`` int32, ``<begin>`` first, padded with ``<pad>``.
        users : np.ndarray
            ``(message,)``.

        Returns
        -------
        np.ndarray
            ``(message, step, word)``; minus infinity where the generator cannot write the word.

        Raises
        ------
        ValueError
            If the generator cannot have written the tokens so far, or a user is unknown.
        """
        users = check_ids("user", users, len(self.profiles), ndim=1)
        return self._log_probs(self._forward, tokens, users=users)

    def blind(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the next word, told nothing: the user-blind bound.

        The exact Bayes mixture over the known users, given only the message so far, each user
        expected as often as they wrote in the training text. So it bounds losses averaged *by
        token* over known users. For another average see :meth:`mixture`, for new users
        :meth:`blind_new`. Shapes as in :meth:`aware`; `users` is not looked at.
        """
        return self._log_probs(self._forward, tokens, prior=self.prior)

    def mixture(self, prior: np.ndarray) -> Callable[..., np.ndarray]:
        """A model like :meth:`blind`, with another prior over users.

        The bound of an average belongs to the prior that weighs users as the average does: a
        uniform one over the known users for a mean by user, one over a group for that group.

        Parameters
        ----------
        prior : np.ndarray
            Weights of all users, known and new, ``(users,)``; they need not sum to one.
        """
        prior = self._normalized(prior)

        def model(tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
            return self._log_probs(self._forward, tokens, prior=prior)

        return model

    def blind_new(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Log-probabilities of the next word from a user not met before, told nothing.

        The user-blind bound for new users: the mixture over everybody whom the generator could
        draw, see :func:`companion.corpora.generator.profiles.population`. Shapes as in
        :meth:`aware`.
        """
        forward, prior = self._newcomers
        return self._log_probs(forward, tokens, prior=prior)

    def told(self, corpus: Corpus, what: Collection[str]) -> np.ndarray:
        """Log-probability of each target, told only some of what is true of the user.

        Parameters
        ----------
        corpus : Corpus
        what : collection of str
            Any of ``"topics"``, ``"style"`` and ``"personal"``. What is not told is that of an
            unknown user, whom what is told does not help to find: nothing told is the blind bound,
            everything the aware one.

        Returns
        -------
        np.ndarray
            ``(targets,)``: the words and the end of every message, in the order of `corpus`.
        """
        unknown = set(what) - set(KINDS)
        if unknown:
            raise ValueError(f"what must be among {KINDS}, not {sorted(unknown)}")
        result = np.empty(corpus.n_tokens + len(corpus))
        of_target = np.repeat(corpus.users, corpus.lengths + 1)
        for user in corpus.active_users:
            columns = {k: np.full(len(self.prior), user) for k in what}
            forward = Forward(self._tables, columns)
            joint = joint_of(forward, corpus.of_users(user)) @ self.prior
            result[of_target == user] = conditional(np.log(joint), corpus.of_users(user))
        return result

    def message_log_likelihoods(self, corpus: Corpus) -> np.ndarray:
        """Log-probability of each whole message under each user, ``(messages, users)``.

        Minus infinity where the user cannot have written it.
        """
        last = np.cumsum(corpus.lengths + 1) - 1
        with np.errstate(divide="ignore"):
            return np.log(joint_of(self._forward, corpus)[last])

    def posterior(self, corpus: Corpus) -> np.ndarray:
        """Who wrote these messages, if one user wrote them all: probabilities, ``(users,)``.

        New users have probability 0, since the prior knows nothing of them.
        """
        with np.errstate(divide="ignore"):
            log = np.log(self.prior) + self.message_log_likelihoods(corpus).sum(axis=0)
        if not np.isfinite(log).any():
            raise ValueError("the generator cannot have written these messages")
        weights = np.exp(log - log.max())
        return weights / weights.sum()

    def _log_probs(
        self,
        forward: Forward,
        tokens: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        users: np.ndarray | None = None,
    ) -> np.ndarray:
        """As :meth:`aware`, given either one prior over users or who wrote each message."""
        tokens = check_ids("token", tokens, len(self.vocabulary), ndim=2)
        inside = tokens != PADDING  # (message, step)
        out = np.full((*tokens.shape, len(self.vocabulary)), 1.0 / len(self.vocabulary))
        words = [row[1:length] for row, length in zip(tokens, inside.sum(axis=1), strict=True)]
        blind: WeakKeyDictionary[State, np.ndarray] = WeakKeyDictionary()  # messages share states
        for message, states in forward.states(words):
            for step, state in enumerate(states):
                if users is not None:
                    out[message, step] = forward.next_words(state, int(users[message]))
                    continue
                assert prior is not None  # one of the two is given
                if state not in blind:
                    blind[state] = forward.next_words(state, prior)
                out[message, step] = blind[state]
        with np.errstate(divide="ignore"):
            return np.log(out, out=out)

    def _normalized(self, prior: np.ndarray) -> np.ndarray:
        """Weights of the users as probabilities."""
        prior = np.asarray(prior, dtype=float)
        if prior.shape != (len(self.profiles),) or not (prior >= 0).all() or not prior.sum() > 0:
            raise ValueError(
                f"a prior must give each of {len(self.profiles)} users a weight of at least 0, "
                f"and some user more; got shape {prior.shape} with sum {prior.sum():g}"
            )
        return prior / prior.sum()

    @cached_property
    def _tables(self) -> Tables:
        return Tables.compile(self.grammar, self.profiles, self.vocabulary)

    @cached_property
    def _forward(self) -> Forward:
        return Forward(self._tables)

    @cached_property
    def _newcomers(self) -> tuple[Forward, np.ndarray]:
        everybody, prior = population(self.grammar, self.profiles.loadings)
        tables = Tables.compile(self.grammar, everybody, self.vocabulary)
        return Forward(tables), prior
