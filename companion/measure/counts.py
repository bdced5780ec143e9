"""Small things that all models made of counts share."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from companion.corpora import BEGIN, END, Corpus


def stream(corpus: Corpus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every target of `corpus` with what stands before it.

    Returns
    -------
    before, after, message : np.ndarray
        The token before (or ``<begin>``), the target (a word or ``<end>``) and the place of its
        message in `corpus`, ``(targets,)``, message by message.
    """
    ends = np.cumsum(corpus.lengths + 1) - 1
    message = np.repeat(np.arange(len(corpus)), corpus.lengths + 1)
    place = np.arange(len(message)) - (ends - corpus.lengths)[message]
    after = np.full(len(message), END, dtype=np.int32)
    word = place < corpus.lengths[message]
    after[word] = corpus.tokens[(corpus.starts[message] + place)[word]]
    before = np.roll(after, 1)
    before[place == 0] = BEGIN
    return before, after, message


def lookup(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of `wanted` is among the sorted `keys`, and its place there if so."""
    rows = np.searchsorted(keys, wanted)
    rows[rows == len(keys)] = 0
    return (keys[rows] == wanted if len(keys) else np.zeros(len(wanted), dtype=bool)), rows


def add_rows(
    dense: np.ndarray, at: np.ndarray, table: sparse.csr_array, rows: np.ndarray, scale: np.ndarray
) -> None:
    """Add rows of a sparse table, each times its scale, to rows of a dense one, in place.

    Only what is stored is touched: most words never followed most contexts.
    """
    starts = table.indptr[rows]
    lengths = table.indptr[rows + 1] - starts
    within = np.repeat(np.arange(len(rows)), lengths)
    # by hand: SciPy's choice of rows takes longer than all the rest of one word that is typed
    stored = np.arange(len(within)) + (starts - np.cumsum(lengths) + lengths)[within]
    dense[at[within], table.indices[stored]] += table.data[stored] * scale[within]


def log(probability: np.ndarray) -> np.ndarray:
    """Natural logarithm; that of zero is minus infinity, and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(probability, out=probability)
