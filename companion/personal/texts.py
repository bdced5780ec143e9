"""The text of all users by their names: cut, split in time, grown message by message, forgotten."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from companion.corpora import UNKNOWN, Corpus, Split, Vocabulary, split
from companion.corpora.tokens import Tokenizer, characters, tokenize
from companion.corpora.vocabulary import SPECIAL_TOKENS

from .settings import PersonalizerSettings
from .words import OwnWords, own_words, shared_vocabulary


def prepared(corpus: Corpus, settings: PersonalizerSettings) -> tuple[Split, Texts]:
    """Each user's text split in time, in the vocabulary that users share; and all of it to keep."""
    whole = split(corpus)
    vocabulary = shared_vocabulary(whole.train, settings.vocabulary_size, settings.writers)
    parts = {
        name: getattr(whole, name).with_vocabulary(vocabulary)
        for name in ("train", "validation", "test", "new_history", "new_test")
    }
    texts = Texts(
        names=list(corpus.user_names),
        fitted=compact(corpus.with_vocabulary(vocabulary)),
        own=own_words(corpus, vocabulary),
    )
    return Split(**parts), texts


@dataclass
class Texts:
    """What every user has written, as ids of shared words and counts of their own.

    Parameters
    ----------
    names : list of str or None
        The user's name for each id; None once the user was forgotten.
    fitted : Corpus
        What was there when the networks were trained.
    own : OwnWords
    learned : list of (int, np.ndarray)
        Users and messages since, in the order in which they came.
    """

    names: list[str | None]
    fitted: Corpus
    own: OwnWords
    learned: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = {name: i for i, name in enumerate(self.names) if name is not None}

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that all share."""
        return self.fitted.vocabulary

    @property
    def users(self) -> list[str]:
        """Everybody's name, in the order in which they came."""
        return list(self._ids)

    def id(self, user: str) -> int | None:
        """The id of a user; None for one who is not known."""
        return self._ids.get(checked_name(user))

    def known_id(self, user: str) -> int:
        """The id of a user who is known.

        Raises
        ------
        ValueError
            If nobody has this name. The message does not repeat it: messages are logged.
        """
        found = self.id(user)
        if found is None:
            raise ValueError(f"this user is none of the {len(self._ids)} users known")
        return found

    def add(self, user: str, words: Sequence[str]) -> tuple[int, np.ndarray]:
        """One more message; the user's id, new where the user is, and the ids of the words."""
        name = checked_name(user)
        if name not in self._ids:
            self._ids[name] = len(self.names)
            self.names.append(name)
        number, tokens = self._ids[name], encoded(self.vocabulary, words)
        self.learned.append((number, tokens))
        strange = zip(words, tokens, strict=True)
        self.own.add(number, (word for word, token in strange if token == UNKNOWN))
        return number, tokens

    def remove(self, user: str) -> int:
        """Forget one user, name and text; the id stands for nobody from then on."""
        number = self.known_id(user)
        del self._ids[checked_name(user)]
        self.names[number] = None
        self.own.remove(number)
        self.learned = [(one, tokens) for one, tokens in self.learned if one != number]
        self.fitted = compact(self.fitted.select(self.fitted.users != number))
        return number

    def encoded(self, words: Iterable[str]) -> np.ndarray:
        """Ids of words, as they are kept."""
        return encoded(self.vocabulary, words)

    def rename(self, vocabulary: Vocabulary) -> None:
        """Let the ids stand for these words."""
        self.fitted = replace(self.fitted, vocabulary=vocabulary)

    def corpus(self, users: Iterable[int] | None = None) -> Corpus:
        """All the text there is, each user's in order; of these users only, if given."""
        later = [(u, t) for u, t in self.learned]
        lengths = np.r_[self.fitted.lengths, [len(t) for _, t in later]].astype(np.int64)
        names = tuple(name or f"forgotten {i}" for i, name in enumerate(self.names))
        whole = replace(
            self.fitted,
            tokens=np.concatenate([self.fitted.tokens, *(t for _, t in later)]),
            lengths=lengths,
            starts=np.cumsum(lengths) - lengths,
            users=np.r_[self.fitted.users, [u for u, _ in later]].astype(np.int32),
            times=np.arange(len(lengths), dtype=np.int64),
            user_names=names,
        )
        whole = whole.select(np.argsort(whole.users, kind="stable"))
        return whole if users is None else whole.of_users(list(users))

    def written(self) -> np.ndarray:
        """Ids of every shared word that somebody has written, ascending."""
        return np.unique(np.concatenate([self.fitted.tokens, *(t for _, t in self.learned)]))


def compact(corpus: Corpus) -> Corpus:
    """The same messages, one after the other; no token of any other message is kept."""
    inside = np.repeat(corpus.starts - np.cumsum(corpus.lengths) + corpus.lengths, corpus.lengths)
    tokens = corpus.tokens[inside + np.arange(len(inside))]
    return replace(corpus, tokens=tokens, starts=np.cumsum(corpus.lengths) - corpus.lengths)


def cut(text: str, tokenizer: Tokenizer, lower: bool) -> list[str]:
    """The words of one message.

    Raises
    ------
    TypeError
        If the text, or a word that a tokenizer of one's own gives, is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {type(text).__name__}")
    if not callable(tokenizer):
        known = {"words": tokenize, "characters": characters}
        return known[tokenizer](text, lower)
    words = list(tokenizer(text))
    wrong = next((word for word in words if not isinstance(word, str)), None)
    if wrong is not None:
        raise TypeError(f"tokenizer must give a list of words, not of {type(wrong).__name__}")
    return words


def encoded(vocabulary: Vocabulary, words: Iterable[str]) -> np.ndarray:
    """Ids of words, ``(words,)`` int32; one typed as ``<pad>`` or ``<end>`` is an unknown word."""
    ids = vocabulary.encode(words)
    ids[ids < len(SPECIAL_TOKENS)] = UNKNOWN
    return ids


def checked_name(user: str) -> str:
    """A user's name as logs are read: in Unicode's form NFC, without spaces around it.

    Raises
    ------
    TypeError, ValueError
        If it is no string, or empty.
    """
    if not isinstance(user, str):
        raise TypeError(f"user must be a string, not {type(user).__name__}")
    name = unicodedata.normalize("NFC", user.strip())
    if not name:
        raise ValueError("user must not be empty")
    return name


__all__ = ["Texts", "checked_name", "compact", "cut", "encoded", "prepared"]
