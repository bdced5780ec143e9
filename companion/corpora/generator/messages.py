"""The default corpus: short phone messages whose exact probabilities are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from companion.checks import check_ids
from companion.corpora.corpus import Corpus, Split, in_order, split
from companion.corpora.vocabulary import Vocabulary
from companion.settings import check_integer

from .grammar import Grammar, Slot, default_grammar
from .profiles import Profiles, draw_profiles
from .truth import Truth

SHORTEST, LONGEST = 30, 1000  # messages of a known user
TAIL = 1.4  # standard deviation of the logarithm of the messages beyond the shortest
SITTING = 1  # stirred into the seed of further messages, which must not repeat the corpus
NEW_USER_MESSAGES = 120  # so that every new user has 80 for support and 40 to test


def messages(
    known_users: int = 400,
    new_users: int = 40,
    median_messages: int = 55,
    seed: int = 0,
    grammar: Grammar | None = None,
) -> tuple[Split, Truth]:
    """Generate the corpus *Messages* and the truth about it.

    Parameters
    ----------
    known_users, new_users : int
        Users to train on, and users held out whole.
    median_messages : int
        Half the known users have more. Lengths have a heavy tail, from 30 to 1,000 messages.
    seed : int
        The same seed gives the same corpus on every machine.
    grammar : Grammar, optional
        The package's own, if not given.

    Returns
    -------
    data : Split
    truth : Truth
        The exact probabilities: ``truth.aware`` and ``truth.blind`` bound every model's loss.
    """
    data, truth, _ = messages_and_choices(known_users, new_users, median_messages, seed, grammar)
    return data, truth


@dataclass(frozen=True, eq=False)
class Choices:
    """What was chosen in writing each message, which is more than its text tells.

    Parameters
    ----------
    users : np.ndarray
        Who wrote each message, ``(messages,)``.
    templates : np.ndarray
        The number of its template, ``(messages,)``.
    expansions : np.ndarray
        The place of what fills each slot of the template among the slot's expansions, -1 where
        the template has no more slots, ``(messages, slots)``.
    """

    users: np.ndarray
    templates: np.ndarray
    expansions: np.ndarray

    def select(self, messages: np.ndarray) -> Choices:
        """The messages at these places, such as ``data.train.times``."""
        return Choices(self.users[messages], self.templates[messages], self.expansions[messages])


def messages_and_choices(
    known_users: int, new_users: int, median_messages: int, seed: int, grammar: Grammar | None
) -> tuple[Split, Truth, Choices]:
    """What :func:`messages` gives, and the choices: a message's time is its place among them."""
    if known_users < 2 or new_users < 0:
        raise ValueError(
            f"needs at least 2 known users and 0 new ones, not {known_users} and {new_users}"
        )
    if not SHORTEST < median_messages <= LONGEST:
        raise ValueError(
            f"median_messages must be above {SHORTEST} and at most {LONGEST}, not {median_messages}"
        )
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    grammar = grammar or default_grammar()
    rng = np.random.default_rng(seed)
    profiles = draw_profiles(grammar, known_users + new_users, rng)
    known = rng.permutation(_history_lengths(known_users, median_messages))
    lengths = np.concatenate([known, np.full(new_users, NEW_USER_MESSAGES)])
    users = np.repeat(np.arange(len(lengths)), lengths)
    choices = choose(grammar, profiles, users, rng)
    corpus = spell(grammar, choices, len(profiles))
    data = split(corpus, new_users=list(range(known_users, known_users + new_users)))
    truth = Truth(grammar, profiles, data.vocabulary, data.train.message_counts)
    return data, truth, choices


def sitting(truth: Truth, users: np.ndarray, messages: int, seed: int = 0) -> Corpus:
    """Messages that the same people write on top of the corpus, which nobody has trained on.

    Parameters
    ----------
    truth : Truth
        What :func:`messages` gives with the corpus.
    users : np.ndarray
        Ids of known or new users, each once.
    messages : int
        How many each of them writes.
    seed : int
        Other messages for another seed.

    Returns
    -------
    Corpus
        In the vocabulary of the corpus, by user and time.

    Raises
    ------
    TypeError, ValueError
        If a user does not exist or is named twice, or `messages` is below 1.
    """
    messages = check_integer("messages", messages, at_least=1)
    users = check_ids("user", users, len(truth.profiles), ndim=1)
    if len(np.unique(users)) < len(users):
        raise ValueError("users must name each user once")
    rng = np.random.default_rng([seed, SITTING])
    written = write(truth.grammar, truth.profiles, np.repeat(users, messages), rng)
    return written.with_vocabulary(truth.vocabulary)


