"""What can be learned of a user: at the ends, against enumeration, and between the bounds."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from companion.corpora import best_learner, messages
from companion.corpora.generator.grammar import default_grammar, parse_grammar
from companion.corpora.generator.learning import _counts, _personal, _style, _topics, learned
from companion.corpora.generator.messages import Choices, choose, messages_and_choices, spell
from companion.corpora.generator.profiles import (
    ANY_TOPIC,
    TOPIC_CONCENTRATION,
    Profiles,
    draw_profiles,
    habits,
    population,
    word_use,
)
from companion.corpora.generator.truth import Truth
from companion.measure import target_log_probs

TINY = parse_grammar("""
[style]
stop = ["", ".", "!"]
you = ["you", "u"]
[dialects.plain]
stop = [3, 1, 1]
you = [5, 1]
[dialects.short]
stop = [1, 4, 1]
you = [1, 9]
[personal.friend]
count = [1, 3]
words = ["ann", "bo", "cy", "di"]
[topics.meet]
templates = ["see {you} and {friend} {stop}", "{friend} or {friend}"]
[topics.cat]
templates = ["the cat", "cats {stop}"]
[topics.hi]
templates = ["hi {you}"]
""")


@pytest.fixture(scope="module")
def tiny() -> Profiles:
    return draw_profiles(TINY, 4, np.random.default_rng(3))


def nothing(grammar) -> Choices:
    return Choices(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 9), int))


def test_without_messages_the_mean_is_that_of_everybody():
    grammar = default_grammar()
    loadings = draw_profiles(grammar, 2, np.random.default_rng(0)).loadings
    everybody, weights = population(grammar, loadings, nodes=8)
    profiles = learned(grammar, loadings, nothing(grammar), 2)
    np.testing.assert_allclose(profiles.topics, 1 / len(grammar.topics))
    for slot in grammar.slots:
        mean = weights @ everybody.probabilities(slot)
        np.testing.assert_allclose(profiles.probabilities(slot), [mean, mean], atol=2e-3)


def test_with_very_many_messages_the_user_is_known():
    grammar = default_grammar()
    truth = draw_profiles(grammar, 3, np.random.default_rng(1))
    choices = choose(grammar, truth, np.repeat([0, 1, 2], 20_000), np.random.default_rng(2))
    profiles = learned(grammar, truth.loadings, choices, 3)
    np.testing.assert_allclose(profiles.topics, truth.topics, atol=0.01)
    np.testing.assert_array_equal(profiles.dialects, truth.dialects)
    for name in grammar.style:
        np.testing.assert_allclose(profiles.slots[name], truth.slots[name], atol=0.03)
    counts = _counts(grammar, choices, 3)
    for name, slot in grammar.personal.items():
        often = counts[slot].sum(axis=1) > 300  # so that the order of the words shows, too
        found, true = profiles.slots[name][often], truth.slots[name][often]
        np.testing.assert_allclose(found, true, atol=0.02, err_msg=name)
    assert np.mean([counts[k].sum(axis=1) > 300 for k in grammar.personal.values()]) > 0.5


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, 0, 0], [3, 1, 0], [2, 2, 4]])
def test_topics_agree_with_enumeration(counts):
    def evidence(messages):
        """Summed over which of the messages were on just any topic."""
        total = 0.0
        for preferred in product([False, True], repeat=len(messages)):
            probability, seen = 1.0, np.full(3, TOPIC_CONCENTRATION)
            for topic, prefers in zip(messages, preferred, strict=True):
                if prefers:
                    probability *= (1 - ANY_TOPIC) * seen[topic] / seen.sum()
                    seen[topic] += 1
                else:
                    probability *= ANY_TOPIC / 3
            total += probability
        return total

    so_far = list(np.repeat([0, 1, 2], counts))
    expected = [evidence([*so_far, topic]) / evidence(so_far) for topic in range(3)]
    np.testing.assert_allclose(_topics(np.array(counts, dtype=float)), expected, rtol=1e-12)


@pytest.mark.parametrize("counts", [[0, 0, 0, 0], [1, 0, 0, 0], [5, 2, 1, 0], [1, 1, 1, 9]])
@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 3), (2, 4)])
def test_personal_words_agree_with_enumeration(counts, least, most):
    every = [[np.array(own) for own in permutations(range(4), n)] for n in range(least, most + 1)]
    mean, total = 0.0, 0.0
    for use in (word_use(own, 4) for own in every):  # (tuples, words)
        weight = np.prod(use ** np.array(counts), axis=1) / len(use)
        mean, total = mean + weight @ use, total + weight.sum()
    found = _personal(np.array([counts, counts], dtype=float), least, most)
    np.testing.assert_allclose(found, [mean / total] * 2, rtol=1e-12)


def test_style_agrees_with_a_fine_grid(tiny):
    stop, you = TINY.style["stop"], TINY.style["you"]
    counts = {stop: np.array([[9.0, 1, 4], [0, 30, 0]]), you: np.array([[2.0, 3], [1, 0]])}
    axis = np.linspace(-6, 6, 49)
    grid = np.array(list(product(axis, repeat=3)))
    prior = np.exp(-(grid**2).sum(axis=1) / 2)
    every = [habits(TINY, np.full(len(grid), d), grid, tiny.loadings) for d in (0, 1)]
    found, dialects = _style(TINY, tiny.loadings, counts)
    for user in (0, 1):
        weights = [
            prior * np.prod([np.prod(s[k.name] ** counts[k][user], 1) for k in counts], axis=0)
            for s in every
        ]
        for name in ("stop", "you"):
            mean = sum(w @ s[name] for w, s in zip(weights, every, strict=True)) / np.sum(weights)
            np.testing.assert_allclose(found[name][user], mean, atol=2e-3)
        assert dialects[user] == np.argmax(np.sum(weights, axis=1))


def test_counts_are_those_of_the_text(tiny):
    users = np.repeat([0, 1, 2, 3], 50)
    choices = choose(TINY, tiny, users, np.random.default_rng(0))
    text = spell(TINY, choices, 4)
    counts = _counts(TINY, choices, 4)
    for slot in (TINY.style["you"], TINY.personal["friend"]):
        for user, place in product(range(4), range(len(slot.expansions))):
            word = text.vocabulary.encode(slot.expansions[place])[0]
            written = sum((text.words(i) == word).sum() for i in np.flatnonzero(users == user))
            assert counts[slot][user, place] == written


def test_only_training_messages_are_read():
    data, _, choices = messages_and_choices(20, 4, 40, 5, None)
    read = choices.select(data.train.times)
    np.testing.assert_array_equal(read.users, data.train.users)
    text = spell(default_grammar(), read, 24).with_vocabulary(data.vocabulary)
    assert [text.text(i) for i in range(0, len(text), 50)] == [
        data.train.text(i) for i in range(0, len(text), 50)
    ]


def test_its_loss_lies_between_the_bounds():
    data, truth = messages(known_users=60, new_users=4, seed=1)
    reader = best_learner(known_users=60, new_users=4, seed=1)
    assert isinstance(reader, Truth)
    assert reader.vocabulary == data.vocabulary
    few = data.test.select(np.arange(0, len(data.test), 2))
    aware, learner, blind = (
        -target_log_probs(model, few).mean() for model in (truth.aware, reader.aware, truth.blind)
    )
    assert aware + 0.02 < learner < blind - 0.2


def test_a_slot_that_no_template_has_is_expected_as_of_anybody(tiny):
    grammar = replace(TINY, templates=TINY.templates[2:3])
    profiles = learned(grammar, tiny.loadings, nothing(grammar), 1)
    np.testing.assert_allclose(profiles.slots["friend"], 1 / 4)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 2 known users"):
        best_learner(known_users=1)
