import time
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from companion.corpora.tokens import Encoder, tokenize
from companion.corpora.vocabulary import SPECIAL_TOKENS


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't you KNOW?!", "don't you know ?!"),
        ("Don’t", "don't"),
        ("rock'n'roll 'tis goin'", "rock'n'roll ' tis goin '"),
        ("see you at 10:30, or 3.14. 1,000!", "see you at 10:30 , or 3.14 . 1,000 !"),
        ("2nd h2o gr8 snake_case _so_", "2nd h2o gr8 snake_case _ so _"),
        ("well... no...way!!!", "well ... no ... way !!!"),
        ("look https://a.b/c?d=e#f.", "look <link> ."),
        ("(www.a.org) HTTP://A.B", "( <link> ) <link>"),
        ("hi @some-one and @a/b!", "hi <mention> and <mention> !"),
        ("to a.b+c@d-e.org, not @ all", "to <email> , not @ all"),
        ("try `x = 1` or ```\nfor @y\n```ok", "try <code> or <code> ok"),
        ("unclosed ```\nfor y", "unclosed <code>"),
        (":smile: :+1: a:b :-) :D <3 xD", ":smile: :+1: a : b :-) :d <3 xd"),
        ("👍🏽 ❤️ 🇫🇷🇩🇪 👨‍👩‍👧😀", "👍🏽 ❤️ 🇫🇷 🇩🇪 👨‍👩‍👧 😀"),
        ("na\u00efve nai\u0308ve", "na\u00efve na\u00efve"),
        ("<link> <pad> <b>", "< link > < pad > < b >"),
        ("\x00a\x01", "a"),
        ("\ud800", "?"),
        (" \n\t ", ""),
    ],
)
def test_words(text, tokens):
    assert tokenize(text) == tokens.split()


def test_case_can_be_kept():
    assert tokenize("Dear Ana :D", lower=False) == ["Dear", "Ana", ":D"]


@given(st.text())
def test_a_token_has_no_space_and_is_not_empty(text):
    tokens = tokenize(text)
    assert all(token and not any(c.isspace() for c in token) for token in tokens)
    assert not set(tokens) & set(SPECIAL_TOKENS)


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Po", "So", "Zs"])))
def test_nothing_is_lost(text):
    """Where nothing is replaced, the tokens hold every letter and mark of the text."""
    for sign in "@`’":
        text = text.replace(sign, " ")
    text = text.replace("://", " ").replace("www.", " ")
    kept = "".join(tokenize(text, lower=False))
    assert kept == "".join(unicodedata.normalize("NFC", text).split())


@given(st.lists(st.text()), st.booleans())
@example(["\x00", "a\u200d", "\ufe0fb", "```", "c", "\u0301d", "Σ", "ΑΣ", "1.", "2"], True)
@example(["e@", "f.org", "@", "g", ":h", "i:", "\U0001f1eb", "\U0001f1f7", "\x01"], True)
def test_many_texts_at_once_are_as_one_by_one(texts, lower):
    encoder = Encoder(lower)
    tokens, lengths = encoder.encode(texts)
    one_by_one = [tokenize(text, lower) for text in texts]
    assert lengths.tolist() == [len(words) for words in one_by_one]
    assert encoder.vocabulary().decode(tokens) == [word for words in one_by_one for word in words]
    assert tokens.dtype == np.int32


@given(st.lists(st.lists(st.text(), max_size=4), max_size=4))
def test_chunks_are_as_one(chunks):
    by_chunk, whole = Encoder(), Encoder()
    parts = [by_chunk.encode(chunk)[0] for chunk in chunks]
    together, _ = whole.encode([text for chunk in chunks for text in chunk])
    assert np.array_equal(np.concatenate([*parts, np.zeros(0, int)]), together)
    assert by_chunk.vocabulary() == whole.vocabulary()


def test_another_tokenizer():
    encoder = Encoder(tokenizer=str.split)
    tokens, lengths = encoder.encode(["A b-c", "", "<pad> b-c <unknown>"])
    assert lengths.tolist() == [2, 0, 3]
    words = encoder.vocabulary().decode(tokens)
    assert words == ["A", "b-c", "<unknown>", "b-c", "<unknown>"]


@pytest.mark.parametrize(
    "piece", ["a", "a.", "1.", "a@", "`", ":", "www.", "h://", "'a", "\u0301", "\u200d", "@a"]
)
def test_a_long_text_takes_no_more_than_its_share(piece):
    begin = time.process_time()
    tokenize(piece * 100_000 + "@ `")
    assert time.process_time() - begin < 5


def test_the_vocabulary_can_be_saved():
    encoder = Encoder(tokenizer=str.split)
    encoder.encode(["\ud800 ok"])
    assert len(encoder.vocabulary().fingerprint) == 16
