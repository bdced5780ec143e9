import csv
import gzip
import io
import json
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import logs
from companion.corpora.reading import rows
from companion.corpora.reading.times import parse_times
from companion.corpora.tokens import tokenize

COLUMNS = {"user": "who", "text": "said", "time": "when"}
JANUARY = 1_577_836_800_000_000  # 2020-01-01, in microseconds
HEADER = "who,said,when\n"
GOOD = "".join(f"{'ab'[i % 2]},hello number {i},2020-01-{i + 1:02d}\n" for i in range(10))


@pytest.fixture
def read(tmp_path):
    """Write a file, and read it as a log."""

    def read(content, name="log.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return logs.read(path, **{**COLUMNS, **options})

    return read


@pytest.fixture(params=[3, 16_384])
def chunk(request, monkeypatch):
    """Rows a chunk: few, so that borders between chunks are tried, or as many as in life."""
    monkeypatch.setattr(rows, "CHUNK", request.param)


def content_of(corpus):
    """User, words and time of each message."""
    return sorted(
        (int(time), corpus.user_names[user], corpus.text(i))
        for i, (user, time) in enumerate(zip(corpus.users, corpus.times, strict=True))
    )


def frame(count=12):
    return pd.DataFrame(
        {
            "id": range(count),
            "said": [f"hi, {i} friends" for i in range(count)],
            "when": [f"2020-01-01T00:{i:02d}:00Z" for i in range(count)],
            "who": ["ana", "bo", "çelik"] * (count // 3),
        }
    )


def as_csv(data, **options):
    return data.to_csv(index=False, **options).encode()


def as_json(data):
    return data.to_json(orient="records", lines=True).encode()


def as_parquet(data):
    file = io.BytesIO()
    data.to_parquet(file)
    return file.getvalue()


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("log.csv", as_csv),
        ("log.CSV", as_csv),
        ("log.2020.csv.gz", lambda data: gzip.compress(as_csv(data))),
        ("log.tsv", lambda data: as_csv(data, sep="\t")),
        ("log.csv", lambda data: as_csv(data, lineterminator="\r\n")),
        ("log.csv", lambda data: b"\xef\xbb\xbf" + as_csv(data)),
        ("log.jsonl", as_json),
        (
            "log.ndjson.gz",
            lambda d: gzip.compress(d.to_json(orient="records", lines=True).encode()),
        ),
        ("log.parquet", as_parquet),
    ],
)
def test_every_format_gives_the_same(read, name, write):
    corpus = read(write(frame()), name)
    assert corpus.user_names == ("ana", "bo", "çelik")
    minute = 60_000_000
    assert content_of(corpus) == [
        (JANUARY + i * minute, ("ana", "bo", "çelik")[i % 3], f"hi , {i} friends")
        for i in range(12)
    ]


def test_other_text_files(read):
    without_header = as_csv(frame(), header=False, sep="|")
    names = ["id", "said", "when", "who"]
    corpus = read(without_header, "log.txt", delimiter="|", column_names=names)
    assert len(corpus) == 12
    accented = read(as_csv(frame()).decode().encode("cp1252"), encoding="cp1252")
    assert accented.user_names == ("ana", "bo", "çelik")
    unquoted = read(HEADER + 'a,"hi,1\n' * 3, quote=None, time_format="%d")
    assert content_of(unquoted)[0][2] == '" hi'


@pytest.mark.usefixtures("chunk")
def test_quotes_after_a_backslash(read):
    rows = 'a,"say \\"hi\\", twice",2020-01-01\nb,"a \\\\ b",2020-01-02\n'
    corpus = read(HEADER + rows + GOOD, escape="\\", min_messages=1)
    found = {(user, words) for _, user, words in content_of(corpus)}
    assert found >= {("a", 'say " hi " , twice'), ("b", "a \\ b")}


def test_messages_are_sorted_by_time_or_stay_in_the_order_of_rows(read):
    text = HEADER + "a,late,2020-03-01\na,early,2020-01-01\na,middle,2020-02-01\n"
    assert [line for _, _, line in content_of(read(text))] == ["early", "middle", "late"]
    by_row = read(text, time=None)
    assert [by_row.text(i) for i in range(3)] == ["late", "early", "middle"]
    assert by_row.times.tolist() == [1, 2, 3]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["10", "2", "3"], [2, 3, 10]),
        (["1.5", "2", "1e1"], [1_500_000, 2_000_000, 10_000_000]),
        (["1", "2", "3", "0.5"], [500_000, 1_000_000, 2_000_000, 3_000_000]),
        (["1600000000000000000"] * 3, [1_600_000_000_000_000_000] * 3),
        (["2020-01-01 01:00+01:00", "2020-01-01", "2020-01-01T00:00:00.000Z"], [JANUARY] * 3),
    ],
)
def test_times(read, times, expected):
    corpus = read(HEADER + "".join(f"a,x,{time}\n" for time in times))
    assert corpus.times.tolist() == expected


