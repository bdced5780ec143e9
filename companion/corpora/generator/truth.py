"""The exact probabilities of *Messages*: told the user, told nothing, and after any evidence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from companion.checks import check_ids
from companion.corpora.corpus import Corpus
from companion.corpora.vocabulary import END, PADDING, Vocabulary
from companion.keeping import files

from .grammar import Expansion, Grammar, Slot
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
            forward = _Forward(self._tables, columns)
            joint = _joint(forward, corpus.of_users(user)) @ self.prior
            result[of_target == user] = _conditional(np.log(joint), corpus.of_users(user))
        return result

    def message_log_likelihoods(self, corpus: Corpus) -> np.ndarray:
        """Log-probability of each whole message under each user, ``(messages, users)``.

        Minus infinity where the user cannot have written it.
        """
        last = np.cumsum(corpus.lengths + 1) - 1
        with np.errstate(divide="ignore"):
            return np.log(_joint(self._forward, corpus)[last])

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
        forward: _Forward,
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
        blind: WeakKeyDictionary[_State, np.ndarray] = WeakKeyDictionary()  # messages share states
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
    def _tables(self) -> _Tables:
        return _Tables.compile(self.grammar, self.profiles, self.vocabulary)

    @cached_property
    def _forward(self) -> _Forward:
        return _Forward(self._tables)

    @cached_property
    def _newcomers(self) -> tuple[_Forward, np.ndarray]:
        everybody, prior = population(self.grammar, self.profiles.loadings)
        tables = _Tables.compile(self.grammar, everybody, self.vocabulary)
        return _Forward(tables), prior


@dataclass(frozen=True, eq=False)
class _Trie:
    """The expansions of one slot, merged where they begin alike.

    `mass[node]` is how likely an expansion through the node is, `end[node]` how likely one that
    ends there; both ``(nodes, users)``. Expansions that the vocabulary cannot tell apart merge,
    so ``<unknown>`` needs no special case.
    """

    children: tuple[dict[int, int], ...]
    mass: np.ndarray
    end: np.ndarray

    @classmethod
    def compile(cls, expansions: list[tuple[int, ...]], probabilities: np.ndarray) -> _Trie:
        children: list[dict[int, int]] = [{}]
        paths = []
        for expansion in expansions:
            path = [0]
            for token in expansion:
                node = children[path[-1]].setdefault(token, len(children))
                if node == len(children):
                    children.append({})
                path.append(node)
            paths.append(path)
        mass = np.zeros((len(children), len(probabilities)))
        end = np.zeros_like(mass)
        for path, probability in zip(paths, probabilities.T, strict=True):
            mass[path] += probability
            end[path[-1]] += probability
        return cls(tuple(children), mass, end)

    def of_columns(self, columns: np.ndarray | None) -> _Trie:
        if columns is None:
            return self
        return _Trie(self.children, self.mass[:, columns], self.end[:, columns])

    @cached_property
    def can_end(self) -> np.ndarray:
        """Whether an expansion may end at each node, ``(nodes,)``."""
        return np.any(self.end, axis=1)

    @cached_property
    def next_words(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each node, the tokens that may follow inside the slot and their mass."""
        return [(np.array(list(c), dtype=int), self.mass[list(c.values())]) for c in self.children]


@dataclass(frozen=True, eq=False)
class _Tables:
    """The grammar in token ids: for each template its tries, and its chance for each user."""

    templates: tuple[tuple[int, ...], ...]  # places in `tries`
    tries: tuple[_Trie, ...]
    kinds: tuple[str, ...]
    chances: np.ndarray  # (templates, users)
    n_words: int

    @classmethod
    def compile(cls, grammar: Grammar, profiles: Profiles, vocabulary: Vocabulary) -> _Tables:
        place = {slot: i for i, slot in enumerate(grammar.slots)}
        topics = np.array([template.topic for template in grammar.templates])
        chances = profiles.topics.T[topics] / np.bincount(topics)[topics, None]
        return cls(
            templates=tuple(tuple(place[s] for s in t.slots) for t in grammar.templates),
            tries=tuple(_slot_trie(slot, profiles, vocabulary) for slot in grammar.slots),
            kinds=tuple(slot.kind for slot in grammar.slots),
            chances=chances,
            n_words=len(vocabulary),
        )


def _slot_trie(slot: Slot, profiles: Profiles, vocabulary: Vocabulary) -> _Trie:
    expansions = [_ids(expansion, vocabulary) for expansion in slot.expansions]
    return _Trie.compile(expansions, profiles.probabilities(slot))


def _ids(expansion: Expansion, vocabulary: Vocabulary) -> tuple[int, ...]:
    return tuple(int(i) for i in vocabulary.encode(expansion))


