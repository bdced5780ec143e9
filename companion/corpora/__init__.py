"""Where text comes from: corpora, their vocabulary, their splits and their batches."""

from . import logs
from .batches import epoch_batches
from .chat import chat
from .corpus import Corpus, Split, at_least, split
from .learning import best_learner
from .messages import messages, sitting
from .shakespeare import shakespeare
from .tokens import tokenize
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
    "best_learner",
    "chat",
    "epoch_batches",
    "logs",
    "messages",
    "shakespeare",
    "sitting",
    "split",
    "tokenize",
]
