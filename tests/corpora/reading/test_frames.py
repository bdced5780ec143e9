import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from companion.corpora import logs
from companion.corpora.reading import rows

COLUMNS = {"user": "who", "text": "said", "time": "when"}
DAY = 86_400_000_000
JANUARY = 1_577_836_800_000_000  # 2020-01-01, in microseconds


@pytest.fixture(params=[2, 16_384], autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", request.param)


def frame(**change):
    days = pd.to_datetime(["2020-01-03", "2020-01-01", "2020-01-02", "2020-01-04"])
    columns = {"who": ["ana", "bo", "ana", "çelik"], "said": ["hi", "ho", "ha", "he"], "when": days}
    return pd.DataFrame({**columns, **change}, index=[7, 7, 8, 9])


class Lent:
    """What another library's frame is: something that hands out a stream of Arrow."""

    def __init__(self, data):
        self.table = pa.table(data)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("make", [lambda f: f, pa.Table.from_pandas, Lent])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"who": pd.Categorical(["ana", "bo", "ana", "çelik"])},
        {"said": pd.array(["hi", "ho", "ha", "he"], dtype="string")},
        {"when": pd.to_datetime([f"2020-01-0{day}T01:00+01:00" for day in (3, 1, 2, 4)])},
        {"when": [datetime.date(2020, 1, day) for day in (3, 1, 2, 4)]},
        {"when": [f"2020-01-0{day}" for day in (3, 1, 2, 4)]},
    ],
)
def test_frames_and_tables_give_the_same(said, make, change):
    found, report, corpus = said(make(frame(**change)), **COLUMNS)
    assert found == [("bo", "ho"), ("ana", "ha"), ("ana", "hi"), ("çelik", "he")]
    assert sorted(corpus.times) == [JANUARY + day * DAY for day in range(4)]
    assert report.rows == 4


@pytest.mark.parametrize("make", [lambda f: f, pa.Table.from_pandas])
def test_floating_ids_are_whole_numbers(said, make):
    ids = [12.0, 2.0**40, 12.0, np.nan]
    found, report, _ = said(make(frame(who=ids)), **COLUMNS)
    assert [user for user, _ in found] == ["1099511627776", "12", "12"]
    assert report.unnamed == 1
    with pytest.raises(logs.LogError, match=r"row 3, column 'who': 1.5 is no whole number.* make "):
        said(make(frame(who=[1.0, 2.0, 1.5, 3.0])), **COLUMNS)


def test_times_may_be_numbers_of_any_kind(said):
    for when in ([3, 1, 2, 4], pd.array([3, 1, 2, 4], dtype="Int64"), [3.0, 1.0, 2.0, 4.5]):
        found, _, _ = said(frame(when=when), **COLUMNS)
        assert [text for _, text in found] == ["ho", "ha", "hi", "he"]


def test_missing_texts_and_users_are_told(said):
    _, report, _ = said(
        frame(who=["ana", None, "bo", "bo"], said=["a", "b", None, pd.NA]), **COLUMNS
    )
    assert (report.messages, report.empty, report.unnamed) == (1, 2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"said": ["a", "b", 3, "d"]}, "the frame, row 3, column 'said': must be text, not int"),
        ({"said": [1.5] * 4}, "row 1, column 'said': must be text, not float"),
        ({"who": [True] * 4}, "row 1, column 'who': must be text, not bool"),
        ({"who": [b"a"] * 4}, "row 1, column 'who': must be text, not bytes"),
        ({"when": [True] * 4}, "column 'when': must hold dates, numbers or text, not bool"),
        ({"when": [1.0, 2.0, 3.0, np.nan]}, "row 4, column 'when': there is no time: drop the row"),
        ({"when": pd.to_datetime(["2020-01-01", None, None, None])}, "row 2, column 'when': there"),
        ({"when": ["2020-01-01", "x", "y", "z"]}, "row 2, column 'when': 'x' must be a date such"),
        ({"when": [decimal.Decimal(1)] * 4}, "row 1, column 'when': must be text, not Decimal"),
    ],
)
def test_frames_that_cannot_be_read(said, change, message):
    with pytest.raises(logs.LogError, match=message):
        said(frame(**change), **COLUMNS)


def test_columns_must_be_there_once(said):
    with pytest.raises(logs.LogError, match="the frame: user='id' is not among its columns: 'who'"):
        said(frame(), user="id", text="said")
    with pytest.raises(logs.LogError, match="the table: user='id' is not among its columns: 'who'"):
        said(pa.Table.from_pandas(frame()), user="id", text="said")
    twice = pd.concat([frame(), frame()[["who"]]], axis=1)
    with pytest.raises(logs.LogError, match="user='who' is twice among its columns"):
        said(twice, **COLUMNS)
    with pytest.raises(logs.LogError, match="the frame: there are no rows"):
        said(frame().iloc[:0], **COLUMNS)
