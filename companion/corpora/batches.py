"""Which messages are trained on together: one seeded order for both frameworks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def epoch_batches(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, pool: int = 50
) -> list[np.ndarray]:
    """Batches of messages of similar length, in a random order that `seed` and `epoch` fix.

    The messages are shuffled, sorted by length within pools of `pool` batches, cut into batches,
    and the batches shuffled. A batch then holds little padding, and no two epochs are alike.

    Parameters
    ----------
    lengths : np.ndarray
        Tokens of each message, ``(messages,)``.
    pool : int
        Batches sorted together; 1 keeps the order random (and pads to the longest).

    Returns
    -------
    list of np.ndarray
        Places of the messages of each batch; each message stands in exactly one.
    """
    if batch_size < 1 or pool < 1:
        raise ValueError(f"batch_size and pool must be at least 1, not {batch_size} and {pool}")
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    size = batch_size * pool
    pools = [order[i : i + size] for i in range(0, len(order), size)]
    ordered = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pools] or [order])
    batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def similar_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Every message once, in batches of similar length: for text that is read, not trained on."""
    return epoch_batches(lengths, batch_size, seed=0, epoch=0, pool=max(1, len(lengths)))


def mean_by_token(
    losses: Sequence[float], lengths: np.ndarray, batches: Iterable[np.ndarray]
) -> float:
    """Mean over all targets of the losses of batches, each a mean over its own targets."""
    tokens = [lengths[messages].sum() + len(messages) for messages in batches]
    return float(np.average(losses, weights=tokens))
