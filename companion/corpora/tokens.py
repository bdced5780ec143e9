"""Messages cut into words: one regular expression, fast enough for millions of messages."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from .vocabulary import END, PADDING, SPECIAL_TOKENS, UNKNOWN, Vocabulary

LINK, MENTION, CODE, EMAIL = PLACEHOLDERS = ("<link>", "<mention>", "<code>", "<email>")

# A placeholder, and the border between two messages, is one control character until the words are
# named: so no text that holds "<link>" or "<pad>" by itself can pass for one.
_BORDER = "\x00"
_MARKS = dict(zip("\x01\x02\x03\x04", PLACEHOLDERS, strict=True))
_CONTROL = dict.fromkeys(map(ord, (_BORDER, *_MARKS)), " ")

# what an address may hold, and what it may end with: the full stop is the sentence's
_ADDRESS = r"[^\s<>\"'\x01-\x04]*[^\s<>\"'.,;:!?)\]*_\x01-\x04]"
# what to replace, with the sign that must be in the text; no pattern looks twice at one letter
_REPLACED = [
    ("`", re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL), " \x03 "),
    ("@", re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), " \x04 "),
    ("://", re.compile(rf"(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]*://{_ADDRESS}"), " \x01 "),
    ("www.", re.compile(rf"\bwww\.{_ADDRESS}"), " \x01 "),
    ("@", re.compile(r"(?<!\w)@[\w/-]*\w"), " \x02 "),
]

_COMBINED = "\u0300-\u036f"  # accents written after their letter
_LETTERS = rf"[^\W_]*(?:['_{_COMBINED}][^\W_]+)*[{_COMBINED}]*"
_JOINED = "\ufe0f\u20e3\U0001f3fb-\U0001f3ff"  # how an emoji is shown: color, skin, keycap
_TOKEN = re.compile(  # what is met most often comes first
    rf"[^\W\d_]{_LETTERS}"  # don't, h2o, snake_case
    r"|[\x00-\x04]"
    r"|\d+(?:[.,:/]\d+){1,9}+(?!\w)"  # 3.14, 10:30, 24/12
    rf"|\d{_LETTERS}"  # 7, 2nd
    r"|[!?]+|\.+"
    r"|(?<!\w):[A-Za-z0-9_+-]*[A-Za-z0-9_+]:"  # :smile:
    r"|(?<!\w)[:;=]['-]?(?:[()]+|[dopxDOPX3/|*](?!\w))|<3+(?!\w)"  # :-) :D <3
    r"|[\U0001f1e6-\U0001f1ff]{2}"  # flags
    rf"|\S(?:[{_JOINED}{_COMBINED}]|\u200d[^\s\x00-\x04])*"  # any other mark or emoji
)


def tokenize(text: str, lower: bool = True) -> list[str]:
    """The words of one English message.

    Words keep their inner apostrophes; numbers, punctuation marks, emoji, ``:emoji_codes:`` and
    plain emoticons are tokens; runs of ``!``, ``?`` and ``.`` are one token. Links, @mentions, code
    and e-mail addresses become ``<link>``, ``<mention>``, ``<code>`` and ``<email>``.

    Parameters
    ----------
    lower : bool
        Write everything in lower case.
    """
    found = _TOKEN.findall(_fold(_replace(text.translate(_CONTROL)), lower))
    return [_MARKS.get(token, token) for token in found]


def _replace(text: str) -> str:
    """Put control characters where links, mentions, code and addresses stand."""
    for sign, pattern, mark in _REPLACED:
        if sign in text:
            text = pattern.sub(mark, text)
    return text


def _fold(text: str, lower: bool) -> str:
    """One way of writing what can be written in several."""
    if not text.isascii():
        # a lone surrogate, as JSON can hold, is no character and could not be saved
        text = text.encode("utf-8", "replace").decode("utf-8")
        text = unicodedata.normalize("NFC", text.replace("’", "'"))
    return text.lower() if lower else text


class Encoder:
    """Turns messages into token ids, chunk by chunk; ids are given in order of first appearance.

    Parameters
    ----------
    lower : bool
        Write everything in lower case.
    tokenizer : callable, optional
        Cuts one message into words, in place of :func:`tokenize`.
    """

    def __init__(
        self, lower: bool = True, tokenizer: Callable[[str], Sequence[str]] | None = None
    ) -> None:
        self.lower, self.tokenizer = lower, tokenizer
        self._ids: defaultdict[str, int] = defaultdict()
        self._ids.update({word: i for i, word in enumerate((*SPECIAL_TOKENS, *PLACEHOLDERS))})
        self._ids.update({mark: self._ids[word] for mark, word in _MARKS.items()})
        self._words = len(SPECIAL_TOKENS) + len(PLACEHOLDERS)
        # a word typed as "<pad>" by its user, or by a tokenizer of theirs, must not act as one
        self._ids.update(dict.fromkeys(SPECIAL_TOKENS[PADDING : END + 1], UNKNOWN))
        self._ids[_BORDER] = -1
        self._extra = len(self._ids) - self._words
        self._ids.default_factory = self._next_id

    def _next_id(self) -> int:
        return len(self._ids) - self._extra

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of all texts, one after the other, and how many each text has.

        Returns
        -------
        tokens : np.ndarray
            ``(tokens,)`` int32.
        lengths : np.ndarray
            ``(texts,)`` int64; 0 where a text holds no token.
        """
        if not texts:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
        if self.tokenizer:
            return self._encode_plainly(list(map(self.tokenizer, texts)))
        return self._encode_together(texts)

    def _encode_plainly(self, messages: list[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        wrong = next((m for m in messages if isinstance(m, str) or not isinstance(m, Sequence)), "")
        if wrong != "":
            raise TypeError(f"tokenizer must give a list of words, not {wrong!r}")
        lengths = np.fromiter(map(len, messages), dtype=np.int64, count=len(messages))
        words = (self._ids[_clean(word)] for message in messages for word in message)
        return np.fromiter(words, dtype=np.int32, count=int(lengths.sum())), lengths

    def _encode_together(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """One search over all texts, joined by a border that is a token of its own."""
        whole = _BORDER.join(texts)
        if whole.count(_BORDER) != len(texts) - 1 or any(mark in whole for mark in _MARKS):
            texts = [text.translate(_CONTROL) for text in texts]
            whole = _BORDER.join(texts)
        if any(sign in whole for sign, _, _ in _REPLACED):
            whole = _BORDER.join(map(_replace, texts))
        found = _TOKEN.findall(_fold(whole, self.lower))
        ids = np.fromiter(map(self._ids.__getitem__, found), dtype=np.int32, count=len(found))
        borders = np.flatnonzero(ids < 0)
        ends = np.append(borders, len(ids))
        return np.delete(ids, borders), np.diff(ends, prepend=-1) - 1

    def vocabulary(self) -> Vocabulary:
        """Every word met so far."""
        words = [w for w, i in self._ids.items() if i >= len(SPECIAL_TOKENS) and w not in _MARKS]
        return Vocabulary((*SPECIAL_TOKENS, *words))


def _clean(word: str) -> str:
    """A word from somebody else's tokenizer, without what this module uses for itself."""
    return _fold(word.translate(_CONTROL), lower=False)


__all__ = ["CODE", "EMAIL", "LINK", "MENTION", "PLACEHOLDERS", "Encoder", "tokenize"]
