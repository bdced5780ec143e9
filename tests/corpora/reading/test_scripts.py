"""Logs in every script, and users whose names are written in several ways."""

import json
import warnings

import pytest

from companion.corpora import logs

CHINESE = ["今天天气很好我们一起去公园散步吧好吗", "我昨天晚上在家里看了一部很长的电影"] * 3
THAI = ["วันนี้อากาศดีมากเราไปเดินเล่นกันไหม", "เมื่อวานฉันดูหนังที่บ้านกับเพื่อน"] * 3
HINDI = ["नमस्ते दिल्ली में आज मौसम बहुत अच्छा है", "क्या आप मेरे साथ चलेंगे कल सुबह"] * 3


@pytest.fixture
def read(tmp_path):
    """Read messages, each of one user, as a log."""

    def read(messages, users=("a",), **options):
        path = tmp_path / "log.jsonl"
        rows = (
            {"who": user, "said": message}
            for number, message in enumerate(messages)
            for user in users[number % len(users) : number % len(users) + 1]
        )
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return logs.read(path, user="who", text="said", **{"min_messages": 1, **options})

    return read


@pytest.mark.parametrize("messages", [CHINESE, THAI, [*CHINESE, "short", "a b"]])
def test_text_without_spaces_is_told(read, messages):
    with pytest.warns(UserWarning, match=r"hardly any spaces.* pass tokenizer='characters'"):
        read(messages)


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        (CHINESE, {"tokenizer": "characters"}),
        (THAI, {"tokenizer": list}),
        (HINDI, {}),
        (["https://example.org/a/very/long/link"] * 6, {}),
        (["哈哈", "好的"] * 5, {}),
        ([*CHINESE, *["several quite ordinary words here"] * 6], {}),
    ],
)
def test_other_text_is_read_without_a_word(read, messages, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(messages, **options)


def test_characters_of_a_log(read):
    corpus = read(["今天 好", "ที่นี่", "OK"], tokenizer="characters")
    assert [corpus.text(i) for i in range(3)] == ["今 天 好", "ที่ นี่", "o k"]
    assert read(["one two"], tokenizer="words").text(0) == "one two"


def test_a_name_in_two_ways_is_one_user(read):
    corpus = read(["one", "two", "three"], users=("jos\u00e9", "jose\u0301", " jos\u00e9 "))
    assert corpus.user_names == ("jos\u00e9",)
    assert corpus.users.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("users", "names", "ids"),
    [
        ((123.0, 7, 123, "7.00"), ("123", "7"), [0, 1, 0, 1]),
        ((123.0, 7.0), ("123", "7"), [0, 1]),
        ((-1.0, "-1"), ("-1",), [0, 0]),
        (("007", 7), ("007", "7"), [0, 1]),
        (("1.0", "1", "ana"), ("1.0", "1", "ana"), [0, 1, 2]),
        (("1.5", "1.0"), ("1.5", "1.0"), [0, 1]),
    ],
)
def test_whole_numbers_that_a_merge_made_decimals(read, users, names, ids):
    corpus = read([f"message {number}" for number in range(len(users))], users=users)
    assert corpus.user_names == names
    in_order = corpus.users[corpus.times.argsort()]
    assert in_order.tolist() == ids
