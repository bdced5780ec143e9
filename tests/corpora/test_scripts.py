"""Words and characters of the scripts of the world."""

import time
import unicodedata
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.corpora import tokens as module
from companion.corpora.tokens import Encoder, characters, tokenize

WORDS = [
    "नमस्ते दिल्ली क्‍या",  # Hindi
    "வணக்கம் தமிழ் நண்பர்கள்",  # Tamil
    "আমি বাংলায় কথা বলি",  # Bengali
    "ที่นี่ น้ำ เก่ง",  # Thai, with spaces
    "اَلسَّلَامُ عَلَيْكُمْ كِتَابٌ",  # vocalized Arabic
    "שָׁלוֹם עֲלֵיכֶם",  # vocalized Hebrew
    "می\u200cخواهم کتاب\u200cها",  # Persian half-spaces
    "x\u0323\u0302y d\u0323\u0307",  # two accents on one letter
    "❤️ ❤︎ 👩‍❤️‍👨 👩🏽‍🚀 🏳️‍🌈 3️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿",  # variation selectors, joiners, tags
    "#blacklives_matter #2nd #नमस्ते_दिल्ली #caf\u00e9 #می\u200cخواهم",
]


@pytest.mark.parametrize("text", WORDS)
def test_words_stay_whole(text):
    words = unicodedata.normalize("NFC", text).split()
    assert tokenize(text) == words
    assert tokenize(f"{text}!")[-2:] == [words[-1], "!"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("#BlackLives_Matter, #me's", "#blacklives_matter , #me ' s"),
        ("c# #7 ## #_ a#b &#x27;", "c # # 7 # # # _ a # b & # x27 ;"),
        ("##title #a#b", "# # title #a # b"),
        (
            "hi @jose\u0301 and @नमस्ते_जी: @می\u200cخواهم!",
            "hi <mention> and <mention> : <mention> !",
        ),
        ("é@b नमस्ते@b", "é @ b नमस्ते @ b"),
        ("दिल्ली's दिल्ली_नमस्ते ५ १०:३०", "दिल्ली's दिल्ली_नमस्ते ५ १०:३०"),
        ("नमस्ते। :-) :smile: ½ don't", "नमस्ते । :-) :smile: ½ don't"),
    ],
)
def test_hashtags_mentions_and_marks(text, tokens):
    assert tokenize(text) == tokens.split()


def test_hashtags_can_be_left_cut():
    encoder = Encoder(hashtags=False)
    tokens, _ = encoder.encode(["#title नमस्ते #दिल्ली"])
    assert encoder.vocabulary().decode(tokens) == ["#", "title", "नमस्ते", "#", "दिल्ली"]


@given(st.lists(st.sampled_from([*WORDS, "don't #Go!", "", "ok 😀", "½ ²", "e@f.gh"])))
def test_a_text_has_the_words_that_it_has_alone(texts):
    encoder = Encoder()
    tokens, lengths = encoder.encode(texts)
    alone = [tokenize(text) for text in texts]
    assert lengths.tolist() == [len(words) for words in alone]
    assert encoder.vocabulary().decode(tokens) == [word for words in alone for word in words]


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF)))
def test_words_do_not_depend_on_another_script_beside_them(text):
    assert tokenize(f"{text} नमस्ते") == [*tokenize(f"{text} "), "नमस्ते"]


def test_the_fast_look_misses_no_mark():
    letters = (*range(0xD800), *range(0xE000, 0x110000))
    marks = module._COMPOSED.findall("a".join(map(chr, letters)))
    assert len(marks) > 2_000
    assert all(module._PERHAPS_COMPOSED.search(mark) for mark in marks)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("今天很好。", "今 天 很 好 。"),
        ("カ\u3099ス", "ガ ス"),
        ("ที่นี่", "ที่ นี่"),
        ("OK 👩🏽‍🚀❤️", "o k 👩🏽‍🚀 ❤️"),
        ("看 https://a.b/c @王 <pad>", "看 <link> <mention> < p a d >"),
        (" \u3000\x1f", ""),
    ],
)
def test_characters(text, tokens):
    assert characters(text) == tokens.split()
    encoder = Encoder(tokenizer="characters")
    ids, lengths = encoder.encode([text, "", text])
    assert lengths.tolist() == [len(tokens.split()), 0, len(tokens.split())]
    assert encoder.vocabulary().decode(ids) == tokens.split() * 2


@given(st.lists(st.text()))
def test_characters_hold_no_space_and_stay_in_their_text(texts):
    encoder = Encoder(tokenizer="characters")
    ids, lengths = encoder.encode(texts)
    alone = [characters(text) for text in texts]
    assert not any(c.isspace() for token in list(chain(*alone)) for c in token)
    assert lengths.tolist() == [len(tokens) for tokens in alone]
    assert encoder.vocabulary().decode(ids) == list(chain(*alone))


@pytest.mark.parametrize(("wrong", "error"), [("word", ValueError), (None, TypeError)])
def test_another_name_of_a_tokenizer_is_an_error(wrong, error):
    with pytest.raises(error, match=f"tokenizer must be 'words', 'characters' or .* not {wrong!r}"):
        Encoder(tokenizer=wrong)


@pytest.mark.parametrize("piece", ["#", "#a", "#1", "#_", "ते", "@ते", "a\u200c", "\u200c", "ते'"])
def test_a_long_text_takes_no_more_than_its_share(piece):
    begin = time.process_time()
    tokenize(piece * 50_000 + " ते @ #")
    assert time.process_time() - begin < 5