@settings(max_examples=50)
@given(st.lists(st.datetimes(), min_size=1, max_size=9))
def test_dates_keep_their_order(dates):
    times, wrong = parse_times([date.isoformat() for date in dates])
    assert wrong == -1
    by_date = sorted(range(len(dates)), key=dates.__getitem__)
    assert np.argsort(times, kind="stable").tolist() == by_date


@pytest.mark.parametrize(
    "values",
    [
        [pd.Timestamp(2020, 1, day) for day in (1, 2, 3)],
        pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"], utc=True),
        [pd.Timestamp(2020, 1, day).date() for day in (1, 2, 3)],
        pd.Categorical(["2020-01-01", "2020-01-02", "2020-01-03"]),
    ],
)
def test_kinds_of_dates_in_parquet(read, values):
    data = pd.DataFrame({"who": [7] * 3, "said": pd.Categorical(["x", "y", "x"]), "when": values})
    corpus = read(as_parquet(data), "log.parquet")
    assert corpus.times.tolist() == [JANUARY + i * 86_400_000_000 for i in range(3)]
    assert corpus.user_names == ("7",)


# What is left out, and that it is told


SKIPPED = GOOD + "\na,,2020-01-01\n ,x,2020-01-01\nc,only one,2020-01-01\na, \t ,2020-01-01\n\n"


@pytest.mark.usefixtures("chunk")
def test_what_is_left_out_is_told(read):
    reports = []
    corpus = read(HEADER + SKIPPED, report=reports.append)
    assert reports == [logs.Report(14, 10, empty=2, unnamed=1, short_users=1, short_messages=1)]
    assert corpus.user_names == ("a", "b")
    with pytest.warns(UserWarning, match=r"log.csv: 10 of 14 rows kept; left out: 2 empty texts, "):
        read(HEADER + SKIPPED)


def test_where_nothing_is_left_out_nothing_is_said(read, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(HEADER + GOOD, progress=False)
    assert capsys.readouterr() == ("", "")


MESSAGES = st.tuples(
    st.sampled_from(["ana", "bo", "", " ", 'c"d', "e,f"]),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8),
    st.integers(-(2**40), 2**40),
)


@settings(max_examples=60)
@given(st.lists(MESSAGES, min_size=1), st.sampled_from(["csv", "jsonl", "parquet"]))
def test_nothing_is_lost(tmp_path_factory, messages, ending):
    data = pd.DataFrame([("ana", "at least one", 0), *messages], columns=["who", "said", "when"])
    path = tmp_path_factory.mktemp("logs") / f"log.{ending}"
    path.write_bytes({"csv": as_csv, "jsonl": as_json, "parquet": as_parquet}[ending](data))
    reports = []
    corpus = logs.read(path, **COLUMNS, min_messages=1, report=reports.append)
    kept = [
        (time, user, " ".join(tokenize(text)))
        for user, text, time in data.itertuples(index=False)
        if tokenize(text) and user.strip()
    ]
    assert content_of(corpus) == sorted(kept)
    (report,) = reports
    assert report.rows == len(data)
    assert report.messages == len(kept)
    assert report.rows == report.messages + report.empty + report.unnamed


# What cannot be read


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (GOOD + "b,fine,1 January\n", r"row 11 \(line 12\), column 'when': '1 January' must be a "),
        (GOOD + '\na,"two\nlines",2020-01-01\na,x,never\n', r"row 13 \(line 15\).*'never' must be"),
        (GOOD + "b,fine,\n", r"row 11 \(line 12\), column 'when': '' must be a date such as"),
        (GOOD + "b,one,too,many\n", r"row 11 \(line 12\): 4 fields, but the file has 3 columns"),
        (GOOD + "b,fine\n", r"row 11 \(line 12\): 2 fields"),
        (GOOD + 'a,"open,2020-01-01\n', r"row 11 \(line 12\): a field opens with a quote"),
        (GOOD + 'a,"open,2020-01-01\n' + GOOD * 400, r"row 11 \(line 12\): a field opens"),
        (GOOD + 'a,"open,2020-01-01\n' + GOOD + 'a,"x",2020-01-01\n', r"row 11 \(line 12\): a fie"),
        (GOOD + 'a,"say "hi" now",2020-01-01\n', r"row 11 \(line 12\): a field opens"),
        ("a,,2020-01-01\n,x,2020-01-01\n", "none of its 2 rows can be used: 1 without a word in "),
        ("", "there are no rows"),
        ("\n\n", "there are no rows"),
        (
            "a,x,2020-01-01\n",
            "1 of 1 users have fewer than min_messages=3 messages, such ",
        ),
    ],
)
def test_rows_that_cannot_be_read(read, rows, message):
    with pytest.raises(logs.LogError, match=f"^log.csv.*{message}"):
        read(HEADER + rows)


