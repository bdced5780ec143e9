"""What the page on the problem says about Keras: the naive blocks go wrong, the fixed do not."""

import numpy as np
import pytest
from scipy.special import log_softmax

from tests.book.pitfalls import run_block

keras = pytest.importorskip("keras")


def right_loss(state: dict) -> float:
    """Mean over what is not padding, computed another way."""
    log_probs = log_softmax(state["logits"], axis=-1)
    own = np.take_along_axis(log_probs, state["targets"][..., None], axis=-1)[..., 0]
    return -own[state["targets"] != 0].mean()


def test_repeat_vector_refuses_a_symbolic_length():
    with pytest.raises(TypeError, match="Expected an integer value for `n`"):
        run_block("keras-repeat-naive")


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_broadcasting_repeats_for_any_length(steps):
    model = run_block("keras-repeat-fixed")["model"]
    user = np.arange(16, dtype="float32").reshape(2, 8)
    together = np.asarray(model((np.ones((2, steps), dtype="int32"), user)))
    assert together.shape == (2, steps, 40)
    assert (together[..., 32:] == user[:, None]).all()


def test_a_slice_is_reshaped():
    assert np.asarray(run_block("keras-view-fixed")["flat"]).tolist() == [6, 7, 2, 2, 0, 0]


def test_padding_counts_in_the_naive_loss_and_in_the_half_fixed_one():
    for kind in ("naive", "half"):
        state = run_block(f"keras-padding-{kind}")
        assert abs(float(state["loss"]) - right_loss(state)) > 0.01, kind
    fixed = run_block("keras-padding-fixed")
    assert float(fixed["loss"]) == pytest.approx(right_loss(fixed), abs=1e-4)


def test_the_half_fix_divides_by_all_positions():
    state = run_block("keras-padding-half")
    share = (state["targets"] != 0).mean()
    assert float(state["loss"]) == pytest.approx(share * right_loss(state), abs=1e-4)


def test_a_perfect_model_has_no_loss_unless_softmax_comes_twice():
    assert float(run_block("keras-softmax-naive")["loss"]) > np.log(1000) - 1.01
    assert float(run_block("keras-softmax-fixed")["loss"]) == pytest.approx(0, abs=1e-5)


def test_tensorflow_rescues_a_softmax_that_is_the_very_last_step():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("said of TensorFlow only")
    extra = "targets = targets[:1]"
    state = run_block("keras-softmax-fixed", extra)
    output = keras.ops.softmax(state["perfect"])
    with pytest.warns(UserWarning, match="does not represent logits"):
        assert float(state["cross_entropy"](state["targets"], output)) < 1e-5


def test_state_is_carried_to_the_next_user_only_in_the_naive_block():
    ana, other, ben = np.random.default_rng(0).normal(size=(3, 1, 4, 5)).astype("float32")
    naive = run_block("keras-state-naive")
    first = np.asarray(naive["read"](ana, ben))
    naive["lstm"].reset_state()
    assert not np.allclose(first, np.asarray(naive["read"](other, ben)), atol=1e-3)
    naive["lstm"].reset_state()
    assert np.allclose(first, np.asarray(naive["read"](ana, ben)), atol=1e-6)
    fixed = run_block("keras-state-fixed")["read"]
    assert np.array_equal(np.asarray(fixed(ana, ben)), np.asarray(fixed(other, ben)))
