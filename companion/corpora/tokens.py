"""Messages cut into words or characters, fast enough for millions of messages."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import groupby
from typing import Literal

import numpy as np
import regex

from .vocabulary import END, PADDING, SPECIAL_TOKENS, UNKNOWN, Vocabulary

LINK, MENTION, CODE, EMAIL = PLACEHOLDERS = ("<link>", "<mention>", "<code>", "<email>")

# A placeholder, and the border between two messages, is one control character until the words are
# named: so no text that holds "<link>" or "<pad>" by itself can pass for one.
_BORDER = "\x00"
_MARKS = dict(zip("\x01\x02\x03\x04", PLACEHOLDERS, strict=True))
_CONTROL = dict.fromkeys(map(ord, (_BORDER, *_MARKS)), " ")

# what an address may hold, and what it may end with: the full stop is the sentence's
_ADDRESS = r"[^\s<>\"'\x01-\x04]*[^\s<>\"'.,;:!?)\]*_\x01-\x04]"
# a letter or digit, with what may be written over, under or between it and the next
_NAME = r"\p{L}\p{N}\p{M}_\u200c\u200d"
# what to replace, with the sign that must be in the text; no pattern looks twice at one letter
_REPLACED = [
    ("`", re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL), " \x03 "),
    ("@", re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), " \x04 "),
    ("://", re.compile(rf"(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]*://{_ADDRESS}"), " \x01 "),
    ("www.", re.compile(rf"\bwww\.{_ADDRESS}"), " \x01 "),
    ("@", regex.compile(rf"(?<![{_NAME}])@[{_NAME}/-]*[{_NAME}]"), " \x02 "),
]

Cut = Callable[[str], list[str]]
Tokenizer = Literal["words", "characters"] | Callable[[str], Sequence[str]]

_ACCENTS = "\u0300-\u036f"  # those of Latin, Greek and Cyrillic, after their letter
_SHOWN = "\ufe0f\u20e3\U0001f3fb-\U0001f3ff"  # how an emoji is shown: color, skin, keycap
_TAGS = "\U000e0020-\U000e007f"  # what makes a black flag that of Scotland
# Texts that need every mark of Unicode are few in many corpora, and `re` is faster than `regex`.
_COMPOSED = regex.compile(
    rf"(?V1)[[\p{{M}}\u200c\u200d{_TAGS}]--[{_ACCENTS}\u20e3\ufe0f]]|[{_ACCENTS}]{{2}}"
)
_PERHAPS_COMPOSED = re.compile(  # the same and more, told faster
    "[\u0300-\u036f\u0483-\u0489\u0591-\u1fff\u200c\u200d\u20d0-\u20e2\u20e4-\u20ff\u2c00-\ufe0e"
    "\ufe10-\ufeff\U00010000-\U0001efff\U000e0000-\U000effff]"
)
_CLUSTER = regex.compile(r"[\x00-\x04]|(?![\s\x1c-\x1f])\X")


@cache
def _words(composed: bool, hashtags: bool) -> Cut:
    """What cuts words; `composed`: of any script, with marks and joiners anywhere.

    Both ways give the same words wherever nothing is composed.
    """
    if composed:
        letter, marks = r"[\p{L}\p{N}--\p{Nd}]", rf"\p{{M}}{_TAGS}"
        inner, word = rf"[{_NAME}--_]*", rf"[{_NAME}]"
        letters = rf"{inner}(?:['_][\p{{L}}\p{{N}}]{inner})*"
    else:
        letter, word, marks = r"[^\W\d_]", r"\w", _ACCENTS
        letters = rf"[^\W_]*(?:['_{marks}][^\W_]+)*[{marks}]*"
    tokens = [  # what is met most often comes first
        rf"{letter}{letters}",  # don't, h2o, snake_case
        r"[\x00-\x04]",
        rf"\d+(?:[.,:/]\d+){{1,9}}+(?!{word})",  # 3.14, 10:30, 24/12
        rf"\d{letters}",  # 7, 2nd
        r"[!?]+|\.+",
        rf"(?<!{word}):[A-Za-z0-9_+-]*[A-Za-z0-9_+]:",  # :smile:
        rf"(?<!{word})[:;=]['-]?(?:[()]+|[dopxDOPX3/|*](?!{word}))|<3+(?!{word})",  # :-) :D <3
        r"[\U0001f1e6-\U0001f1ff]{2}",  # flags
        rf"[^\s\x1c-\x1f](?:[{_SHOWN}{marks}]|\u200d[^\s\x00-\x04\x1c-\x1f])*",  # other marks
    ]
    if hashtags:  # a number, #7, is none; nor is the entity &#x27;
        tag = rf"#(?<!{word}#)(?<![#&]#)(?=[\d_]*{letter}){word}+"
        tokens.insert(-1, tag if composed else rf"{tag}(?:[{marks}]+\w*)*")
    pattern = "|".join(tokens)
    return regex.compile(pattern, regex.V1).findall if composed else re.compile(pattern).findall


def tokenize(text: str, lower: bool = True) -> list[str]:
    """The words of one message, in any script that puts spaces between words.

    Words keep their inner apostrophes, their combining marks and joiners; #hashtags, numbers,
    punctuation marks, emoji, ``:emoji_codes:`` and plain emoticons are tokens; runs of ``!``, ``?``
    and ``.`` are one token. Links, @mentions, code and e-mail addresses become ``<link>``,
    ``<mention>``, ``<code>`` and ``<email>``. For Chinese, Japanese or Thai, see `characters`.

    Parameters
    ----------
    lower : bool
        Write everything in lower case.
    """
    return _named(_cut_words(_fold(_replace(text.translate(_CONTROL)), lower)))


def characters(text: str, lower: bool = True) -> list[str]:
    """The characters of one message as a reader counts them: a letter with its marks is one.

    Made for scripts without spaces between words. White space is left out; links, @mentions, code
    and e-mail addresses become one token each, as in `tokenize`.

    Parameters
    ----------
    lower : bool
        Write everything in lower case.
    """
    return _named(_CLUSTER.findall(_fold(_replace(text.translate(_CONTROL)), lower)))


def _named(found: list[str]) -> list[str]:
    return [_MARKS.get(token, token) for token in found]


def _cut_words(text: str, hashtags: bool = True) -> list[str]:
    """The words of texts joined by borders, and the borders; each text by the way that it needs."""
    plain = _words(False, hashtags)
    if text.isascii() or not _PERHAPS_COMPOSED.search(text):
        return plain(text)
    found: list[str] = []
    runs = groupby(text.split(_BORDER), key=_is_composed)
    for number, (composed, run) in enumerate(runs):
        if number:
            found.append(_BORDER)
        found += _words(composed, hashtags)(_BORDER.join(run))
    return found


def _is_composed(text: str) -> bool:
    """Whether a text holds marks or joiners that the plain way does not know."""
    return not text.isascii() and bool(_PERHAPS_COMPOSED.search(text) and _COMPOSED.search(text))


def check_tokenizer(tokenizer: object) -> None:
    """Complain about what is neither the name of a tokenizer nor a function.

    Raises
    ------
    ValueError
        For a name other than "words" and "characters".
    TypeError
        For anything else that cannot be called.
    """
    if tokenizer in ("words", "characters") or callable(tokenizer):
        return
    error = ValueError if isinstance(tokenizer, str) else TypeError
    raise error(
        f"tokenizer must be 'words', 'characters' or a function of one message, not {tokenizer!r}"
    )


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
    tokenizer : {"words", "characters"} or callable
        :func:`tokenize`, :func:`characters`, or what cuts one message in their place.
    hashtags : bool
        Whether ``#this`` is one word; it is not where ``#`` begins a heading, as in Markdown.

    Raises
    ------
    ValueError, TypeError
        If `tokenizer` is none of these.
    """

    def __init__(
        self, lower: bool = True, tokenizer: Tokenizer = "words", hashtags: bool = True
    ) -> None:
        check_tokenizer(tokenizer)
        self.lower, self.tokenizer = lower, tokenizer
        words = partial(_cut_words, hashtags=hashtags)
        self._cut: Cut = _CLUSTER.findall if tokenizer == "characters" else words
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
        if callable(self.tokenizer):
            return self._encode_plainly(list(map(self.tokenizer, texts)))
        return self._encode_together(texts)

    def _encode_plainly(self, messages: list[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        for wrong in (m for m in messages if isinstance(m, str) or not isinstance(m, Sequence)):
            raise TypeError(f"tokenizer must give a list of words, not {type(wrong).__name__}")
        lengths = np.fromiter(map(len, messages), dtype=np.int64, count=len(messages))
        kinds = {kind for message in messages for kind in set(map(type, message))}
        if no_text := [kind for kind in kinds if not issubclass(kind, str)]:
            raise TypeError(
                f"tokenizer must give words as strings, not {no_text[0].__name__}: if it gives "
                "numbers of words, as those of language models do, give the words themselves"
            )
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
        found = self._cut(_fold(whole, self.lower))
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


__all__ = [
    "CODE",
    "EMAIL",
    "LINK",
    "MENTION",
    "PLACEHOLDERS",
    "Encoder",
    "Tokenizer",
    "characters",
    "check_tokenizer",
    "tokenize",
]
