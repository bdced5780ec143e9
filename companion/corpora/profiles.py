"""The writers of the corpus *Messages*: what is true of each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from .grammar import Grammar, Slot

TOPIC_CONCENTRATION = 0.2  # Dirichlet: below 1, most users keep to a few topics
STYLE_DIMENSIONS = 3  # how users of one dialect differ: this many numbers each ...
STYLE_SPREAD = 0.3  # ... and how far apart they are, in logits
FOREIGN_WORDS = 0.25  # how often a personal slot holds a word that is not the user's own


@dataclass(frozen=True, eq=False)
class Profiles:
    """What is true of each user.

    Parameters
    ----------
    topics : np.ndarray
        How likely each topic is, ``(users, topics)``.
    dialects : np.ndarray
        The dialect of each user, a number, ``(users,)``.
    slots : dict of str to np.ndarray
        For each style point and personal category, how likely each expansion is,
        ``(users, expansions)``.
    own : dict of str to list of np.ndarray
        For each personal category and user, the places of the user's own words in the list, the
        most used first.
    """

    topics: np.ndarray
    dialects: np.ndarray
    slots: dict[str, np.ndarray]
    own: dict[str, list[np.ndarray]]

    def __len__(self) -> int:
        return len(self.topics)

    def probabilities(self, slot: Slot) -> np.ndarray:
        """How likely each expansion of any slot is, for each user, ``(users, expansions)``."""
        if slot.name in self.slots and slot.kind != "literal":
            return self.slots[slot.name]
        n = len(slot.expansions)
        return np.full((len(self), n), 1.0 / n)


def draw_profiles(grammar: Grammar, users: int, rng: np.random.Generator) -> Profiles:
    """Draw users at random, the dialects as equally often as the number allows."""
    dialects = rng.permutation(np.arange(users) % len(grammar.dialects))
    character = rng.normal(size=(users, STYLE_DIMENSIONS))
    slots = {name: _habits(grammar, name, dialects, character, rng) for name in grammar.style}
    own = _own_words(grammar, users, rng)
    for name, entries in own.items():
        slots[name] = _word_use(entries, len(grammar.personal[name].expansions))
    concentration = np.full(len(grammar.topics), TOPIC_CONCENTRATION)
    topics = rng.dirichlet(concentration, size=users)
    # Nobody avoids a topic for good: every message must be possible for every user.
    topics = 0.98 * topics + 0.02 / len(grammar.topics)
    return Profiles(topics, dialects, slots, own)


def _habits(
    grammar: Grammar,
    name: str,
    dialects: np.ndarray,
    character: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """How each user says one thing: the dialect's habit, shifted by the user's character."""
    typical = np.array([weights[name] for weights in grammar.dialects.values()])
    loading = rng.normal(scale=STYLE_SPREAD, size=(character.shape[1], typical.shape[1]))
    weights = typical[dialects] * np.exp(character @ loading)  # (users, variants)
    return weights / weights.sum(axis=1, keepdims=True)


def _own_words(
    grammar: Grammar, users: int, rng: np.random.Generator
) -> dict[str, list[np.ndarray]]:
    """Each user's words of each category; nobody is called like both a friend and the boss.

    Categories that draw from the same list share one shuffled list and take from it in turn.
    """
    own: dict[str, list[np.ndarray]] = {name: [] for name in grammar.personal}
    for _ in range(users):
        shuffled: dict[tuple, Iterator[int]] = {}
        for name, slot in grammar.personal.items():
            order = rng.permutation(len(slot.expansions))
            left = shuffled.setdefault(slot.expansions, iter(order))
            count = rng.integers(*grammar.personal_counts[name], endpoint=True)
            own[name].append(np.fromiter(islice(left, count), dtype=int))
    return own


def _word_use(own: list[np.ndarray], entries: int) -> np.ndarray:
    """Own words as often as 1, 1/2, 1/3, ...; now and then any word of the list."""
    use = np.full((len(own), entries), FOREIGN_WORDS / entries)
    for user, words in enumerate(own):
        weights = 1.0 / np.arange(1, len(words) + 1)
        use[user, words] += (1 - FOREIGN_WORDS) * weights / weights.sum()
    return use
