"""Text from outside: your own logs, chat rooms, plays.

``logs`` reads a file of messages of any common format, through ``rows`` and ``parquet``, which know
the file from ``source``; ``gathering`` makes a corpus of it, in the order that ``times`` tells.
``chat`` and ``shakespeare`` read the book's two real texts, which ``downloads`` fetches and checks.
"""

from . import logs
from .chat import chat
from .shakespeare import shakespeare

__all__ = ["chat", "logs", "shakespeare"]
