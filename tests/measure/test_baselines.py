"""Caches, n-grams and mixtures, against counts made by hand."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import BEGIN, END, PADDING, UNKNOWN, Corpus, Vocabulary
from companion.measure import (
    BigramCache,
    GrowingWeight,
    NGram,
    UnigramCache,
    choose_growing_weight,
    choose_power,
    choose_strength,
    choose_weight,
    mix,
    rescale,
    target_log_probs,
)
from tests.measure.synthetic import Arbitrary, corpora, scattered


def predict(model, corpus, places=slice(None)):
    """Probabilities at each step of some messages of `corpus`."""
    inputs, _ = corpus.padded(np.arange(len(corpus))[places])
    return inputs, np.exp(model(inputs, corpus.users[places]))


def all_models(corpus):
    unigrams = UnigramCache(corpus)
    return {
        "unigram cache": unigrams,
        "bigram cache": BigramCache(corpus),
        "bigram": NGram(corpus, order=2),
        "trigram": NGram(corpus, order=3),
        "mixture": mix(NGram(corpus), unigrams, 0.3),
        "rescaled": rescale(NGram(corpus), unigrams, 0.7),
    }


@settings(max_examples=40, deadline=None)
@given(corpora())
def test_probabilities_sum_to_one_and_only_padding_and_begin_never_come(corpus):
    for name, model in all_models(corpus).items():
        _, probability = predict(model, corpus)
        np.testing.assert_allclose(probability.sum(axis=-1), 1, atol=1e-6, err_msg=name)
        assert (probability[..., [PADDING, BEGIN]] == 0).all(), name
        assert (probability[..., [END, UNKNOWN]] > 0).all(), name
        assert (probability[..., UNKNOWN:] > 0).all(), name


@settings(max_examples=30, deadline=None)
@given(corpora(min_messages=2))
def test_no_model_looks_ahead(corpus):
    for name, model in all_models(corpus).items():
        inputs, whole = predict(model, corpus)
        for steps in range(1, inputs.shape[1]):
            part = np.exp(model(inputs[:, :steps], corpus.users))
            np.testing.assert_allclose(part, whole[:, :steps], rtol=1e-6, err_msg=name)


def kneser_ney(corpus, order):
    """Interpolated Kneser-Ney by the book: dictionaries, one context at a time."""
    size = len(corpus.vocabulary)
    raw = [Counter() for _ in range(order + 1)]
    for message in range(len(corpus)):
        tokens = [BEGIN, *corpus.words(message).tolist(), END]
        for end in range(1, len(tokens)):
            for n in range(1, min(order, end + 1) + 1):
                raw[n][tuple(tokens[end - n + 1 : end + 1])] += 1
    counts = [Counter() for _ in range(order + 1)]
    counts[order] = raw[order]
    for n in range(1, order):
        for gram in raw[n + 1]:
            counts[n][gram[1:]] += 1
        counts[n].update({g: c for g, c in raw[n].items() if g[0] == BEGIN})

    def discount(n):
        once, twice = (sum(c == k for c in counts[n].values()) for k in (1, 2))
        return once / (once + 2 * twice) if once and twice else 0.75

    def probability(word, context):
        n = len(context) + 1
        lower = probability(word, context[1:]) if context else 1 / (size - 2)
        following = [c for g, c in counts[n].items() if g[:-1] == context]
        if not following:
            return lower
        kept = max(counts[n][(*context, word)] - discount(n), 0)
        return (kept + discount(n) * len(following) * lower) / sum(following)

    return probability


@settings(max_examples=25, deadline=None)
@given(corpora(max_messages=8), st.sampled_from([1, 2, 3, 4]))
def test_ngram_is_interpolated_kneser_ney(corpus, order):
    expected = kneser_ney(corpus, order)
    inputs, probability = predict(NGram(corpus, order), corpus)
    for message, length in enumerate(corpus.lengths):
        for step in range(length + 1):
            first = max(0, step - order + 2)
            context = tuple(inputs[message, first : step + 1].tolist()) if order > 1 else ()
            row = [expected(word, context) for word in range(END, len(corpus.vocabulary))]
            np.testing.assert_allclose(probability[message, step, END:], row, rtol=1e-5)


def counted(corpus, user):
    """Words of one user, and words after each word."""
    after = defaultdict(Counter)
    for message in np.flatnonzero(corpus.users == user):
        tokens = [BEGIN, *corpus.words(message).tolist(), END]
        for before, word in pairwise(tokens):
            after[before][word] += 1
    return sum(after.values(), Counter()), after


@settings(max_examples=30, deadline=None)
@given(corpora(), st.floats(0.1, 50), st.floats(0.1, 50))
def test_caches_are_smoothed_counts(corpus, strength, unigram_strength):
    everybody = Counter(corpus.tokens.tolist()) + Counter({END: len(corpus)})
    added = {word: everybody[word] + 1 for word in range(END, len(corpus.vocabulary))}
    inputs, unigram = predict(UnigramCache(corpus, strength=unigram_strength), corpus)
    _, bigram = predict(BigramCache(corpus, None, strength, unigram_strength), corpus)
    for message, user in enumerate(corpus.users):
        words, after = counted(corpus, user)
        for word in range(END, len(corpus.vocabulary)):
            shared = added[word] / sum(added.values())
            own = words[word] + unigram_strength * shared
            own /= words.total() + unigram_strength
            following = after[inputs[message, 0]]
            pair = (following[word] + strength * own) / (following.total() + strength)
            assert unigram[message, 0, word] == pytest.approx(own, rel=1e-5)
            assert bigram[message, 0, word] == pytest.approx(pair, rel=1e-5)


@pytest.mark.parametrize("cache", [UnigramCache, BigramCache])
def test_without_a_history_everybody_writes_alike(cache):
    corpus = scattered(n_users=6)
    known, new = corpus.of_users([0, 1, 2, 3]), corpus.of_users([4])
    remembering = cache(known, new.first(2))
    tokens = corpus.padded(np.array([0]))[0].repeat(3, axis=0)
    none, also_none, some = remembering(tokens, np.array([0, 5, 4]))
    np.testing.assert_array_equal(none, also_none)
    assert (none != some).any()
    counts = np.ones(len(corpus.vocabulary))
    for message in range(len(known)):
        np.add.at(counts, known.words(message), 1)
    counts[END] += len(known)
    counts[[PADDING, BEGIN]] = 0
    np.testing.assert_allclose(np.exp(none[0]), counts / counts.sum(), rtol=1e-5)
    empty = cache(known, known.first(0))
    np.testing.assert_allclose(empty(tokens, np.array([0, 5, 4])), np.stack([none] * 3), rtol=1e-5)


@pytest.mark.parametrize("cache", [UnigramCache, BigramCache])
def test_caches_count_their_bytes(cache):
    corpus = scattered(n_users=4)
    size = cache(corpus, corpus.of_users([1, 2])).bytes_per_user()
    assert size.shape == (4,)
    assert size[0] == size[3] == 0
    words, after = counted(corpus, 1)
    pairs = sum(map(len, after.values())) if cache is BigramCache else 0
    assert size[1] == 8 * len(words) + 12 * pairs


@pytest.mark.parametrize("cache", [UnigramCache, BigramCache])
def test_caches_refuse_strangers(cache):
    corpus = scattered(n_users=4)
    tokens = np.array([[BEGIN]], dtype=np.int32)
    with pytest.raises(ValueError, match="user id 4 is outside the users known"):
        cache(corpus)(tokens, np.array([4]))
    with pytest.raises(ValueError, match="token id 12 is outside the vocabulary"):
        cache(corpus)(tokens + 11, np.array([0]))
    with pytest.raises(ValueError, match="vocabulary of train"):
        cache(corpus, corpus.with_vocabulary(Vocabulary(corpus.vocabulary.words[:8])))
    with pytest.raises(ValueError, match="strength must be above 0, not 0"):
        cache(corpus, strength=0)
    with pytest.raises(ValueError, match="train has no message"):
        cache(corpus.of_users([]))


def test_ngram_refuses_an_order_that_cannot_be():
    with pytest.raises(ValueError, match="order must be at least 1"):
        NGram(scattered(), order=0)
    with pytest.raises(ValueError, match="train has no message"):
        NGram(scattered().of_users([]))


@settings(max_examples=30, deadline=None)
@given(corpora(), st.floats(0, 1))
def test_a_mixture_mixes_probabilities(corpus, weight):
    one, two = Arbitrary(corpus, seed=1), Arbitrary(corpus, seed=2)
    _, first = predict(one, corpus)
    _, second = predict(two, corpus)
    _, mixed = predict(mix(one, two, weight), corpus)
    np.testing.assert_allclose(mixed, (1 - weight) * first + weight * second, atol=1e-12)
    weights = np.linspace(0, 1, corpus.n_users)
    _, mixed = predict(mix(one, two, weights), corpus)
    share = weights[corpus.users][:, None, None]
    np.testing.assert_allclose(mixed, (1 - share) * first + share * second, atol=1e-6)


def test_a_weight_outside_its_range_is_refused():
    corpus = scattered()
    model = Arbitrary(corpus)
    for weight in (-0.1, 1.1, np.nan, np.array([0.5, 2.0])):
        with pytest.raises(ValueError, match="weight must lie in 0 to 1"):
            mix(model, model, weight)
    for power in (-1, 3.1, 1000, np.nan):
        with pytest.raises(ValueError, match=f"power must lie in 0 to 3, not {power}"):
            rescale(model, UnigramCache(corpus), power)
    for limit, half, says in [(7, 1, "limit must lie in 0 to 1"), (0.5, -1, "half must be at lea")]:
        with pytest.raises(ValueError, match=says):
            GrowingWeight(limit, half)


@pytest.mark.parametrize("user", [-1, 40, 99_999])
def test_a_weight_for_each_user_serves_no_other_user(user):
    corpus = scattered(n_users=40)
    mixture = mix(NGram(corpus), NGram(corpus, 2), np.full(corpus.n_users, 0.5))
    with pytest.raises(ValueError, match=f"user id {user} is outside the users known"):
        mixture(np.array([[BEGIN]], dtype=np.int32), np.array([user]))


def test_a_growing_weight_needs_the_history_of_the_same_users():
    history, later = halves(personal())
    base, cache = NGram(history), BigramCache(history)
    with pytest.raises(ValueError, match="names, those of validation for 12, and they are not"):
        choose_growing_weight(base, cache, later, scattered(n_users=6))


def mean_loss(model, corpus):
    return -target_log_probs(model, corpus).mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_weight_chosen_is_the_best(seed):
    history, later = halves(personal(seed=seed))
    one, two = NGram(history), BigramCache(history)
    chosen = choose_weight(one, two, later)
    losses = [mean_loss(mix(one, two, w), later) for w in np.linspace(0, 1, 51)]
    assert 0 < np.argmin(losses) < 50
    assert mean_loss(mix(one, two, chosen), later) <= min(losses) + 1e-7
    assert choose_weight(two, one, later) == pytest.approx(1 - chosen, abs=1e-3)


def test_a_useless_model_gets_no_weight():
    history, later = halves(personal())
    useless = Arbitrary(history, seed=3)
    assert choose_weight(NGram(history), useless, later) == pytest.approx(0, abs=0.05)
    assert choose_weight(NGram(history), NGram(history, 1), history) == 0


def personal(n_users=12, seed=0):
    """A corpus in which everybody drinks one thing of their own, with histories of all lengths."""
    rng = np.random.default_rng(seed)
    drinks = [f"drink{user}" for user in range(n_users)]
    messages, owners = [], []
    for user in range(n_users):
        for _ in range(4 * 2 ** (user % 6)):
            own = rng.random() < 0.8
            drink = drinks[user] if own else drinks[rng.integers(n_users)]
            messages.append([*rng.choice(["i", "we"], 1).tolist(), "drink", drink])
            owners.append(f"user {user}")
    return Corpus.from_messages(messages, owners)


def halves(corpus):
    first = np.zeros(len(corpus), dtype=bool)
    for user in corpus.active_users:
        places = np.flatnonzero(corpus.users == user)
        first[places[: len(places) // 2]] = True
    return corpus.select(first), corpus.select(~first)


def test_rescaling_finds_the_personal_word_where_mixing_cannot():
    history, later = halves(personal())
    base, cache = NGram(history), UnigramCache(history)
    mixed = mean_loss(mix(base, cache, choose_weight(base, cache, later)), later)
    rescaled = mean_loss(rescale(base, cache, choose_power(base, cache, later)), later)
    assert rescaled < mixed - 0.1 < mean_loss(base, later)


def test_the_power_chosen_is_the_best():
    history, later = halves(personal())
    base, cache = NGram(history), UnigramCache(history)
    chosen = choose_power(base, cache, later)
    best = min(mean_loss(rescale(base, cache, p), later) for p in np.linspace(0, 1.5, 76))
    assert mean_loss(rescale(base, cache, chosen), later) <= best + 1e-4


def test_a_cache_that_knows_nothing_gets_no_power():
    history, later = halves(personal())
    assert choose_power(NGram(history), UnigramCache(history, history.first(0)), later) == 0
    extreme = rescale(NGram(history), UnigramCache(history, strength=1e-3), 3)
    _, probability = predict(extreme, later)
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)


def test_the_strength_chosen_is_the_best_of_those_tried():
    history, later = halves(personal())
    tried = (1.0, 4.0, 16.0, 64.0, 1000.0)
    losses = [mean_loss(UnigramCache(history, strength=s), later) for s in tried]
    assert 0 < np.argmin(losses) < 4
    chosen = choose_strength(lambda s: UnigramCache(history, strength=s), later, tried)
    assert chosen == tried[int(np.argmin(losses))]
    with pytest.raises(ValueError, match="strengths is empty"):
        choose_strength(lambda s: NGram(history), later, [])


def test_rescaling_by_the_power_of_zero_or_without_a_history_changes_nothing():
    corpus = scattered()
    base = NGram(corpus)
    inputs, expected = predict(base, corpus)
    for model in (
        rescale(base, UnigramCache(corpus), 0),
        rescale(base, UnigramCache(corpus, corpus.first(0)), 1),
    ):
        np.testing.assert_allclose(np.exp(model(inputs, corpus.users)), expected, atol=1e-6)


def test_a_growing_weight_is_0_without_a_history_and_never_worse_than_a_constant_one():
    history, later = halves(personal())
    base, cache = NGram(history), BigramCache(history)
    law = choose_growing_weight(base, cache, later, history)
    constant = mix(base, cache, choose_weight(base, cache, later))
    growing = mix(base, cache, law(history))
    assert mean_loss(growing, later) <= mean_loss(constant, later) + 1e-6
    weights = law(history.of_users([3, 5]))
    assert weights[0] == 0
    assert 0 < weights[3] <= weights[5] <= law.limit


def test_a_growing_weight_is_mixed_in_as_it_comes():
    history, later = halves(personal())
    base, cache = NGram(history), BigramCache(history)
    law = choose_growing_weight(base, cache, later, history)
    tokens, users = later.padded(np.arange(4))[0], later.users[:4]
    as_it_comes = mix(base, cache, law)(tokens, users)
    np.testing.assert_array_equal(as_it_comes, mix(base, cache, law(history))(tokens, users))
    with pytest.raises(ValueError, match=r"call it with one, weight\(history\)"):
        mix(base, cache, GrowingWeight(law.limit, law.half))
