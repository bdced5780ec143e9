"""What a keyboard that shows three words would have suggested, and the keystrokes it saves."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from companion.corpora import UNKNOWN, Vocabulary

SHOWN = 3  # words a phone keyboard shows above its keys
N_SPECIAL = UNKNOWN + 1
LAST_CHARACTER = "\U0010ffff"  # sorts after every letter, so prefix + this ends the prefix's range


class Suggestions:
    """Ranks real words by probability, among all of them or among those with a given beginning.

    Words with exactly equal probabilities rank by their id, as a stable sort would leave them (in
    a vocabulary ordered by frequency: the more frequent word first). Special tokens are never
    suggested.

    Parameters
    ----------
    vocabulary : Vocabulary
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        ids = range(N_SPECIAL, len(vocabulary))
        self._alphabetical = np.array(sorted(ids, key=vocabulary.words.__getitem__), dtype=np.intp)
        self._letters = vocabulary.letters
        self._ranges = _prefix_ranges(vocabulary.words, self._alphabetical)

    def judge(self, log_probs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How well each target would have been suggested.

        By hand a word costs its letters and a space. A tap on a suggestion costs one keystroke and
        enters the word with its space. So a word tapped as soon as it is shown saves as many
        keystrokes as it still had letters to type.

        Parameters
        ----------
        log_probs : np.ndarray
            ``(targets, words)``.
        targets : np.ndarray
            Ids of real words, ``(targets,)``.

        Returns
        -------
        rank : np.ndarray
            Real words suggested before the target when nothing is typed yet, ``(targets,)`` int.
        saved : np.ndarray
            Keystrokes saved, ``(targets,)`` float.
        """
        before = _before(log_probs, targets)
        rank = np.count_nonzero(before[:, N_SPECIAL:], axis=1)
        saved = self._letters[targets]
        later = rank >= SHOWN
        saved[later] -= self._letters_before_shown(before[later], targets[later])
        return rank, saved

    def _letters_before_shown(self, before: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Letters to type until the target is among the words shown, ``(targets,)`` int."""
        ordered = before.take(self._alphabetical, axis=1)
        # words with one beginning stand side by side in the alphabet: a range holds them all
        ranges = self._ranges[:, targets] + ordered.shape[1] * np.arange(len(targets))[:, None]
        first, last = np.searchsorted(np.flatnonzero(ordered), ranges)  # (targets, letters typed)
        return np.count_nonzero(last - first >= SHOWN, axis=1)


def _before(log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether each word is suggested before the target, ``(targets, words)`` bool."""
    own = np.take_along_axis(log_probs, targets[:, None], axis=1)
    before = log_probs > own
    rows, words = np.divmod(np.flatnonzero(log_probs == own), log_probs.shape[1])
    tied = words < targets[rows]
    before[rows[tied], words[tied]] = True
    return before


def _prefix_ranges(words: tuple[str, ...], alphabetical: np.ndarray) -> np.ndarray:
    """Where the words with the same beginning stand in the alphabet, ``(2, words, letters)`` int32.

    For each word and each number of letters typed, from 0 to all but one: the first place, and the
    one after the last. Both are 0 where the word has no such letter left to save.
    """
    ordered = [words[i] for i in alphabetical]
    longest = max(map(len, ordered), default=0)
    ranges = np.zeros((2, len(words), longest), dtype=np.int32)
    found: dict[str, tuple[int, int]] = {}
    for i, word in zip(alphabetical, ordered, strict=True):
        for typed in range(len(word)):
            prefix = word[:typed]
            if prefix not in found:
                end = bisect_left(ordered, prefix + LAST_CHARACTER)
                found[prefix] = (bisect_left(ordered, prefix), end)
            ranges[:, i, typed] = found[prefix]
    return ranges
