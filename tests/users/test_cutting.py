"""Whole histories, cut into pieces and laid side by side."""

import numpy as np
import pytest

from companion.corpora import Corpus
from companion.corpora.vocabulary import END
from companion.users import cutting
from companion.users.cutting import Text


def corpus():
    """Three users of 12, 5 and 1 messages, no two alike."""
    users = ["ada"] * 12 + ["ben"] * 5 + ["cy"]
    return Corpus.from_messages([["w", str(i)][i % 2 :] for i in range(18)], users)


def test_text_says_where_each_word_stands():
    text = Text.of(corpus(), [np.array([0, 1]), np.array([13]), np.array([], int)])
    assert text.inputs.shape == (3, 3)
    np.testing.assert_array_equal(text.inside.sum(1), text.lengths)
    np.testing.assert_array_equal(text.lengths, [3, 2, 2])
    np.testing.assert_array_equal(text.message, [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(text.history, [0, 0, 1])
    np.testing.assert_array_equal(text.users, [0, 0, 1])
    np.testing.assert_array_equal(text.bounds, [0, 5, 7, 7])
    np.testing.assert_array_equal(text.targets[[2, 4, 6]], END)
    np.testing.assert_array_equal(text.targets[:2], corpus().words(0))


@pytest.mark.parametrize("cut", [0.0, 1.0])
def test_pieces_hold_every_message_once_and_one_user_each(cut):
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(20):
        found = cutting.pieces(corpus(), rng, cut, shortest=2, longest=10)
        np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(18))
        assert all(len(np.unique(corpus().users[piece])) == 1 for piece in found)
        sizes |= {len(piece) for piece in found}
    assert max(sizes) <= 10
    assert sizes == {6, 5, 1} if not cut else len(sizes) > 4


def test_batches_hold_every_piece_once_in_another_order_each_time():
    rng = np.random.default_rng(0)
    found = [np.arange(3 * i, 3 * i + 3) for i in range(20)]
    drawn = [list(cutting.batches(found, rng, 7)) for _ in range(2)]
    for batches in drawn:
        assert len(batches) == 7
        assert max(map(len, batches)) <= 3
        every = np.sort(np.concatenate([piece for batch in batches for piece in batch]))
        np.testing.assert_array_equal(every, np.arange(60))
    first, again = (np.concatenate([p for b in batches for p in b]) for batches in drawn)
    assert (first != again).any()


def test_two_sequences_are_spread_evenly_among_each_other():
    found = "".join(cutting.interleaved("abc", "123456"))
    assert [c for c in found if c in "abc"] == [*"abc"]
    assert [c for c in found if c.isdigit()] == [*"123456"]
    assert all(sum(c in "abc" for c in found[i : i + 3]) == 1 for i in (0, 3, 6))
    assert [*cutting.interleaved("ab", "")] == ["a", "b"]


def test_whole_histories_are_read_together_as_far_as_there_is_room():
    found = list(cutting.together(corpus(), positions=16))
    assert [[len(own) for own in batch] for batch in found] == [[12], [5, 1]]
    np.testing.assert_array_equal(np.concatenate([p for b in found for p in b]), np.arange(18))


def test_a_rare_word_counts_for_more_at_first():
    text = corpus()
    scale = cutting.first_scale(text)
    word, rare = text.vocabulary.id("w"), text.vocabulary.id("3")
    assert scale[END] > scale[word] > scale[rare]
