"""The exact bounds, against brute force on a tiny grammar and against sampling on the real one."""

from collections import defaultdict
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from companion.corpora import END, PADDING, Vocabulary
from companion.corpora.generator.grammar import Grammar, parse_grammar
from companion.corpora.generator.messages import messages, write
from companion.corpora.generator.profiles import Profiles, draw_profiles, population
from companion.corpora.generator.truth import KINDS, Truth

TINY = """
frame = "{opening} {body} {ending}"
[style]
opening = ["", "hi", "hi there"]
ending = ["", "!", "! !"]
you = ["you", "u"]
[dialects.plain]
opening = [3, 1, 1]
ending = [4, 1, 1]
you = [5, 1]
[dialects.short]
opening = [1, 4, 1]
ending = [1, 1, 3]
you = [1, 9]
[personal.friend]
count = [1, 2]
words = ["ann", "bo", "bo li"]
[common]
time = ["1", "2"]
[topics.meet]
templates = ["see {you} at {time}", "{friend} and {you}", "hi"]
[topics.cat]
templates = ["the cat {friend} bit {friend}", "the cat"]
"""


@pytest.fixture(scope="module")
def tiny() -> tuple[Grammar, Profiles]:
    grammar = parse_grammar(TINY)
    return grammar, draw_profiles(grammar, 4, np.random.default_rng(3))


def enumerate_messages(grammar: Grammar, profiles: Profiles, user: int) -> dict[tuple, float]:
    """Probability of every message, by listing every way to write it."""
    topics = np.array([t.topic for t in grammar.templates])
    total = defaultdict(float)
    for template in grammar.templates:
        chance = profiles.topics[user, template.topic] / (topics == template.topic).sum()
        options = [
            list(zip(s.expansions, profiles.probabilities(s)[user], strict=True))
            for s in template.slots
        ]
        for choice in product(*options):
            words = tuple(word for expansion, _ in choice for word in expansion)
            total[words] += chance * np.prod([p for _, p in choice])
    return total


def truth_for(tiny: tuple[Grammar, Profiles], vocabulary: Vocabulary | None = None) -> Truth:
    grammar, profiles = tiny
    vocabulary = vocabulary or Vocabulary.from_words(grammar.words)
    return Truth(grammar, profiles, vocabulary, np.array([5, 1, 2, 0]))


def as_tokens(message: tuple[str, ...], vocabulary: Vocabulary) -> np.ndarray:
    return np.array([[1, *vocabulary.encode(message)]], dtype=np.int32)


def message_log_prob(log_probs: np.ndarray, tokens: np.ndarray) -> float:
    targets = [*tokens[0, 1:], END]
    return float(sum(log_probs[0, step, target] for step, target in enumerate(targets)))


def test_every_message_has_its_enumerated_probability(tiny):
    truth = truth_for(tiny)
    listed = [enumerate_messages(*tiny, user) for user in range(4)]
    for user, table in enumerate(listed):
        assert sum(table.values()) == pytest.approx(1)
        for message, probability in table.items():
            tokens = as_tokens(message, truth.vocabulary)
            aware = message_log_prob(truth.aware(tokens, np.array([user])), tokens)
            assert np.exp(aware) == pytest.approx(probability)
    for message in listed[0]:
        mixture = sum(p * t[message] for p, t in zip(truth.prior, listed, strict=True))
        tokens = as_tokens(message, truth.vocabulary)
        assert np.exp(message_log_prob(truth.blind(tokens), tokens)) == pytest.approx(mixture)


def test_words_outside_the_vocabulary_count_together_as_unknown(tiny):
    grammar, profiles = tiny
    vocabulary = Vocabulary.from_words(w for w in grammar.words if w not in {"bo", "li", "2"})
    truth = truth_for(tiny, vocabulary)
    merged = defaultdict(float)
    for message, probability in enumerate_messages(grammar, profiles, 1).items():
        merged[tuple(vocabulary.encode(message))] += probability
    for ids, probability in merged.items():
        tokens = np.array([[1, *ids]], dtype=np.int32)
        aware = message_log_prob(truth.aware(tokens, np.array([1])), tokens)
        assert np.exp(aware) == pytest.approx(probability)


