"""Text from outside: your own logs, chat rooms, plays.

``logs`` reads messages from wherever they are: ``opening`` says what is to be read, ``rows`` gives
its rows, through ``parquet``, ``frames``, ``records`` (JSON, and with ``forms`` what chat programs
export) and ``spoken`` (the text of ``whatsapp`` and ``irc``), which all know the log from
``source``; ``gathering`` makes a corpus of it, in the order that ``times`` tells, and ``report``
what became of every row.
``chat`` and ``shakespeare`` read the book's two real texts, which ``downloads`` fetches and checks.
"""

from . import logs
from .chat import chat
from .shakespeare import shakespeare

__all__ = ["chat", "logs", "shakespeare"]
