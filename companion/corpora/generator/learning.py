"""What can be learned of the users of *Messages* from their training messages."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from .grammar import Grammar, Slot
from .messages import Choices, messages_and_choices
from .profiles import (
    ANY_TOPIC,
    FOREIGN_WORDS,
    STYLE_DIMENSIONS,
    TOPIC_CONCENTRATION,
    Profiles,
    character_grid,
    habits,
    word_use,
)
from .truth import Truth

NODES = 3  # of the quadrature over a user's character, in each dimension
STEPS = 16  # of Newton's method to its mode


def best_learner(
    known_users: int = 400,
    new_users: int = 40,
    median_messages: int = 55,
    seed: int = 0,
    grammar: Grammar | None = None,
) -> Truth:
    """What can be known of each user from the training messages: a reader between the bounds.

    The user-aware bound is told the user; a learner has to find out. This one knows how the corpus
    is generated, grammar and law of the users included, and sees which template, variants and
    personal words each user chose in the training messages. It expects of each user the posterior
    mean: of the topics, of each style point (all of them together tell dialect and character) and
    of each personal category. ``best_learner().aware`` is a model that predicts with these means.

    As a ceiling for models it is optimistic: choices tell more than text does, such as which *max*
    was the boss and which a friend. As a Bayesian it holds back a little: the means are used slot
    by slot, so that what a message shows of its author does not help with the rest of it, and
    categories that share a list of words are learned apart. (In the default corpus, to be told
    which names belong to the user's other categories would change its loss by 0.00001 nats.)

    Parameters
    ----------
    known_users, new_users, median_messages, seed, grammar
        As in :func:`companion.corpora.messages`: it is the learner of the corpus that they give.

    Returns
    -------
    Truth
        Its profiles are the means; `dialects` holds the likeliest, `own` nothing. New users have
        no training messages, so of them it expects what it does of anybody.
    """
    data, truth, choices = messages_and_choices(
        known_users, new_users, median_messages, seed, grammar
    )
    read = choices.select(data.train.times)
    profiles = learned(truth.grammar, truth.profiles.loadings, read, len(truth.profiles))
    return Truth(truth.grammar, profiles, data.vocabulary, data.train.message_counts)


def learned(
    grammar: Grammar, loadings: dict[str, np.ndarray], choices: Choices, n_users: int
) -> Profiles:
    """What is expected of each user who made these choices, see :func:`best_learner`."""
    topics = np.zeros((n_users, len(grammar.topics)))
    in_topic = np.array([template.topic for template in grammar.templates])
    np.add.at(topics, (choices.users, in_topic[choices.templates]), 1)
    counts = _counts(grammar, choices, n_users)
    slots, dialects = _style(grammar, loadings, counts)
    for name, slot in grammar.personal.items():
        slots[name] = _personal(counts[slot], *grammar.personal_counts[name])
    return Profiles(np.array([_topics(row) for row in topics]), dialects, slots, {}, loadings)


def _counts(grammar: Grammar, choices: Choices, n_users: int) -> dict[Slot, np.ndarray]:
    """How often each user chose each expansion of each slot, ``(users, expansions)``."""
    slots = *grammar.slots, *grammar.style.values(), *grammar.personal.values()  # used or not
    counts = {slot: np.zeros((n_users, len(slot.expansions))) for slot in slots}
    for number, template in enumerate(grammar.templates):
        here = choices.templates == number
        for place, slot in enumerate(template.slots):
            np.add.at(counts[slot], (choices.users[here], choices.expansions[here, place]), 1)
    return counts


def _topics(counts: np.ndarray) -> np.ndarray:
    """How likely each topic is for one user, given the messages on each, ``(topics,)``.

    The mean of the Dirichlet posterior, corrected for messages that were on just any topic. Exact.
    """
    preferred = (counts + TOPIC_CONCENTRATION) / (counts + TOPIC_CONCENTRATION).sum()
    with_one_more = [_any_topic(row) for row in counts + np.eye(len(counts))]
    return (1 - ANY_TOPIC) * preferred * with_one_more / _any_topic(counts)


def _any_topic(counts: np.ndarray) -> float:
    """How many times likelier these counts are if messages may also be on just any topic.

    A sum over how many of them were, topic by topic and then together.
    """
    total, everything = counts.sum(), TOPIC_CONCENTRATION * len(counts)
    scale = total + 1  # keeps all factors near one
    odds = ANY_TOPIC / (1 - ANY_TOPIC) / len(counts) * scale
    ways = np.ones(1)
    for n in counts[counts > 0]:
        j = np.arange(n)
        ratios = odds * (n - j) / (j + 1) / (TOPIC_CONCENTRATION + n - 1 - j)
        ways = np.convolve(ways, np.cumprod([1, *ratios]))
    return float(ways @ np.cumprod([1, *(everything + total - 1 - np.arange(total)) / scale]))


def _style(
    grammar: Grammar, loadings: dict[str, np.ndarray], counts: dict[Slot, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How likely each variant is for each user, by style point; and the likeliest dialects.

    For each user and dialect, Gauss-Hermite quadrature over the character around its mode; five
    nodes instead of three move no probability of the default corpus by more than 0.0004.
    """
    chosen = {name: counts[grammar.style[name]] for name in loadings}
    mode, spread = _characters(grammar, loadings, chosen)
    grid, weights = character_grid(NODES)
    character = mode[:, :, None] + grid @ spread.swapaxes(-1, -2)
    users, n_dialects, nodes, _ = character.shape
    log = np.log(weights) + (grid**2).sum(axis=-1) / 2 - (character**2).sum(axis=-1) / 2
    log += np.linalg.slogdet(spread)[1][..., None]  # (users, dialects, nodes)
    log = log.reshape(users, -1)
    dialects = np.tile(np.repeat(np.arange(n_dialects), nodes), users)
    said = habits(grammar, dialects, character.reshape(len(dialects), -1), loadings)
    for name, variants in said.items():
        said[name] = variants.reshape(*log.shape, -1)  # (users, dialects * nodes, variants)
        log += np.einsum("uv,unv->un", chosen[name], np.log(said[name]))
    mass = np.exp(log - logsumexp(log, axis=1, keepdims=True))
    slots = {name: np.einsum("un,unv->uv", mass, variants) for name, variants in said.items()}
    return slots, mass.reshape(users, n_dialects, nodes).sum(axis=2).argmax(axis=1)


def _characters(
    grammar: Grammar, loadings: dict[str, np.ndarray], chosen: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest character for each user and dialect, and a root of its covariance.

    ``(users, dialects, dimensions)`` and one axis more. Newton's method; the problem is concave.
    """
    n_dialects = len(grammar.dialects)
    chosen = {name: np.repeat(counts, n_dialects, axis=0) for name, counts in chosen.items()}
    dialects = np.arange(len(next(iter(chosen.values())))) % n_dialects
    mode = np.zeros((len(dialects), STYLE_DIMENSIONS))
    for _ in range(STEPS):
        slope, curvature = -mode, np.eye(STYLE_DIMENSIONS)
        for name, said in habits(grammar, dialects, mode, loadings).items():
            expected = said * chosen[name].sum(axis=1, keepdims=True)  # (rows, variants)
            slope = slope + (chosen[name] - expected) @ loadings[name].T
            centered = loadings[name] - (said @ loadings[name].T)[..., None]
            curvature = curvature + (centered * expected[:, None]) @ centered.swapaxes(1, 2)
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        # A long step would overshoot, far from the mode for a dialect that is not the user's.
        mode += step / np.maximum(1, np.linalg.norm(step, axis=1, keepdims=True))
    spread = np.linalg.inv(np.linalg.cholesky(curvature)).swapaxes(1, 2)
    shape = -1, n_dialects, STYLE_DIMENSIONS
    return mode.reshape(shape), spread.reshape(*shape, STYLE_DIMENSIONS)


def _personal(counts: np.ndarray, least: int, most: int) -> np.ndarray:
    """How likely each word of one category is for each user, ``(users, words)``.

    The sum over everything that the user's own words and their order can be. Exact.
    """
    n_words = counts.shape[1]
    evidence, use = [], []
    foreign = FOREIGN_WORDS / n_words
    for size in range(least, most + 1):
        ranked = word_use([np.arange(size)], n_words)[0, :size]  # how likely an own word is
        log = np.log(ranked / foreign)[:, None, None] * counts.T  # (ranks, words, users)
        before, after = _ways(log), _ways(log[:, ::-1])[::-1]  # (words + 1, ranks given, users)
        total = before[-1, -1]
        masks = np.arange(2**size)
        rows = np.full(counts.shape, foreign)
        for rank in range(size):
            without = masks[masks & (1 << rank) == 0]
            rest = masks[-1] - without - (1 << rank)
            has = logsumexp(before[:-1, without] + after[1:, rest], axis=1) + log[rank] - total
            rows += (ranked[rank] - foreign) * np.exp(has).T
        evidence.append(total - np.log(n_words - np.arange(size)).sum())
        use.append(rows)
    weights = np.exp(evidence - logsumexp(evidence, axis=0))  # (sizes, users)
    return np.einsum("su,suw->uw", weights, use)


def _ways(log: np.ndarray) -> np.ndarray:
    """Summed over how the first words can have some of the ranks, no two the same: log-weights.

    `log` is what a word at a rank contributes, ``(ranks, words, users)``; the result is
    ``(words + 1, 2 ** ranks, users)``, a set of ranks being a binary number.
    """
    ranks, words, users = log.shape
    masks = np.arange(2**ranks)
    ways = np.full((words + 1, len(masks), users), -np.inf)
    ways[0, 0] = 0.0
    for word in range(words):
        ways[word + 1] = ways[word]
        for rank in range(ranks):
            without = masks[masks & (1 << rank) == 0]
            given = ways[word, without] + log[rank, word]
            into = without + (1 << rank)
            ways[word + 1, into] = np.logaddexp(ways[word + 1, into], given)
    return ways