def test_next_words_sum_to_one_and_padding_is_harmless(tiny):
    truth = truth_for(tiny)
    short = as_tokens(("the", "cat"), truth.vocabulary)
    padded = np.pad(short, ((0, 0), (0, 3)), constant_values=PADDING)
    for model in (truth.aware, truth.blind):
        log_probs = model(padded, np.array([2]))
        assert np.exp(log_probs).sum(axis=2) == pytest.approx(1)
        assert log_probs[:, :3] == pytest.approx(model(short, np.array([2])))


def test_posterior_is_bayes_rule_over_whole_messages(tiny):
    grammar, profiles = tiny
    truth = truth_for(tiny)
    corpus = write(grammar, profiles, np.array([1, 1, 1]), np.random.default_rng(0))
    corpus = corpus.with_vocabulary(truth.vocabulary)
    tables = [enumerate_messages(grammar, profiles, user) for user in range(4)]
    texts = [tuple(corpus.text(i).split()) for i in range(3)]
    weights = np.array(
        [p * np.prod([t[m] for m in texts]) for p, t in zip(truth.prior, tables, strict=True)]
    )
    assert truth.posterior(corpus) == pytest.approx(weights / weights.sum())


def test_a_message_the_generator_cannot_write_is_an_error(tiny):
    truth = truth_for(tiny)
    impossible = as_tokens(("cat", "the"), truth.vocabulary)
    with pytest.raises(ValueError, match="cannot have written"):
        truth.blind(impossible)
    with pytest.raises(ValueError, match="user id 4 is outside"):
        truth.aware(impossible, np.array([4]))


@pytest.mark.parametrize("break_it", ["{nobody}", "opening = [3, 1]"])
def test_a_broken_grammar_is_refused(break_it):
    text = TINY.replace("the cat {friend} bit", "the cat {nobody} bit")
    if break_it.startswith("opening"):
        text = TINY.replace("opening = [3, 1, 1]", break_it)
    with pytest.raises(ValueError, match=r"nobody|opening"):
        parse_grammar(text)


@pytest.fixture(scope="module")
def default():
    return messages()


def target_losses(model, corpus) -> np.ndarray:
    inputs, targets = corpus.padded(np.arange(len(corpus)))
    log_probs = model(inputs, corpus.users)
    taken = np.take_along_axis(log_probs, targets[..., None], axis=2)[..., 0]
    return -taken[targets != PADDING]


def test_no_other_prior_beats_the_bound_of_an_average(default):
    """By token the shares of the text win, by user a uniform prior, in a group its own."""
    data, truth = default
    known = (truth.prior > 0).astype(float)
    user = np.repeat(data.test.users, data.test.lengths + 1)
    blind, uniform = (
        target_losses_in_parts(model, data.test) for model in (truth.blind, truth.mixture(known))
    )
    assert blind.mean() < uniform.mean()
    means = [
        (np.bincount(user, loss) / np.bincount(user).clip(1))[: int(known.sum())].mean()
        for loss in (blind, uniform)
    ]
    assert means[1] < means[0]
    short = known * (truth.prior < np.quantile(truth.prior[truth.prior > 0], 0.2))
    group = data.test.of_users(np.flatnonzero(short))
    assert (
        target_losses_in_parts(truth.mixture(short), group).mean()
        < target_losses_in_parts(truth.blind, group).mean() - 0.01
    )


def test_new_users_have_a_bound_of_their_own(default):
    data, truth = default
    few = data.new_test.select(np.arange(0, len(data.new_test), 4))
    bound = target_losses_in_parts(truth.blind_new, few)
    known = target_losses_in_parts(truth.blind, few)
    smooth = target_losses_in_parts(truth.mixture((truth.prior > 0).astype(float)), few)
    aware = target_losses_in_parts(truth.aware, few)
    assert aware.mean() < bound.mean() < min(known.mean(), smooth.mean())


def test_the_population_is_the_mean_of_many_users_drawn(default):
    """Habits of a stand-in, averaged with its weight, against those of users really drawn."""
    _, truth = default
    everybody, prior = population(truth.grammar, truth.profiles.loadings)
    finer, finer_prior = population(truth.grammar, truth.profiles.loadings, nodes=8)
    drawn = draw_profiles(truth.grammar, 6000, np.random.default_rng(1))
    habits = habits_with(truth.grammar, drawn.dialects, truth.profiles.loadings)
    for name in truth.grammar.style:
        assert prior @ everybody.slots[name] == pytest.approx(
            finer_prior @ finer.slots[name], abs=1e-4
        )
        assert prior @ everybody.slots[name] == pytest.approx(habits[name].mean(axis=0), abs=0.02)
    assert drawn.topics.mean(axis=0) == pytest.approx(everybody.topics[0], abs=0.02)
    name = "friend"
    assert drawn.slots[name].mean(axis=0) == pytest.approx(everybody.slots[name][0], abs=0.01)


