"""From what is typed to three words: the shared ones and the user's own together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from heapq import nlargest

import numpy as np
import regex

from companion.corpora import UNKNOWN, Vocabulary
from companion.corpora.tokens import Tokenizer
from companion.keyboard import Keyboard

_LAST_WORD = regex.compile(r"(?:[\p{L}\p{N}\p{M}_]|(?<=[\p{L}\p{N}\p{M}])['’])+\Z")


def unfinished(text: str, tokenizer: Tokenizer, lower: bool) -> tuple[str, str]:
    """What is written, and the letters of the word that is not finished yet.

    Where every character is a token, all of them are finished.

    Raises
    ------
    TypeError
        If `text` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {type(text).__name__}")
    found = None if tokenizer == "characters" else _LAST_WORD.search(text)
    if found is None:
        return text, ""
    letters = found[0].replace("’", "'")
    return text[: found.start()], letters.lower() if lower else letters


def best_words(
    keyboard: Keyboard,
    history: np.ndarray,
    prefix: str,
    own: Sequence[tuple[str, float]],
    k: int,
) -> list[str]:
    """The `k` most probable next words, shared or the user's own, the best first.

    Parameters
    ----------
    keyboard : Keyboard
    history : np.ndarray
        Token ids of the message so far, ``(tokens,)``.
    prefix : str
        The letters of the next word typed so far.
    own : sequence of (str, float)
        Words of the user's own that begin so, and each one's share of an unknown word's
        probability.
    k : int
    """
    vocabulary, read = keyboard.vocabulary, history.tolist()
    log_probs = keyboard.log_probs(read)
    shared = keyboard.suggest(read, prefix, k + _placeholders(vocabulary, prefix))
    found = [(float(log_probs[vocabulary.id(word)]), word) for word in shared]
    likeliest = nlargest(k, own, key=lambda one: one[1])
    found += [(float(log_probs[UNKNOWN] + np.log(share)), word) for word, share in likeliest]
    found.sort(key=lambda one: -one[0])  # of equal ones, the shared word stays first
    return [word for _, word in found if not _is_placeholder(word)][:k]


def _placeholders(vocabulary: Vocabulary, prefix: str) -> int:
    """How many of the words that begin so may stand for something else, at most."""
    words, _ = vocabulary.alphabetical
    return bisect_left(words, "<\U0010ffff") - bisect_left(words, "<") if prefix < "=" else 0


def _is_placeholder(word: str) -> bool:
    """Whether a token stands for a link, a mention, or a word that was forgotten."""
    return word.startswith("<") and word.endswith(">")


__all__ = ["best_words", "unfinished"]
