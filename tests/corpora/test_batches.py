import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.corpora import epoch_batches

LENGTHS = st.lists(st.integers(0, 40), max_size=80).map(lambda x: np.array(x, dtype=np.int64))


@given(LENGTHS, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_each_message_stands_in_one_batch(lengths, batch_size, pool, epoch):
    batches = epoch_batches(lengths, batch_size, seed=1, epoch=epoch, pool=pool)
    places = np.concatenate([*batches, np.zeros(0, dtype=int)])
    assert sorted(places) == list(range(len(lengths)))
    assert all(0 < len(batch) <= batch_size for batch in batches if len(lengths))
    assert sum(len(batch) < batch_size for batch in batches) <= 1


@given(LENGTHS, st.integers(1, 9))
def test_seed_and_epoch_fix_the_order(lengths, batch_size):
    def batches(**fixed):
        return [b.tolist() for b in epoch_batches(lengths, batch_size, **fixed)]

    assert batches(seed=1, epoch=2) == batches(seed=1, epoch=2)


def test_no_two_epochs_are_alike():
    lengths = np.ones(100, dtype=int)
    orders = {
        tuple(np.concatenate(epoch_batches(lengths, 10, seed, epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_batches_of_similar_length_hold_little_padding():
    lengths = np.random.default_rng(0).geometric(0.1, 2000)

    def padded(pool):
        batches = epoch_batches(lengths, 32, seed=0, epoch=0, pool=pool)
        return sum(len(batch) * lengths[batch].max() for batch in batches)

    assert padded(pool=50) < 1.15 * lengths.sum()
    assert padded(pool=1) > 2.5 * lengths.sum()


@pytest.mark.parametrize(("batch_size", "pool"), [(0, 1), (1, 0)])
def test_arguments_are_checked(batch_size, pool):
    with pytest.raises(ValueError, match="batch_size and pool must be at least 1"):
        epoch_batches(np.ones(3), batch_size, seed=0, epoch=0, pool=pool)