def test_a_runaway_quote_is_stopped_early(read, monkeypatch):
    """The rest of the file is not swallowed: reading ends within the next million characters."""
    taken = []
    take = rows._take
    monkeypatch.setattr(rows, "_take", lambda *a: taken.append(a) or take(*a))
    with pytest.raises(logs.LogError, match=r"row 50,001 \(line 50,002\)"):
        read(HEADER + GOOD * 5_000 + 'a,"open,2020-01-01\n' + GOOD * 50_000)
    assert len(taken) < 6


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("who,text,when", "text='said' is not among its columns: 'who', 'text', 'when'"),
        ("who;said;when", r"user='who' is not among.*: 'who;said;when' \(is the delimiter ';'\?"),
        ("who,said,when,who", "user='who' is twice among its columns"),
        ("", "the first line, which names the columns, is empty"),
    ],
)
def test_columns_that_are_not_there(read, header, message):
    with pytest.raises(logs.LogError, match=message):
        read(f"{header}\n{GOOD}")


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.jsonl"])
def test_mixed_encodings(read, name):
    lines = ["b,é,2020-01-11", "b,à,2020-01-12", "b,fine,2020-01-13"]
    if name == "log.jsonl":
        header, good = "", "".join(f'{{"who":1,"said":"x","when":{i}}}\n' for i in range(10))
        lines = [f'{{"who":1,"said":"{c}","when":2}}' for c in "éàx"]
        where = "row 12: "
    else:
        header, good, where = HEADER, GOOD, r"row 12 \(line 13\): "
    encodings = ("utf-8", "cp1252", "utf-8")
    mixed = [f"{line}\n".encode(e) for line, e in zip(lines, encodings, strict=True)]
    content = (header + good).encode() + b"".join(mixed)
    content = gzip.compress(content) if name.endswith("gz") else content
    with pytest.raises(logs.LogError, match=rf"{where}byte 0xe0 is not utf-8\. Name the encoding"):
        read(content, name)
    assert len(read(content, name, encoding_errors="replace")) == 13


def test_a_broken_compressed_file(read):
    whole = gzip.compress((HEADER + GOOD * 100).encode())
    for content in (whole[:-20], b"not compressed", whole[:-6] + b"xx" + whole[-4:]):
        with pytest.raises(
            logs.LogError, match=r"compressed file is broken|not utf-8|fields|quote"
        ):
            read(content, "log.csv.gz")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"who": 1', "row 2: not a JSON object"),
        ("[1, 2]", "row 2: a JSON list, but it must be an object"),
        ('{"who": 1, "when": 2}', "row 2: there is no 'said' among its keys: 'who', 'when'"),
        ('{"who": 1, "said": 3, "when": 2}', "row 2, column 'said': must be text, not int"),
        ("[" * 100_000, "row 2: a JSON object that is nested too deeply|row 2: not a JSON object"),
        ('{"who": {}, "said": "x", "when": 2}', "row 2, column 'who': must be text, not an object"),
        ('{"who": 1, "said": "x", "when": null}', "row 2, column 'when': '' must be a number"),
        ('{"who": 1, "said": "x", "when": "1e999"}', "'1e999' must be a number"),
    ],
)
def test_json_lines_that_cannot_be_read(read, line, message):
    good = json.dumps({"who": 1, "said": "x", "when": 1})
    with pytest.raises(logs.LogError, match=f"^log.jsonl.*{message}"):
        read(f"{good}\n{line}\n", "log.jsonl")


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"said": 1}, "column 'said': must hold text, not int64"),
        ({"who": 1.5}, "row 1, column 'who': 1.5 is no whole number, as the id of a user must be"),
        ({"when": True}, "column 'when': must hold dates, numbers or text, not bool"),
        ({"when": [1.0] * 7 + [np.nan] + [np.inf] * 4}, "row 8, column 'when': "),
        ({"when": [None] * 3 + [pd.Timestamp(2020, 1, 1)] * 9}, "row 1, column 'when'"),
    ],
)
def test_parquet_that_cannot_be_read(read, change, message):
    with pytest.raises(logs.LogError, match=f"^log.parquet.*{message}"):
        read(as_parquet(frame().assign(**change)), "log.parquet")


def test_parquet_that_is_damaged(read):
    whole = as_parquet(frame())
    for content in (b"", whole[:-9], whole[:4] + bytes(900) + whole[904:]):
        with pytest.raises(logs.LogError, match=r"log.parquet.*not a Parquet file, or damaged"):
            read(content, "log.parquet")
    with pytest.raises(logs.LogError, match="text='a' is not among its columns: 'id', 'said', "):
        read(whole, "log.parquet", text="a")