def write(
    grammar: Grammar, profiles: Profiles, users: np.ndarray, rng: np.random.Generator
) -> Corpus:
    """Let each of these users write one message, ``(messages,)`` user ids in order of time."""
    return spell(grammar, choose(grammar, profiles, users, rng), len(profiles))


def choose(
    grammar: Grammar, profiles: Profiles, users: np.ndarray, rng: np.random.Generator
) -> Choices:
    """Let each of these users choose a template and what fills its slots."""
    n_topics = np.bincount([template.topic for template in grammar.templates])
    in_topic = np.array([template.topic for template in grammar.templates])
    chance = profiles.topics[:, in_topic] / n_topics[in_topic]  # (users, templates)
    template = _choose(chance[users], rng)
    width = max(len(t.slots) for t in grammar.templates)
    expansions = np.full((len(users), width), -1)
    for number in range(len(grammar.templates)):
        here = np.flatnonzero(template == number)
        for place, slot in enumerate(grammar.templates[number].slots):
            expansions[here, place] = _choose(profiles.probabilities(slot)[users[here]], rng)
    return Choices(users, template, expansions)


def spell(grammar: Grammar, choices: Choices, n_users: int) -> Corpus:
    """The messages in which these choices result, written one after the other."""
    lexicon = _Lexicon.of(grammar)
    first = np.zeros((len(grammar.templates), choices.expansions.shape[1]), dtype=np.int64)
    for number, template in enumerate(grammar.templates):
        first[number, : len(template.slots)] = [lexicon.first[slot] for slot in template.slots]
    numbers = first[choices.templates] + choices.expansions  # (messages, slots)
    tokens, lengths = lexicon.join(np.where(choices.expansions < 0, 0, numbers))
    return in_order(
        tokens=tokens,
        lengths=lengths,
        users=choices.users,
        times=np.arange(len(choices.users)),
        vocabulary=lexicon.vocabulary,
        user_names=tuple(f"user {i}" for i in range(n_users)),
    )


def _history_lengths(users: int, median: int) -> np.ndarray:
    """Evenly spaced quantiles of a heavy-tailed law: the same lengths whatever the seed."""
    quantiles = (np.arange(users) + 0.5) / users
    lengths = SHORTEST + (median - SHORTEST) * np.exp(TAIL * ndtri(quantiles))
    return np.minimum(np.round(lengths), LONGEST).astype(int)


def _choose(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One choice a row, by inverting the cumulative sum, ``(rows,)``."""
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative /= cumulative[:, -1:]
    return (rng.random((len(probabilities), 1)) > cumulative).sum(axis=1)


@dataclass(frozen=True, eq=False)
class _Lexicon:
    """Every expansion of every slot, as ids in one flat array; expansion 0 is empty."""

    vocabulary: Vocabulary
    first: dict[Slot, int]
    tokens: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, grammar: Grammar) -> _Lexicon:
        vocabulary = Vocabulary.from_words(grammar.words)
        first: dict[Slot, int] = {}
        expansions: list[tuple[str, ...]] = [()]
        for slot in grammar.slots:
            first[slot] = len(expansions)
            expansions.extend(slot.expansions)
        offsets = np.cumsum([0, *(len(expansion) for expansion in expansions)])
        tokens = vocabulary.encode(word for expansion in expansions for word in expansion)
        return cls(vocabulary, first, tokens, offsets)

    def join(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens one after the other, and the length of each message."""
        sizes = np.diff(self.offsets)[chosen]  # (messages, places)
        flat, starts = sizes.ravel(), self.offsets[chosen].ravel()
        within = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
        return self.tokens[np.repeat(starts, flat) + within], sizes.sum(axis=1)
