"""The life of a model: what is kept of it beside its numbers, and text that is not its own."""

from dataclasses import dataclass

import numpy as np
import pytest

from companion.corpora import Corpus, Vocabulary
from companion.keeping import CorruptedFileError
from companion.users.lifecycle import Life, check_text

WORDS = Vocabulary.from_words(["go", "on", "now"])


@dataclass
class Toy:
    weight: np.ndarray
    vocabulary: Vocabulary | None = None
    user_names: tuple[str, ...] | None = None


LIFE = Life(
    kind="toy",
    name="toy",
    framework=(np,),
    code=(),
    arrays=lambda toy: {"weight": toy.weight},
    settings=lambda toy: {"size": len(toy.weight)},
    make=lambda arrays, settings, path: Toy(arrays["weight"]),
)


def test_a_file_holds_the_words_and_the_names_of_the_users(tmp_path):
    vocabulary = Vocabulary(WORDS.words, unknown_length=4.5)
    LIFE.save(Toy(np.ones(2), vocabulary, ("ana", "josé")), tmp_path / "toy")
    again = LIFE.load(tmp_path / "toy")
    assert again.vocabulary == vocabulary
    assert again.user_names == ("ana", "josé")


def test_a_model_without_words_comes_back_without(tmp_path):
    LIFE.save(Toy(np.ones(2)), tmp_path / "toy")
    assert LIFE.load(tmp_path / "toy").vocabulary is None


def test_a_changed_word_is_noticed(tmp_path):
    LIFE.save(Toy(np.ones(2), WORDS), tmp_path / "toy")
    content = (tmp_path / "toy").read_bytes()
    assert b"now" in content
    (tmp_path / "toy").write_bytes(content.replace(b"now", b"not"))
    with pytest.raises(CorruptedFileError, match="altered"):
        LIFE.load(tmp_path / "toy")


def test_text_of_other_words_is_refused():
    own = Corpus.from_messages([["go", "on", "now"]], ["ana"])
    other = Corpus.from_messages([["go", "off", "now"]], ["ana"])
    check_text(own.vocabulary, len(own.vocabulary), own)
    check_text(None, len(own.vocabulary), other)  # nobody told the model its words
    with pytest.raises(ValueError, match=r"corpus has another vocabulary .* word 5 is 'off'"):
        check_text(own.vocabulary, len(own.vocabulary), other)
    with pytest.raises(ValueError, match="model has a vocabulary of 6 words, but corpus has 7"):
        check_text(None, 6, own)
    with pytest.raises(ValueError, match="corpus is empty"):
        check_text(None, 7, own.first(0))