def test_arguments_are_checked(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path='nowhere.csv' does not exist"):
        logs.read("nowhere.csv", **COLUMNS)
    with pytest.raises(FileNotFoundError, match=r"holds no file whose name ends in one of .csv, "):
        logs.read(tmp_path, **COLUMNS)
    with pytest.raises(ValueError, match=r"log.xls: the format must show in the ending, one of .c"):
        read(GOOD, "log.xls")
    with pytest.raises(ValueError, match="min_messages must be at least 1, not 0"):
        read(GOOD, min_messages=0)
    with pytest.raises(ValueError, match="short_histories must be 'drop' or 'error', not 'keep'"):
        read(GOOD, short_histories="keep")


def test_short_histories_can_be_an_error(read):
    with pytest.raises(logs.LogError, match="1 of 3 users have fewer than min_messages=3 messages"):
        read(HEADER + GOOD + "c,one,2020-01-01\n", short_histories="error")


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_progress_reaches_the_end(read, monkeypatch, name):
    class Bar:
        n = 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            self.n += count

    bar, asked = Bar(), []
    monkeypatch.setattr(logs, "progress_bar", lambda *arguments: asked.append(arguments) or bar)
    content = (HEADER + GOOD).encode()
    content = gzip.compress(content) if name.endswith("gz") else content
    read(content, name, progress=True)
    assert asked == [(len(content), f"Reading {name}", "B", True)]
    assert bar.n == len(content)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_large_field_is_read(read, quote):
    before = csv.field_size_limit()
    long = "word " * 50_000
    corpus = read(f"{HEADER}a,{quote}{long}{quote},2020-01-01\n{GOOD}")
    assert corpus.lengths.max() == 50_000
    assert csv.field_size_limit() == before
    with pytest.raises(logs.LogError, match=r"row 1 \(line 2\): a field of more than 1,000,000 ch"):
        read(f"{HEADER}a,{quote}{long * 5}{quote},2020-01-01\n{GOOD}")


@pytest.mark.usefixtures("chunk")
def test_rows_swallowed_by_a_stray_quote_are_told(read):
    swallowing = HEADER + GOOD + 'a,"two,2020-02-01\na,three,2020-02-02\na,four",2020-02-03\n'
    with pytest.warns(UserWarning, match=r"11 of 11 rows kept; rows with a line .* like a row: 1 "):
        read(swallowing)
    reports = []
    read(HEADER + GOOD + 'a,"an\nhonest, short\nmessage",2020-02-03\n', report=reports.append)
    assert reports == [logs.Report(11, 11)]


def test_names_are_stripped(read):
    spaced = GOOD.replace("a,hello", " a ,hello").replace(" a ", "a", 1)
    assert read(HEADER + spaced).user_names == ("a", "b")


def test_utf_16_is_recognized(read):
    for encoding, says in [("utf-16", "try encoding='utf-16'"), ("utf-16-le", "is the encoding")]:
        with pytest.raises(logs.LogError, match=says):
            read((HEADER + GOOD).encode(encoding))
    assert len(read((HEADER + GOOD).encode("utf-16"), encoding="utf-16")) == 10


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"encoding": "utf-9"}, ValueError, "encoding must be one that Python knows, not 'utf-9'"),
        ({"encoding_errors": "foo"}, ValueError, "encoding_errors must be one .* not 'foo'"),
        ({"delimiter": ";;"}, ValueError, "delimiter must be one character or None, not ';;'"),
        ({"quote": ""}, ValueError, "quote must be one character or None, not ''"),
        ({"min_messages": "3"}, TypeError, "min_messages must be an integer, not '3'"),
        ({"tokenizer": "split"}, ValueError, "must be 'words', 'characters' or a .* not 'split'"),
        ({"tokenizer": 3}, TypeError, "tokenizer must be 'words', 'characters' or a .* not 3"),
        ({"tokenizer": lambda text: None}, TypeError, "tokenizer must give a list .* not None"),
        ({"tokenizer": str.upper}, TypeError, "tokenizer must give a list of words, not str"),
        ({"column_names": "ut"}, TypeError, "column_names must be a list of names, not 'ut'"),
        ({"text": "who"}, ValueError, "user and text must be two columns, not 'who' twice"),
        ({"user": None}, TypeError, "user must be the name of a column, not None"),
    ],
)
def test_wrong_options_are_named(read, options, error, says):
    with pytest.raises(error, match=says):
        read(HEADER + GOOD, **options)


def test_memory_does_not_hold_the_text(tmp_path, monkeypatch):
    """A file of 10 MB must not take as much again: what stays is four bytes a token."""
    monkeypatch.setattr(rows, "CHUNK", 100)
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "said"])
        writer.writerows([f"user {i % 100}", "w" * 10_000] for i in range(1_000))
    tracemalloc.start()
    try:
        logs.read(path, user="who", text="said")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * path.stat().st_size
