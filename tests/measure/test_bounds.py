"""The kept scores of the bounds: the same as computed directly, and only where they belong."""

import numpy as np
import pandas as pd
import pytest

from companion.corpora import Corpus, Truth, messages
from companion.measure import bounds, bounds_targets, score, score_targets, scores


@pytest.fixture(scope="module")
def small():
    return messages(known_users=4, new_users=2, median_messages=31)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def computing(monkeypatch):
    """How often a model has been scored so far."""
    calls, plain = [], scores.score_targets

    def counted(*arguments, **options):
        calls.append(arguments)
        return plain(*arguments, **options)

    monkeypatch.setattr(scores, "score_targets", counted)
    return calls


def equal(tables, others):
    for one, other in zip(tables, others, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    return True


def test_computed_once_and_exactly_what_score_gives(small, computing, cache):
    data, truth = small
    for _ in range(2):
        made = bounds(truth, data.test)
        assert equal(made, [score(truth.blind, data.test), score(truth.aware, data.test)])
        assert (made.blind is made[0], made.aware is made[1]) == (True, True)
    assert len(computing) == 2 + 4  # two bounds once, and four scores above
    assert len(list(cache.glob("bounds-*.safetensors"))) == 1


def test_targets_are_exactly_what_score_targets_gives(small, computing):
    data, truth = small
    direct = [score_targets(model, data.test) for model in (truth.blind, truth.aware)]
    computing.clear()
    for _ in range(2):
        assert equal(bounds_targets(truth, data.test), direct)
    assert len(computing) == 2


def test_new_users_have_a_blind_bound_of_their_own(small):
    data, truth = small
    blind, aware = bounds(truth, data.new_test)
    assert equal((blind, aware), [score(m, data.new_test) for m in (truth.blind_new, truth.aware)])
    with pytest.raises(AssertionError):
        equal([blind], [score(truth.blind, data.new_test)])


def test_known_and_new_users_together_are_refused(small):
    data, truth = small
    test, new = data.test, data.new_test
    both = Corpus(
        test.tokens,
        *(
            np.concatenate([getattr(c, name) for c in (test, new)])
            for name in ("starts", "lengths", "users", "times")
        ),
        test.vocabulary,
        test.user_names,
    )
    with pytest.raises(ValueError, match=r"known users \(such as 0\) and new ones \(such as 4\)"):
        bounds(truth, both)
    with pytest.raises(ValueError, match="no message"):
        bounds(truth, test.select([]))


@pytest.mark.parametrize("damage", ["truncated", "tampered", "of another text"])
def test_damaged_file_is_made_anew(small, computing, cache, damage):
    data, truth = small
    first = bounds(truth, data.test)
    (file,) = cache.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "of another text":
        bounds(truth, data.validation)
        (other,) = set(cache.glob("*.safetensors")) - {file}
        content = other.read_bytes()
    elif damage == "tampered":
        content[-1] ^= 1
    file.write_bytes(content[:-9] if damage == "truncated" else content)
    computing.clear()
    assert equal(bounds(truth, data.test), first)
    assert len(computing) == 2
    assert len(list(cache.glob("*.broken-1"))) == 1
    bounds(truth, data.test)
    assert len(computing) == 2


def test_another_text_and_another_truth_have_files_of_their_own(small, cache):
    data, truth = small
    weighed = Truth(truth.grammar, truth.profiles, truth.vocabulary, np.sign(truth.prior))
    reseeded, other = messages(known_users=4, new_users=2, median_messages=31, seed=1)
    texts = data.test, data.validation, data.test.select([0, 1])
    pairs = [(truth, text) for text in texts] + [(weighed, data.test), (other, reseeded.test)]
    for its_truth, text in pairs:
        bounds(its_truth, text)
    assert len(list(cache.glob("*.safetensors"))) == len(pairs)
