"""Where text comes from: corpora, their vocabulary, their splits and their batches.

``generator`` holds the default corpus and its truth, ``reading`` brings text from outside; both
make a ``corpus``, from the ``tokens`` of a ``vocabulary``, which ``batches`` hands to a network.
"""

from .batches import epoch_batches
from .corpus import Corpus, Split, at_least, split
from .generator import Truth, best_learner, messages, sitting
from .reading import chat, logs, shakespeare
from .tokens import characters, tokenize
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
    "best_learner",
    "characters",
    "chat",
    "epoch_batches",
    "logs",
    "messages",
    "shakespeare",
    "sitting",
    "split",
    "tokenize",
]