def habits_with(grammar, dialects, loadings):
    character = np.random.default_rng(2).normal(size=(len(dialects), 3))
    habits = {}
    for name, loading in loadings.items():
        typical = np.array([weights[name] for weights in grammar.dialects.values()])[dialects]
        weights = typical * np.exp(character @ loading)
        habits[name] = weights / weights.sum(axis=1, keepdims=True)
    return habits


@pytest.mark.parametrize("prior", [np.zeros(440), np.ones(3), -np.ones(440)])
def test_a_prior_that_is_none_is_refused(default, prior):
    with pytest.raises(ValueError, match="each of 440 users a weight"):
        default[1].mixture(prior)


@pytest.mark.parametrize(
    "options",
    [{"known_users": 1}, {"median_messages": 10}, {"median_messages": 5000}, {"seed": -1}],
)
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options)).split('_')[0]}.*not"):
        messages(**options)


def target_losses_in_parts(model, corpus) -> np.ndarray:
    parts = [
        corpus.select(np.arange(i, min(i + 256, len(corpus)))) for i in range(0, len(corpus), 256)
    ]
    return np.concatenate([target_losses(model, part) for part in parts])


def test_told_agrees_with_both_bounds(default):
    data, truth = default
    few = data.test.select(np.arange(0, len(data.test), 40))
    blind = -truth.told(few, ())
    assert blind == pytest.approx(target_losses(truth.blind, few))
    assert -truth.told(few, KINDS) == pytest.approx(target_losses(truth.aware, few))
    assert (-truth.told(few, ("topics", "style"))).mean() < blind.mean()
    with pytest.raises(ValueError, match="what must be among"):
        truth.told(few, ["age"])


def test_sampled_loss_agrees_with_exact_entropy(default):
    """Told the user, every message costs its own entropy on average: nothing is left to learn."""
    data, truth = default
    few = data.test.select(np.arange(0, len(data.test), 8))
    inputs, targets = few.padded(np.arange(len(few)))
    log_probs = truth.aware(inputs, few.users)
    p = np.exp(log_probs)
    entropy = -(p * np.where(p > 0, log_probs, 0)).sum(axis=2)[targets != PADDING]
    surprise = target_losses(truth.aware, few) - entropy
    assert abs(surprise.mean()) < 4 * surprise.std() / np.sqrt(len(surprise))


def test_the_design_holds(default):
    data, truth = default
    assert len(data.known_users) >= 100
    assert len(data.new_users) >= 40
    assert 200_000 <= data.train.n_tokens <= 300_000
    assert 800 <= len(data.vocabulary) <= 1_500
    lengths = data.train.message_counts[data.known_users]
    assert lengths.max() > 10 * lengths.min()
    gain = truth.told(data.test, KINDS) - truth.told(data.test, ())
    assert gain.mean() >= 0.4


def test_same_seed_same_corpus_and_other_seed_another(default):
    data, _ = default
    assert messages()[0].train.fingerprint == data.train.fingerprint
    assert messages(seed=1)[0].train.fingerprint != data.train.fingerprint


def test_fingerprints_tell_truths_apart(tiny):
    grammar, profiles = tiny
    words = Vocabulary.from_words(grammar.words)
    counts = np.array([5, 1, 2, 0])
    texts = TINY.replace("the cat", "a cat"), TINY.replace("opening = [3", "opening = [4")
    others = [(parse_grammar(text), profiles, words, counts) for text in texts]
    topics = replace(profiles, topics=profiles.topics[::-1])
    slots = replace(profiles, slots=profiles.slots | {"you": profiles.slots["you"][::-1]})
    loadings = replace(profiles, loadings={n: -a for n, a in profiles.loadings.items()})
    others += [(grammar, changed, words, counts) for changed in (topics, slots, loadings)]
    others += [(grammar, profiles, Vocabulary.from_words(grammar.words[1:]), counts)]
    others += [(grammar, profiles, words, counts + 1)]
    fingerprints = {Truth(*parts).fingerprint for parts in others}
    same = Truth(parse_grammar(TINY), replace(profiles), words, 2 * counts).fingerprint
    assert same == truth_for(tiny).fingerprint
    assert len({same, *fingerprints}) == len(others) + 1
