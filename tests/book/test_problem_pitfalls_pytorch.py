"""What the page on the problem says about PyTorch: the naive blocks go wrong, the fixed do not."""

import pytest

from tests.book.pitfalls import run_block

torch = pytest.importorskip("torch")


def right_loss(state: dict) -> float:
    """Mean over what is not padding, computed another way."""
    log_probs = torch.log_softmax(state["logits"], dim=-1)
    own = log_probs.gather(-1, state["targets"][..., None])[..., 0]
    return -own[state["targets"] != 0].mean().item()


def test_a_vector_is_repeated_over_time():
    state = run_block("torch-repeat-fixed")
    assert state["together"].shape == (2, 4, 40)
    for step in range(4):
        assert torch.equal(state["together"][:, step, 32:], state["user"])


def test_a_slice_cannot_be_viewed_but_reshaped():
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        run_block("torch-view-naive")
    assert run_block("torch-view-fixed")["flat"].tolist() == [6, 7, 2, 2, 0, 0]


def test_padding_counts_only_in_the_naive_loss():
    naive, fixed = run_block("torch-padding-naive"), run_block("torch-padding-fixed")
    assert abs(naive["loss"].item() - right_loss(naive)) > 0.01
    assert fixed["loss"].item() == pytest.approx(right_loss(fixed), abs=1e-5)


def test_more_padding_changes_only_the_naive_loss():
    more = """
targets, logits = F.pad(targets, (0, 3)), F.pad(logits, (0, 0, 0, 3))
logits[:, 4:, 0] = 9.0  # a model that has learned that padding follows padding
"""
    naive, padded = run_block("torch-padding-naive"), run_block("torch-padding-naive", more)
    assert padded["loss"] < naive["loss"] - 1
    fixed, padded = run_block("torch-padding-fixed"), run_block("torch-padding-fixed", more)
    assert padded["loss"].item() == pytest.approx(fixed["loss"].item(), abs=1e-5)


def test_a_perfect_model_has_no_loss_unless_softmax_comes_twice():
    guess = torch.log(torch.tensor(1000.0)).item()
    assert run_block("torch-softmax-naive")["loss"].item() > guess - 1.01
    assert run_block("torch-softmax-fixed")["loss"].item() == pytest.approx(0, abs=1e-5)


def test_state_is_carried_to_the_next_user_only_in_the_naive_block():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(5, 3, batch_first=True)
    ana, other, ben = torch.randn(3, 1, 4, 5)
    naive, fixed = (run_block(f"torch-state-{kind}")["read"] for kind in ("naive", "fixed"))
    assert not torch.allclose(naive(lstm, ana, ben), naive(lstm, other, ben), atol=1e-3)
    assert torch.equal(fixed(lstm, ana, ben), fixed(lstm, other, ben))
