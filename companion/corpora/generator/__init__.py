"""The default corpus, Messages, and its truth.

``grammar`` reads what people write about, ``profiles`` draws who they are, ``messages`` lets them
write; ``truth`` knows the exact probability of every token, and ``learning`` what the best learner
makes of the training text.
"""

from .learning import best_learner
from .messages import messages, sitting
from .truth import Truth

__all__ = ["Truth", "best_learner", "messages", "sitting"]