@dataclass(frozen=True, eq=False)
class _State:
    """All ways to have written a message so far.

    Each reader is (tries of the template, place in it, node in that trie, weight): the weight is
    the joint probability of all choices made before this slot, ``(users,)``. `done` is the weight
    of the messages that end here; `joint` the probability of the prefix.
    """

    readers: list[tuple[tuple[_Trie, ...], int, int, np.ndarray]]
    done: np.ndarray
    joint: np.ndarray

    @cached_property
    def continuations(self) -> tuple[np.ndarray, np.ndarray]:
        """What may follow: tokens ``(ways,)`` and their joint probability ``(ways, users)``."""
        weights: dict[tuple[_Trie, int], np.ndarray] = {}
        for tries, place, node, weight in self.readers:  # templates often wait at the same slot
            key = tries[place], node
            weights[key] = weights[key] + weight if key in weights else weight
        followers = [(trie.next_words[node], weight) for (trie, node), weight in weights.items()]
        tokens = [np.array([END]), *(words for (words, _), _ in followers)]
        joint = [self.done[None], *(mass * weight for (_, mass), weight in followers)]
        return np.concatenate(tokens), np.concatenate(joint)


class _Forward:
    """The forward algorithm; `columns` may exchange, by kind of slot, whose habits are used."""

    def __init__(self, tables: _Tables, columns: dict[str, np.ndarray] | None = None) -> None:
        columns = columns or {}
        tries = [
            trie.of_columns(columns.get(kind))
            for trie, kind in zip(tables.tries, tables.kinds, strict=True)
        ]
        chances = tables.chances
        if "topics" in columns:
            chances = chances[:, columns["topics"]]
        self.n_words = tables.n_words
        self.first_words: dict[int, _State] = {}
        self.start = _State([], np.zeros(chances.shape[1]), np.ones(chances.shape[1]))
        for places, chance in zip(tables.templates, chances, strict=True):
            done = self._enter(tuple(tries[p] for p in places), 0, chance, self.start.readers)
            self.start.done[:] += done

    @staticmethod
    def _enter(
        tries: tuple[_Trie, ...], place: int, weight: np.ndarray, readers: list
    ) -> np.ndarray | float:
        """Stand before a slot, and behind it too where it may be empty; the weight at the end."""
        while place < len(tries):
            readers.append((tries, place, 0, weight))
            if not tries[place].can_end[0]:
                return 0.0
            weight = weight * tries[place].end[0]
            place += 1
        return weight

    def _after(self, path: list[_State], token: int) -> _State:
        """The state after one more word; those after the first word are kept for next time."""
        if len(path) > 1:
            return self.read(path[-1], token)
        if token not in self.first_words:
            self.first_words[token] = self.read(self.start, token)
        return self.first_words[token]

    def read(self, state: _State, token: int) -> _State:
        """The state after one more word."""
        readers: list = []
        done, joint = np.zeros_like(state.done), np.zeros_like(state.joint)
        for tries, place, node, weight in state.readers:
            trie = tries[place]
            child = trie.children[node].get(token)
            if child is None:
                continue
            joint += weight * trie.mass[child]
            if trie.children[child]:
                readers.append((tries, place, child, weight))
            if trie.can_end[child]:
                done += self._enter(tries, place + 1, weight * trie.end[child], readers)
        return _State(readers, done, joint)

    def next_words(self, state: _State, weights: np.ndarray | int) -> np.ndarray:
        """Probability of each next word, ``(words,)``: user *u* has prior `weights[u]`, or 1."""
        tokens, joint = state.continuations
        ways = joint[:, weights] if isinstance(weights, int) else joint @ weights
        total = ways.sum()
        if not total > 0:
            raise ValueError("the generator cannot have written this message")
        return np.bincount(tokens, ways / total, minlength=self.n_words)

    def states(self, messages: list[np.ndarray]) -> Iterator[tuple[int, list[_State]]]:
        """(place, states after 0, 1, ... words) of each message, in alphabetical order.

        So ordered, a message shares the states of the words it has in common with the last one.
        """
        keys = [tuple(int(t) for t in message) for message in messages]
        path: list[_State] = [self.start]
        last: tuple[int, ...] = ()
        for message in sorted(range(len(keys)), key=keys.__getitem__):
            key = keys[message]
            shared = _shared_prefix(last, key)
            del path[shared + 1 :]
            for token in key[shared:]:
                path.append(self._after(path, token))
            last = key
            yield message, path


def _shared_prefix(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def _joint(forward: _Forward, corpus: Corpus) -> np.ndarray:
    """Probability of each message up to each target, under each user, ``(targets, users)``."""
    first = np.cumsum(corpus.lengths + 1) - (corpus.lengths + 1)
    out = np.empty((corpus.n_tokens + len(corpus), len(forward.start.joint)))
    for message, states in forward.states([corpus.words(i) for i in range(len(corpus))]):
        begin, end = first[message], first[message] + len(states) - 1
        for row, state in zip(range(begin, end), states[1:], strict=True):
            out[row] = state.joint
        out[end] = states[-1].done
    return out


def _conditional(log_joint: np.ndarray, corpus: Corpus) -> np.ndarray:
    """Log-probability of each target given those before it, from that of the whole prefix."""
    first = np.cumsum(corpus.lengths + 1) - (corpus.lengths + 1)
    before = np.roll(log_joint, 1)
    before[first] = 0.0
    return log_joint - before


__all__ = ["KINDS", "Truth"]
