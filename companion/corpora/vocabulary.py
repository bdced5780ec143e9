"""Words and their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PADDING, BEGIN, END, UNKNOWN = range(4)
SPECIAL_TOKENS = ("<pad>", "<begin>", "<end>", "<unknown>")


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of distinct words; a word's id is its place in it.

    Parameters
    ----------
    words : tuple of str
        All words, the four special tokens first (``<pad>``, ``<begin>``, ``<end>``, ``<unknown>``).
    unknown_length : float
        Mean number of letters of the training words that are *not* in the vocabulary: what typing
        an unknown word costs when keystrokes are counted.
    """

    words: tuple[str, ...]
    unknown_length: float = 0.0

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL_TOKENS)] != SPECIAL_TOKENS:
            raise ValueError(f"words must begin with {SPECIAL_TOKENS}, not {self.words[:4]}")
        if len(set(self.words)) != len(self.words):
            raise ValueError("words must be distinct")

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Vocabulary:
        """Every distinct word of `words`, in order of first appearance."""
        return cls(tuple(dict.fromkeys((*SPECIAL_TOKENS, *words))))

    @classmethod
    def from_counts(
        cls, words: Sequence[str], counts: np.ndarray, size: int | None = None, min_count: int = 1
    ) -> Vocabulary:
        """The most frequent of `words`, at most `size` in all (special tokens included).

        Ties are broken by the order of `words`, so the result depends on nothing else.
        """
        if size is not None and size <= len(SPECIAL_TOKENS):
            raise ValueError(f"size must exceed {len(SPECIAL_TOKENS)} special tokens, not {size}")
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= max(min_count, 1)]
        kept = order if size is None else order[: size - len(SPECIAL_TOKENS)]
        rare = np.setdiff1d(np.flatnonzero(counts > 0), kept, assume_unique=True)
        lengths = np.array([len(words[i]) for i in rare], dtype=float)
        mean = float(np.average(lengths, weights=counts[rare])) if len(rare) else 0.0
        return cls((*SPECIAL_TOKENS, *(words[i] for i in kept)), unknown_length=mean)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def alphabetical(self) -> tuple[list[str], np.ndarray]:
        """The real words in alphabetical order, and the id of each."""
        order = sorted(range(len(SPECIAL_TOKENS), len(self)), key=self.words.__getitem__)
        return [self.words[i] for i in order], np.array(order, dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when any word or its place changes."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:16]

    @cached_property
    def letters(self) -> np.ndarray:
        """Letters typed for each word, ``(words,)`` float; 0 for padding, begin and end."""
        lengths = np.array([len(word) for word in self.words], dtype=float)
        lengths[[PADDING, BEGIN, END]] = 0.0
        lengths[UNKNOWN] = self.unknown_length
        return lengths

    def id(self, word: str) -> int:
        """The id of `word`, or that of ``<unknown>``."""
        return self._ids.get(word, UNKNOWN)

    def encode(self, words: Iterable[str]) -> np.ndarray:
        """Ids of `words`, int32; words outside the vocabulary become ``<unknown>``."""
        return np.fromiter((self._ids.get(w, UNKNOWN) for w in words), dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of `ids`.

        Raises
        ------
        ValueError
            If an id is outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        wrong = next((i for i in ids if not 0 <= i < len(self)), None)
        if wrong is not None:
            raise ValueError(f"token id {wrong} is outside the vocabulary: 0 to {len(self) - 1}")
        return [self.words[i] for i in ids]
