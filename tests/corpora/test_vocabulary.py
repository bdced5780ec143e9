import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.corpora import BEGIN, END, PADDING, UNKNOWN, Vocabulary
from companion.corpora.vocabulary import SPECIAL_TOKENS

WORDS = st.lists(st.text(min_size=1, max_size=4).filter(lambda w: w not in SPECIAL_TOKENS))


@given(WORDS)
def test_words_come_back(words):
    vocabulary = Vocabulary.from_words(words)
    ids = vocabulary.encode(words)
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == words
    assert all(vocabulary.id(word) == i for word, i in zip(words, ids, strict=True))
    assert len(vocabulary) == 4 + len(set(words))
    assert all(word in vocabulary for word in words)


@given(WORDS, WORDS)
def test_other_words_are_unknown(words, others):
    vocabulary = Vocabulary.from_words(words)
    ids = vocabulary.encode(others)
    assert [(i == UNKNOWN) for i in ids] == [word not in words for word in others]


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(5, 12), st.integers(0, 5))
def test_the_most_frequent_words_are_kept(counts, size, min_count):
    words = [f"w{i}" for i in range(len(counts))]
    vocabulary = Vocabulary.from_counts(words, np.array(counts, dtype=int), size, min_count)
    of = dict(zip(words, counts, strict=True))
    kept = vocabulary.words[4:]
    left_out = [word for word in words if word not in vocabulary]
    assert len(vocabulary) <= size
    assert all(of[word] >= max(min_count, 1) for word in kept)
    assert [of[w] for w in kept] == sorted((of[w] for w in kept), reverse=True)
    if len(vocabulary) < size:
        assert all(of[word] < max(min_count, 1) for word in left_out)
    elif left_out:
        assert max(of[word] for word in left_out) <= min(of[word] for word in kept)


def test_letters():
    vocabulary = Vocabulary.from_counts(["a", "bbb", "cc", "ddddd"], np.array([9, 5, 3, 1]), size=6)
    assert vocabulary.words[4:] == ("a", "bbb")
    assert vocabulary.letters[[PADDING, BEGIN, END]].tolist() == [0, 0, 0]
    # "cc" three times and "ddddd" once
    assert vocabulary.letters[[UNKNOWN, 4, 5]].tolist() == [(3 * 2 + 5) / 4, 1, 3]


def test_fingerprints_tell_vocabularies_apart():
    one, other = Vocabulary.from_words("ab"), Vocabulary.from_words("ba")
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == Vocabulary.from_words(["a", "b", "a"]).fingerprint


@pytest.mark.parametrize("wrong", [-1, 5, 2**31])
def test_ids_outside_the_vocabulary(wrong):
    with pytest.raises(ValueError, match=rf"token id {wrong} is outside the vocabulary: 0 to 4"):
        Vocabulary.from_words("a").decode([4, wrong])


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="words must begin with"):
        Vocabulary(("a", "b"))
    with pytest.raises(ValueError, match="words must be distinct"):
        Vocabulary((*SPECIAL_TOKENS, "a", "a"))
    with pytest.raises(ValueError, match="size must exceed 4 special tokens, not 4"):
        Vocabulary.from_counts(["a"], np.array([1]), size=4)
