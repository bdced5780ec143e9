"""Where text comes from: corpora, their vocabulary, their splits and their batches."""

from .batches import epoch_batches
from .corpus import Corpus, Split, at_least, split
from .vocabulary import BEGIN, END, PADDING, UNKNOWN, Vocabulary

__all__ = [
    "BEGIN",
    "END",
    "PADDING",
    "UNKNOWN",
    "Corpus",
    "Split",
    "Vocabulary",
    "at_least",
    "epoch_batches",
    "split",
]
