"""The writers of the corpus *Messages*: what is true of each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from .grammar import Grammar, Slot

TOPIC_CONCENTRATION = 0.2  # Dirichlet: below 1, most users keep to a few topics
ANY_TOPIC = 0.02  # how often a message is about any topic, whatever its author prefers
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
    loadings : dict of str to np.ndarray
        For each style point, how the users' character shifts the logits of its variants,
        ``(STYLE_DIMENSIONS, variants)``: a law of the generator, the same for everybody.
    """

    topics: np.ndarray
    dialects: np.ndarray
    slots: dict[str, np.ndarray]
    own: dict[str, list[np.ndarray]]
    loadings: dict[str, np.ndarray]

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
    loadings = {
        name: rng.normal(scale=STYLE_SPREAD, size=(STYLE_DIMENSIONS, len(slot.expansions)))
        for name, slot in grammar.style.items()
    }
    slots = habits(grammar, dialects, character, loadings)
    own = _own_words(grammar, users, rng)
    for name, entries in own.items():
        slots[name] = word_use(entries, len(grammar.personal[name].expansions))
    concentration = np.full(len(grammar.topics), TOPIC_CONCENTRATION)
    topics = rng.dirichlet(concentration, size=users)
    # Nobody avoids a topic for good: every message must be possible for every user.
    topics = (1 - ANY_TOPIC) * topics + ANY_TOPIC / len(grammar.topics)
    return Profiles(topics, dialects, slots, own, loadings)


def population(
    grammar: Grammar, loadings: dict[str, np.ndarray], nodes: int = 4
) -> tuple[Profiles, np.ndarray]:
    """Stand-ins for all users who could be drawn, and the weight of each, ``(users,)``.

    Averaged over them, the probability of a message is its expectation over a user not drawn yet.
    Dialects are counted; the numbers of a user's character are integrated out by Gauss-Hermite
    quadrature with this many nodes each; topics and personal words, of which a message shows one
    draw each, enter by their mean, which is uniform.
    """
    grid, mass = character_grid(nodes)
    n_dialects, n_topics = len(grammar.dialects), len(grammar.topics)
    dialects = np.repeat(np.arange(n_dialects), len(grid))
    slots = habits(grammar, dialects, np.tile(grid, (n_dialects, 1)), loadings)
    for name, slot in grammar.personal.items():
        slots[name] = np.full((len(dialects), len(slot.expansions)), 1 / len(slot.expansions))
    topics = np.full((len(dialects), n_topics), 1 / n_topics)
    prior = np.tile(mass, n_dialects)
    return Profiles(topics, dialects, slots, {}, loadings), prior / prior.sum()


def character_grid(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite quadrature over characters, with this many nodes in each dimension.

    Returns
    -------
    characters, weights : np.ndarray
        ``(grid, STYLE_DIMENSIONS)`` and ``(grid,)``; the weights do not sum to one.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(product(points, repeat=STYLE_DIMENSIONS)))
    return grid, np.prod(list(product(weights, repeat=STYLE_DIMENSIONS)), axis=1)


def habits(
    grammar: Grammar, dialects: np.ndarray, character: np.ndarray, loadings: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """How each user says each thing: the dialect's habit, shifted by the user's character.

    Parameters
    ----------
    grammar : Grammar
    dialects : np.ndarray
        ``(users,)``.
    character : np.ndarray
        ``(users, STYLE_DIMENSIONS)``.
    loadings : dict of str to np.ndarray
        As in :class:`Profiles`.

    Returns
    -------
    dict of str to np.ndarray
        For each style point, how likely each variant is, ``(users, variants)``.
    """
    said = {}
    for name, loading in loadings.items():
        typical = np.array([weights[name] for weights in grammar.dialects.values()])
        weights = typical[dialects] * np.exp(character @ loading)  # (users, variants)
        said[name] = weights / weights.sum(axis=1, keepdims=True)
    return said


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
            count = int(rng.integers(*grammar.personal_counts[name], endpoint=True))
            own[name].append(np.fromiter(islice(left, count), dtype=int))
    return own


def word_use(own: list[np.ndarray], entries: int) -> np.ndarray:
    """Own words as often as 1, 1/2, 1/3, ...; now and then any word of the list.

    Parameters
    ----------
    own : list of np.ndarray
        For each user, the places of the user's own words in the list, the most used first.
    entries : int
        Words of the list.

    Returns
    -------
    np.ndarray
        How likely each word is, ``(users, entries)``.
    """
    use = np.full((len(own), entries), FOREIGN_WORDS / entries)
    for user, words in enumerate(own):
        weights = 1.0 / np.arange(1, len(words) + 1)
        use[user, words] += (1 - FOREIGN_WORDS) * weights / weights.sum()
    return use
