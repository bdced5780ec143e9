"""The forward algorithm over the grammar: every way in which a message can have been written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from companion.corpora.corpus import Corpus
from companion.corpora.vocabulary import END, Vocabulary

from .grammar import Expansion, Grammar, Slot
from .profiles import Profiles


@dataclass(frozen=True, eq=False)
class Trie:
    """The expansions of one slot, merged where they begin alike.

    `mass[node]` is how likely an expansion through the node is, `end[node]` how likely one that
    ends there; both ``(nodes, users)``. Expansions that the vocabulary cannot tell apart merge,
    so ``<unknown>`` needs no special case.
    """

    children: tuple[dict[int, int], ...]
    mass: np.ndarray
    end: np.ndarray

    @classmethod
    def compile(cls, expansions: list[tuple[int, ...]], probabilities: np.ndarray) -> Trie:
        """From the expansions in token ids and their probabilities, ``(users, expansions)``."""
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

    def of_columns(self, columns: np.ndarray | None) -> Trie:
        """With the habits of these users in place of its own, ``(users,)``."""
        if columns is None:
            return self
        return Trie(self.children, self.mass[:, columns], self.end[:, columns])

    @cached_property
    def can_end(self) -> np.ndarray:
        """Whether an expansion may end at each node, ``(nodes,)``."""
        return np.any(self.end, axis=1)

    @cached_property
    def next_words(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each node, the tokens that may follow inside the slot and their mass."""
        return [(np.array(list(c), dtype=int), self.mass[list(c.values())]) for c in self.children]


@dataclass(frozen=True, eq=False)
class Tables:
    """The grammar in token ids: for each template its tries, and its chance for each user."""

    templates: tuple[tuple[int, ...], ...]  # places in `tries`
    tries: tuple[Trie, ...]
    kinds: tuple[str, ...]
    chances: np.ndarray  # (templates, users)
    n_words: int

    @classmethod
    def compile(cls, grammar: Grammar, profiles: Profiles, vocabulary: Vocabulary) -> Tables:
        """From the grammar, the habits of its users and the words that have an id."""
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


def _slot_trie(slot: Slot, profiles: Profiles, vocabulary: Vocabulary) -> Trie:
    expansions = [_ids(expansion, vocabulary) for expansion in slot.expansions]
    return Trie.compile(expansions, profiles.probabilities(slot))


def _ids(expansion: Expansion, vocabulary: Vocabulary) -> tuple[int, ...]:
    return tuple(int(i) for i in vocabulary.encode(expansion))


@dataclass(frozen=True, eq=False)
class State:
    """All ways to have written a message so far.

    Each reader is (tries of the template, place in it, node in that trie, weight): the weight is
    the joint probability of all choices made before this slot, ``(users,)``. `done` is the weight
    of the messages that end here; `joint` the probability of the prefix.
    """

    readers: list[tuple[tuple[Trie, ...], int, int, np.ndarray]]
    done: np.ndarray
    joint: np.ndarray

    @cached_property
    def continuations(self) -> tuple[np.ndarray, np.ndarray]:
        """What may follow: tokens ``(ways,)`` and their joint probability ``(ways, users)``."""
        weights: dict[tuple[Trie, int], np.ndarray] = {}
        for tries, place, node, weight in self.readers:  # templates often wait at the same slot
            key = tries[place], node
            weights[key] = weights[key] + weight if key in weights else weight
        followers = [(trie.next_words[node], weight) for (trie, node), weight in weights.items()]
        tokens = [np.array([END]), *(words for (words, _), _ in followers)]
        joint = [self.done[None], *(mass * weight for (_, mass), weight in followers)]
        return np.concatenate(tokens), np.concatenate(joint)


class Forward:
    """The forward algorithm; `columns` may exchange, by kind of slot, whose habits are used."""

    def __init__(self, tables: Tables, columns: dict[str, np.ndarray] | None = None) -> None:
        columns = columns or {}
        tries = [
            trie.of_columns(columns.get(kind))
            for trie, kind in zip(tables.tries, tables.kinds, strict=True)
        ]
        chances = tables.chances
        if "topics" in columns:
            chances = chances[:, columns["topics"]]
        self.n_words = tables.n_words
        self.first_words: dict[int, State] = {}
        self.start = State([], np.zeros(chances.shape[1]), np.ones(chances.shape[1]))
        for places, chance in zip(tables.templates, chances, strict=True):
            done = self._enter(tuple(tries[p] for p in places), 0, chance, self.start.readers)
            self.start.done[:] += done

    @staticmethod
    def _enter(
        tries: tuple[Trie, ...], place: int, weight: np.ndarray, readers: list
    ) -> np.ndarray | float:
        """Stand before a slot, and behind it too where it may be empty; the weight at the end."""
        while place < len(tries):
            readers.append((tries, place, 0, weight))
            if not tries[place].can_end[0]:
                return 0.0
            weight = weight * tries[place].end[0]
            place += 1
        return weight

    def _after(self, path: list[State], token: int) -> State:
        """The state after one more word; those after the first word are kept for next time."""
        if len(path) > 1:
            return self.read(path[-1], token)
        if token not in self.first_words:
            self.first_words[token] = self.read(self.start, token)
        return self.first_words[token]

    def read(self, state: State, token: int) -> State:
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
        return State(readers, done, joint)

    def next_words(self, state: State, weights: np.ndarray | int) -> np.ndarray:
        """Probability of each next word, ``(words,)``: user *u* has prior `weights[u]`, or 1."""
        tokens, joint = state.continuations
        ways = joint[:, weights] if isinstance(weights, int) else joint @ weights
        total = ways.sum()
        if not total > 0:
            raise ValueError("the generator cannot have written this message")
        return np.bincount(tokens, ways / total, minlength=self.n_words)

    def states(self, messages: list[np.ndarray]) -> Iterator[tuple[int, list[State]]]:
        """(place, states after 0, 1, ... words) of each message, in alphabetical order.

        So ordered, a message shares the states of the words it has in common with the last one.
        """
        keys = [tuple(int(t) for t in message) for message in messages]
        path: list[State] = [self.start]
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


def joint_of(forward: Forward, corpus: Corpus) -> np.ndarray:
    """Probability of each message up to each target, under each user, ``(targets, users)``."""
    first = np.cumsum(corpus.lengths + 1) - (corpus.lengths + 1)
    out = np.empty((corpus.n_tokens + len(corpus), len(forward.start.joint)))
    for message, states in forward.states([corpus.words(i) for i in range(len(corpus))]):
        begin, end = first[message], first[message] + len(states) - 1
        for row, state in zip(range(begin, end), states[1:], strict=True):
            out[row] = state.joint
        out[end] = states[-1].done
    return out


def conditional(log_joint: np.ndarray, corpus: Corpus) -> np.ndarray:
    """Log-probability of each target given those before it, from that of the whole prefix."""
    first = np.cumsum(corpus.lengths + 1) - (corpus.lengths + 1)
    before = np.roll(log_joint, 1)
    before[first] = 0.0
    return log_joint - before
