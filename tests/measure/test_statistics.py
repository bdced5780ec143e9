"""What is derived from the tables of scores."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import measure
from companion.measure import statistics as stat


def table(losses, tokens, seed=0):
    """A table of scores with these losses (nats per token) and token counts."""
    rng = np.random.default_rng(seed)
    losses, tokens = np.asarray(losses, dtype=float), np.asarray(tokens)
    words = np.maximum(tokens - 1, 1)
    hits = rng.binomial(words, 0.5)
    columns = {
        "tokens": tokens,
        "nll": losses * tokens,
        "words": words,
        "top1": hits // 2,
        "top3": hits,
        "keystrokes": words * 5.0,
        "saved": hits * 3.0,
    }
    return pd.DataFrame(columns, index=pd.Index(np.arange(len(tokens)), name="user"))


@st.composite
def trios(draw):
    """A model between two bounds, over the same users."""
    n = draw(st.integers(2, 12))
    tokens = draw(st.lists(st.integers(1, 500), min_size=n, max_size=n))
    numbers = st.floats(0.01, 3)
    aware, attainable, above = (
        np.array(draw(st.lists(numbers, min_size=n, max_size=n))) for _ in range(3)
    )
    return table(aware + above, tokens), table(aware + attainable, tokens), table(aware, tokens)


STATISTICS = [stat.loss, stat.perplexity, stat.top1, stat.top3, stat.keystrokes_saved]


def test_by_token_pools_and_by_user_counts_each_once():
    scores = table([1.0, 3.0], [300, 100])
    assert stat.loss(scores) == pytest.approx(1.5)
    assert stat.loss(scores, by="user") == pytest.approx(2.0)
    assert stat.perplexity(scores) == pytest.approx(np.exp(1.5))
    assert stat.per_user_loss(scores).tolist() == pytest.approx([1.0, 3.0])


@given(trios(), st.randoms(use_true_random=False))
def test_the_order_of_users_changes_nothing(trio, random):
    order = list(range(len(trio[0])))
    random.shuffle(order)
    shuffled = [scores.iloc[order] for scores in trio]
    for by in ("token", "user"):
        for statistic in STATISTICS:
            assert statistic(shuffled[0], by) == pytest.approx(statistic(trio[0], by))
        captured = stat.gain_captured(*trio, by=by)
        assert stat.gain_captured(*shuffled, by=by) == pytest.approx(captured)
    for statistic in (stat.helped, stat.hurt, stat.worst_decile):
        assert statistic(*shuffled[:2]) == pytest.approx(statistic(*trio[:2]))


@given(trios(), st.sampled_from(["token", "user"]))
def test_the_bounds_capture_nothing_and_all(trio, by):
    _, blind, aware = trio
    assert stat.gain_captured(blind, blind, aware, by) == pytest.approx(0)
    assert stat.gain_captured(aware, blind, aware, by) == pytest.approx(100)


@given(trios())
def test_users_are_helped_or_hurt_or_neither(trio):
    scores, base, _ = trio
    gains = stat.per_user_gain(scores, base)
    assert stat.helped(scores, base, 0) == pytest.approx(100 * (gains > 0).mean())
    assert stat.hurt(scores, base, 0) == pytest.approx(stat.helped(base, scores, 0))
    assert stat.helped(scores, base, 99) == stat.hurt(scores, base, 99) == 0


def test_the_worst_tenth_is_of_users_and_rounded_up():
    base = table(np.full(20, 2.0), np.arange(1, 21))
    scores = table(2.0 - np.linspace(-0.2, 1.7, 20), np.arange(1, 21))
    assert stat.worst_decile(scores, base) == pytest.approx(-0.15)  # of -0.2 and -0.1
    assert stat.worst_decile(scores) == pytest.approx(2.15)
    assert stat.worst_decile(scores, base, share=0.01) == pytest.approx(-0.2)
    with pytest.raises(ValueError, match="share must lie"):
        stat.worst_decile(scores, share=0)


@pytest.fixture
def trio():
    rng = np.random.default_rng(1)
    tokens = rng.integers(20, 400, 60)
    aware = rng.uniform(0.5, 1.5, 60)
    blind = aware + rng.uniform(0.1, 0.8, 60)
    model = 0.4 * blind + 0.6 * aware + rng.normal(0, 0.05, 60)
    return table(model, tokens), table(blind, tokens), table(aware, tokens)


def one_by_one(statistic, scores, resamples, seed, **options):
    """A paired percentile bootstrap, one resample after the other."""
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(scores[0]), size=len(scores[0])) for _ in range(resamples))
    values = [statistic(*(s.iloc[d] for s in scores), **options) for d in drawn]
    return np.quantile(values, [0.025, 0.975])


@pytest.mark.parametrize("by", ["token", "user"])
def test_the_interval_is_that_of_resampling_tables_one_by_one(trio, by):
    fast = stat.interval(stat.gain_captured, *trio, by=by, method="percentile")
    slow = one_by_one(stat.gain_captured, trio, 1000, 5, by=by)
    np.testing.assert_allclose(fast, slow, atol=0.5)


def test_the_interval_is_paired(trio):
    model, blind, _ = trio
    low, high = stat.interval(stat.gain, model, blind)
    alone = stat.interval(stat.loss, model)
    assert low < stat.gain(model, blind) < high
    assert high - low < 0.5 * (alone.high - alone.low)


def test_the_interval_is_reproducible_and_where_nothing_varies_a_point(trio):
    model, blind, aware = trio
    first = stat.interval(stat.loss, model)
    assert first == stat.interval(stat.loss, model)
    assert first != stat.interval(stat.loss, model, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stat.interval(stat.gain_captured, aware, blind, aware) == pytest.approx((100, 100))
        assert stat.interval(stat.hurt, aware, blind) == (0, 0)


def test_the_interval_covers():
    rng, hits, trials = np.random.default_rng(0), 0, 150
    for trial in range(trials):
        tokens = rng.integers(50, 150, 40)
        base, gains = rng.normal(3, 0.5, 40), rng.normal(0.2, 0.3, 40)
        low, high = stat.interval(
            stat.gain, table(base - gains, tokens), table(base, tokens), resamples=500, seed=trial
        )
        hits += low <= 0.2 <= high
    assert 0.88 <= hits / trials <= 0.99


def test_tables_that_cannot_be_compared_are_refused(trio):
    model, blind, _ = trio
    with pytest.raises(ValueError, match="different users: only one has user 59"):
        stat.gain(model.iloc[:-1], blind)
    with pytest.raises(ValueError, match="different text: user 7 has"):
        stat.helped(model, blind.assign(tokens=blind["tokens"] + (blind.index == 7)))
    with pytest.raises(ValueError, match="different orders"):
        stat.gain(model.iloc[::-1], blind)
    with pytest.raises(ValueError, match=r"level must lie between 0 and 1, such as 0.95, not 95"):
        stat.interval(stat.loss, model, level=95)
    for statistic in STATISTICS:
        with pytest.raises(ValueError, match="empty"):
            statistic(model.iloc[:0])
    with pytest.raises(ValueError, match="empty"):
        stat.hurt(model.iloc[:0], blind.iloc[:0])
    with pytest.raises(ValueError, match="at least two"):
        stat.interval(stat.loss, model.iloc[:1])
    with pytest.raises(ValueError, match='by must be "token" or "user"'):
        stat.loss(model, by="message")


def test_exchanged_bounds_are_refused(trio):
    model, blind, aware = trio
    with pytest.raises(ValueError, match="the two are exchanged"):
        stat.gain_captured(model, aware, blind)


def test_compare_puts_models_between_the_bounds(trio):
    model, blind, aware = trio
    compared = measure.compare({"base model": blind, "tuned": model}, "base model", blind, aware)
    assert list(compared.index) == ["user-blind bound", "base model", "tuned", "user-aware bound"]
    row = compared.loc["tuned"]
    assert row["loss"] == pytest.approx(stat.loss(model))
    assert row["captured_low"] < row["captured"] < row["captured_high"]
    assert row["captured"] == pytest.approx(stat.gain_captured(model, blind, aware))
    assert row["helped"] == stat.helped(model, blind)
    assert compared.loc["base model", ["gain", "helped", "hurt"]].isna().all()


def test_compare_without_bounds_shows_the_gain(trio):
    model, blind, _ = trio
    compared = measure.compare({"base model": blind, "tuned": model}, "base model", by="user")
    assert "captured" not in compared
    text = measure.readable(compared)
    assert text.loc["tuned", "gain (nats)"].startswith(f"{stat.gain(model, blind, 'user'):.3f} (")
    assert text.loc["base model", "gain (nats)"] == "–"


def test_compare_refuses_half_a_pair_of_bounds_and_an_unknown_base(trio):
    model, blind, _ = trio
    with pytest.raises(ValueError, match="both or not at all"):
        measure.compare({"tuned": model}, "tuned", blind=blind)
    with pytest.raises(ValueError, match=r"base must be one of \['tuned'\], not 'base model'"):
        measure.compare({"tuned": model}, "base model")


def test_groups_by_history_hold_all_users_in_order(trio):
    messages = np.random.default_rng(3).permutation(60) + 1
    grouped = measure.by_history(*trio, messages, groups=4)
    assert grouped["users"].tolist() == [15] * 4
    assert grouped.index.is_monotonic_increasing
    shortest = [scores[messages <= 15] for scores in trio]
    assert grouped["captured"].iloc[0] == pytest.approx(stat.gain_captured(*shortest))
    assert (grouped["low"] < grouped["high"]).all()
    assert measure.by_history(*trio, np.full(60, 7), groups=4)["users"].tolist() == [15] * 4
    with pytest.raises(ValueError, match="groups must lie in 1 to 30, not 31"):
        measure.by_history(*trio, messages, groups=31)
