import json

import pytest

from companion.corpora import logs
from companion.corpora.reading import rows

COLUMNS = {"user": "from.name", "text": "said", "time": "when"}
RECORDS = [
    {"from": {"name": "ana", "id": 3}, "said": "late", "when": 2.5},
    {"from": {"name": "bo"}, "said": ["ear", {"type": "bold", "text": "ly"}], "when": 1},
    {"from": {"name": "ana"}, "said": None, "when": 2},
    {"from": {"name": float("nan")}, "said": "hm", "when": 2},
]
FOUND = [("bo", "early"), ("ana", "late")]


@pytest.fixture(params=[1, 16_384], autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", request.param)


@pytest.mark.parametrize("make", [list, tuple, iter, lambda r: (each for each in r)])
def test_records_in_memory(said, make):
    found, report, _ = said(make(RECORDS), **COLUMNS)
    assert found == FOUND
    assert (report.rows, report.empty, report.unnamed) == (4, 1, 1)


def test_a_key_with_full_stops_may_be_one_key(said):
    flat = [{"from.name": "ana", "from": 3, "said": "hi"}]
    assert said(flat, user="from.name", text="said")[0] == [("ana", "hi")]


@pytest.mark.parametrize(
    ("wrap", "options"),
    [
        (lambda r: r, {}),
        (lambda r: {"name": "x", "messages": r}, {}),
        (lambda r: {"chats": {"list": [{"messages": r[:1]}, {"messages": r[1:]}]}}, {}),
        (lambda r: {"data": {"rows": r}, "messages": 7}, {"records": "data.rows"}),
    ],
)
def test_lists_in_documents(said, file, wrap, options):
    path = file("log.json", json.dumps(wrap(RECORDS)).replace("NaN", "null"))
    assert said(path, **COLUMNS, **options)[0] == FOUND


def test_lines_may_be_nested_too(said, file):
    lines = "\n".join(json.dumps(record) for record in RECORDS[:2])
    assert said(file("log.jsonl", lines), **COLUMNS)[0] == FOUND


def test_a_missing_key_can_be_skipped(said):
    some = [*RECORDS, {"said": "who?", "when": 9}, {"from": 3, "said": "who?", "when": 9}]
    found, report, _ = said(some, missing="skip", **COLUMNS)
    assert found == FOUND
    assert report.unnamed == 3


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"said": "x", "when": 1}, "there is no 'from.name' among its keys: 'said', 'when'"),
        ({"from": {}, "said": "x", "when": 1}, "no 'from.name' among its keys: none in a dict"),
        ({"from": "x", "said": "x", "when": 1}, "no 'from.name' among its keys: none in a str"),
        ({"from": {"name": {"first": 1}}, "said": "x"}, "an object: name one of 'from.name.first'"),
        ({"from": {"name": ["a"]}, "said": "x"}, "column 'from.name': must be text, not list"),
        ({"from": {"name": "a"}, "said": 3, "when": 1}, "column 'said': must be text, not int"),
        ({"from": {"name": "a"}, "said": ["a", 3]}, "a part of the text must be text, or have one"),
        ({"from": {"name": "a"}, "said": "x", "when": b"1"}, "column 'when': must be text, not by"),
        (["a", "b"], "<class 'list'>, but it must be an object with keys"),
        ("text", "<class 'str'>, but it must be an object with keys"),
    ],
)
def test_records_that_cannot_be_read(said, record, message):
    with pytest.raises(logs.LogError, match=f"^the records, row 5.*{message}"):
        said([*RECORDS, record], **COLUMNS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "log.json: not a JSON document .*line 1.*; if each line is an object of its own"),
        ('{"a": 1}\n{"a": 2}', r"not a JSON document \(Extra data, line 2\)"),
        ("", "not a JSON document"),
        ('{"users": {}, "a": 1}', r"no list of records \(there are: 'users', 'a'\). Say where"),
        ("3", r"no list of records \(there are: int\)"),
        ("[]", "there are no rows"),
        ("[" * 100_000, "not a JSON document"),
        ("[1]", "row 1: a JSON int, but it must be an object"),
        (b"[\xff]", "byte 0xff is not utf-8"),
    ],
)
def test_documents_that_cannot_be_read(said, file, content, message):
    with pytest.raises(logs.LogError, match=message):
        said(file("log.json", content), **COLUMNS)
    with pytest.raises(logs.LogError, match=r"no list at records='a\.b' \(there are: 'messages'\)"):
        said(file("other.json", '{"messages": []}'), records="a.b", **COLUMNS)
