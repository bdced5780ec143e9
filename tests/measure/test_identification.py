"""How well users are named, and whether beliefs are as sure as they are right."""

import numpy as np
import pytest

from companion import measure


def logs(*rows):
    return np.log(np.array(rows))


def test_the_user_believed_in_most_is_the_one_named():
    table = logs([0.2, 0.5, 0.3], [0.6, 0.3, 0.1])
    assert measure.named(table, np.array([1, 1])).tolist() == [True, False]
    assert measure.named(np.exp(table), np.array([1, 1])).tolist() == [True, False]
    sitting = np.stack([table, table])  # (sitting, message, user)
    assert measure.named(sitting, np.array([[0], [1]])).tolist() == [[False, True], [True, False]]


def test_a_reliability_table_by_hand():
    table = logs([0.62, 0.38], [0.68, 0.32], [0.05, 0.95], [1.0, 1e-30])
    found = measure.reliability(table, np.array([0, 1, 1, 0]))
    assert found.index.tolist() == [6, 9]
    assert found["sure"].tolist() == pytest.approx([0.65, 0.975])
    assert found["right"].tolist() == pytest.approx([0.5, 1.0])
    assert found["share"].tolist() == pytest.approx([0.5, 0.5])
    expected = 0.5 * 0.15 + 0.5 * 0.025
    assert measure.calibration_error(table, np.array([0, 1, 1, 0])) == pytest.approx(expected)


def test_bins_are_equally_wide():
    table = logs([0.62, 0.38], [0.68, 0.32], [0.05, 0.95])
    rows = np.array([0, 1, 1])
    assert measure.reliability(table, rows, bins=1)["share"].tolist() == [1.0]
    assert measure.reliability(table, rows, bins=20).index.tolist() == [12, 13, 19]
    overall = measure.calibration_error(table, rows, bins=1)
    assert overall == pytest.approx(abs((0.62 + 0.68 + 0.95) / 3 - 2 / 3))


@pytest.fixture(scope="module")
def calibrated():
    """Beliefs, and users drawn from them."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(5, 0.6), (200, 100))
    rows = (rng.random((200, 100, 1)) > probabilities.cumsum(axis=-1)).sum(axis=-1)
    return np.log(np.maximum(probabilities, 1e-300)), np.minimum(rows, 4)


def test_who_is_drawn_from_beliefs_is_as_often_right_as_they_are_sure(calibrated):
    table = measure.reliability(*calibrated)
    assert table["share"].sum() == pytest.approx(1)
    assert (table["sure"] - table["right"]).abs()[table["share"] > 0.01].max() < 0.03
    assert measure.calibration_error(*calibrated) < 0.01


@pytest.mark.parametrize(("sharpened", "sign"), [(3.0, 1), (0.4, -1)])
def test_too_sure_and_too_unsure_are_found_out(calibrated, sharpened, sign):
    beliefs, rows = calibrated
    beliefs = sharpened * beliefs
    beliefs -= np.logaddexp.reduce(beliefs, axis=-1, keepdims=True)
    assert measure.calibration_error(beliefs, rows) > 0.1
    table = measure.reliability(beliefs, rows)
    off = (table["share"] * (table["sure"] - table["right"])).sum()
    assert sign * off > 0.1


def test_one_user_may_be_given_for_all_messages_of_a_sitting(calibrated):
    beliefs, _ = calibrated
    rows = np.arange(200) % 5
    spread = np.repeat(rows[:, None], 100, axis=1)
    one = measure.reliability(beliefs, rows[:, None])
    np.testing.assert_array_equal(one, measure.reliability(beliefs, spread))


def test_the_first_message_after_which_the_right_user_is_named():
    right, wrong = [0.6, 0.4], [0.4, 0.6]
    table = logs([wrong, right, wrong], [right, wrong, wrong], [wrong, wrong, wrong])
    assert measure.first_named(table, np.zeros(3, dtype=int)).tolist() == [2, 1, 4]
    assert measure.first_named(table[2], np.array(1)) == 1


def test_nothing_to_judge_is_refused():
    with pytest.raises(ValueError, match="bins must be at least 1, not 0"):
        measure.reliability(logs([0.5, 0.5]), np.array([0]), bins=0)
    with pytest.raises(ValueError, match="log_beliefs is empty"):
        measure.calibration_error(np.empty((0, 3)), np.empty(0, dtype=int))
