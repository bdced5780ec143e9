"""Where text comes from: corpora, their vocabulary, their splits and their batches."""

from .batches import epoch_batches
from .corpus import Corpus, Split, at_least, split
from .messages import messages
from .truth import Truth
from .vocabulary import BEGIN, END, PADDING, UNKNOWN, Vocabulary

__all__ = [
    "BEGIN",
    "END",
    "PADDING",
    "UNKNOWN",
    "Corpus",
    "Split",
    "Truth",
    "Vocabulary",
    "at_least",
    "epoch_batches",
    "messages",
    "split",
]
