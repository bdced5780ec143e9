"""Everything that can be wrong with what is to be read, and what the reader says of it.

Each message names where: the column, the row, and what to do.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from companion.corpora import logs

COLUMNS = {"user": "who", "text": "said"}
TIMED = {**COLUMNS, "time": "when"}
HEAD = "who,said,when\n"
GOOD = "ana,hello,2020-01-01\nbo,hi,2020-01-02\n"
RECORD = {"who": "ana", "said": "hello", "when": 1}
LINE = json.dumps(RECORD) + "\n"
LOG, VALUE, TYPE, LOST = logs.LogError, ValueError, TypeError, FileNotFoundError
CHAT = "13/01/2020, 09:05 - Ana: hello\n"


def table(**change):
    return pd.DataFrame({"who": ["ana", "bo"], "said": ["hello", "hi"], "when": [1, 2], **change})


def parquet(frame):
    return frame.to_parquet()


# name of a file and its content, or what is in memory; options; the error, and what it says
BAD = [
    # which file
    ("nowhere.csv", None, COLUMNS, LOST, r"path='.*nowhere\.csv' does not exist"),
    ("log.xls", HEAD, COLUMNS, LOG, r"log\.xls: the format must show .* pass delimiter; .* format"),
    ("log.csv", "", COLUMNS, LOG, r"there are no rows|the first line"),
    ("log.csv", HEAD, COLUMNS, LOG, "log.csv: there are no rows"),
    ("log.csv.gz", b"no gzip", COLUMNS, LOG, "the compressed file is broken after 0 rows"),
    ("log.csv.gz", gzip.compress((HEAD + GOOD * 99).encode())[:-9], COLUMNS, LOG, "is broken aft"),
    # which columns
    ("log.csv", HEAD + GOOD, {"user": "id", "text": "said"}, LOG, r"user='id' is not among .*'who"),
    ("log.csv", HEAD + GOOD, {"user": "who", "text": "body"}, LOG, "text='body' is not among"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "time": "at"}, LOG, "time='at' is not among its columns"),
    ("log.csv", HEAD + GOOD, {"text": "said"}, TYPE, "user must be the name of a column, not None"),
    ("log.csv", HEAD + GOOD, {"user": "who", "text": 1}, TYPE, "text must be the name of a column"),
    ("log.csv", HEAD + GOOD, {"user": "who", "text": "who"}, VALUE, "must be two columns, not 'wh"),
    ("log.csv", "ana,hi\n", COLUMNS, LOG, "if the first line is no header, pass column_names"),
    ("log.csv", "who;said\na;b\n", COLUMNS, LOG, r"is the delimiter ';'\? then pass it"),
    ("log.csv", "who,said,who\na,b,c\n", COLUMNS, LOG, "user='who' is twice among its columns"),
    # which options
    ("log.csv", HEAD + GOOD, {**COLUMNS, "delimiter": ";;"}, VALUE, "delimiter must be one charac"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "escape": "\\\\"}, VALUE, "escape must be one character"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "encoding": "utf-9"}, VALUE, "encoding must be one that"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "missing": "drop"}, VALUE, "missing must be 'error' or '"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "format": "signal"}, VALUE, "format must be one of 'tele"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "min_messages": 0}, VALUE, "min_messages must be at leas"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "records": 3}, TYPE, "records must be a name such as 'me"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "min_messages": 9}, LOG, "2 of 2 users have fewer than m"),
    # tokenizers
    ("log.csv", HEAD + GOOD, {**COLUMNS, "tokenizer": "split"}, VALUE, "tokenizer must be 'words'"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "tokenizer": len}, TYPE, "a list of words, not int"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "tokenizer": lambda t: [1, 2]}, TYPE, "as strings, not i"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "tokenizer": lambda t: [b"a"]}, TYPE, "strings, not byte"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "tokenizer": lambda t: ["a", None]}, TYPE, "not NoneType"),
    ("log.csv", HEAD + GOOD, {**COLUMNS, "tokenizer": lambda t: np.ones(3)}, TYPE, "not ndarray"),
    # rows of delimited text
    ("log.csv", HEAD + GOOD + "bo,hi\n", COLUMNS, LOG, r"row 3 \(line 4\): 2 fields, but .* 3 col"),
    ("log.csv", HEAD + GOOD + 'bo,"hi,3\n', COLUMNS, LOG, r"row 3 \(line 4\): a field opens with"),
    ("log.csv", HEAD + 'bo,"a \\"b\\" c",3\n', COLUMNS, LOG, r"row 1 .* pass escape='\\\\'; if th"),
    ("log.csv", HEAD + GOOD + "bo,hi,soon\n", TIMED, LOG, r"row 3 \(line 4\), column 'when': 'soo"),
    ("log.csv", HEAD + "a,b,1\nb,c,x\n", TIMED, LOG, r"row 2 .* 'x' must be a number, as in the f"),
    ("log.csv", (HEAD + "é,b,1\n").encode("cp1252"), COLUMNS, LOG, r"row 1 .*byte 0xe9 is not utf"),
    ("log.csv", HEAD.encode("utf-16"), COLUMNS, LOG, "log.csv is not utf-8: try encoding='utf-16'"),
    ("log.csv", HEAD + ",hi,1\nbo,,1\n", COLUMNS, LOG, "none of its 2 rows .* column 'said', 1 wi"),
    # JSON
    ("log.jsonl", LINE + "{\n", COLUMNS, LOG, "log.jsonl, row 2: not a JSON object"),
    ("log.jsonl", LINE + "[1]\n", COLUMNS, LOG, "row 2: a JSON list, but it must be an object"),
    ("log.jsonl", LINE + '{"who": "a"}\n', COLUMNS, LOG, r"row 2: .* 'said' .* pass missing='skip"),
    ("log.jsonl", LINE + '{"who": "a", "said": 3}', COLUMNS, LOG, "row 2, column 'said': must be"),
    ("log.jsonl", '{"who": {"id": 1}, "said": "a"}', COLUMNS, LOG, "object: name one of 'who.id'"),
    ("log.jsonl", LINE, {"user": "who.name", "text": "said"}, LOG, "row 1: there is no 'who.name'"),
    ("log.json", LINE * 2, COLUMNS, LOG, "log.json: not a JSON document .* name the file .jsonl"),
    ("log.json.gz", gzip.compress(b"[1]" * 99)[:-9], COLUMNS, LOG, "json.gz: not a JSON document"),
    ("log.json", '{"a": 1}', COLUMNS, LOG, "log.json: no list of records .* such as records='mess"),
    ("log.json", '{"a": 1}', {**COLUMNS, "records": "b"}, LOG, "no list at records='b' .*: 'a'"),
    ("log.json", '[{"who": "a", "said": [1]}]', COLUMNS, LOG, "row 1, column 'said': a part of th"),
    # chats
    ("log.txt", "who,said\n", {"format": "whatsapp"}, LOG, "none of its 1 lines begins as a messa"),
    ("log.txt", CHAT, {"format": "irc"}, LOG, "none of its 1 lines begins as a message of format="),
    ("log.txt", CHAT.replace("13/", "31/02/"), {"format": "whatsapp"}, LOG, "none of its 1 lines"),
    ("log.txt", CHAT.replace("13/01", "31/02"), {"format": "whatsapp"}, LOG, "row 1: there is no"),
    ("log.txt", CHAT.replace("13", "03"), {"format": "whatsapp"}, LOG, r"time_format='%d/%m/%y' o"),
    ("log.txt", CHAT.replace(":05", ":65"), {"format": "whatsapp"}, LOG, "row 1: there is no such"),
    ("day.log", "10:01 <ana> hi\n", {"format": "irc"}, LOG, r"day.log, line 1: on which day\? Nam"),
    ("result.json", "[]", {"format": "telegram"}, LOG, "result.json: there are no rows"),
    # Parquet
    ("log.parquet", b"PAR1", COLUMNS, LOG, "log.parquet: not a Parquet file, or damaged"),
    ("log.parquet", parquet(table(said=1)), COLUMNS, LOG, "column 'said': must hold text, not int"),
    ("log.parquet", parquet(table(who=[1, 1.5])), COLUMNS, LOG, "row 2, column 'who': 1.5 is no w"),
    ("log.parquet", parquet(table(when=[1, np.nan])), TIMED, LOG, "row 2, column 'when': None is"),
    # what is in memory
    ("frame", table(said=["a", 3]), COLUMNS, LOG, "the frame, row 2, column 'said': must be text,"),
    ("frame", table(when=[1, np.nan]), TIMED, LOG, "the frame, row 2, column 'when': there is no"),
    ("frame", table().rename(columns=str.upper), COLUMNS, LOG, "the frame: user='who' is not amon"),
    ("table", pa.table(table(who=[True, False])), COLUMNS, LOG, "the table, column 'who': must ho"),
    ("records", [RECORD, 3], COLUMNS, LOG, "the records, row 2: <class 'int'>, but it must be an"),
    ("records", [RECORD, {"who": "a"}], COLUMNS, LOG, "the records, row 2: there is no 'said' amo"),
    ("records", [RECORD, {**RECORD, "who": b"a"}], COLUMNS, LOG, "row 2, column 'who': must be te"),
    ("records", [], COLUMNS, LOG, "the records: there are no rows"),
    ("records", RECORD, COLUMNS, TYPE, "messages must be a path, .* not dict"),
    ("records", None, COLUMNS, TYPE, "messages must be a path, a pandas frame, .* not NoneType"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "options", "error", "says"), BAD, ids=[says for *_, says in BAD]
)
def test_each_wrong_choice_is_told(file, tmp_path, name, content, options, error, says):
    messages = content
    if Path(name).suffix:
        messages = tmp_path / name if content is None else file(name, content)
    with pytest.raises(error, match=says):
        logs.read(messages, **{"min_messages": 1, **options})


@pytest.mark.parametrize("options", [{"user": "nobody"}, {"time": "said"}, {"user": "said"}])
def test_no_error_gives_a_whole_message_away(file, options):
    secret = "the words that stand here are nobody's business but mine"
    path = file("log.csv", f"{secret},said\n1,{secret}\n")
    chosen = {"user": secret, "text": "said", **options}
    if chosen["user"] == "said":
        chosen["text"] = secret
    with pytest.raises((logs.LogError, TypeError)) as told:
        logs.read(path, **chosen)
    assert "business" not in str(told.value)


def test_the_table_is_long():
    assert len(BAD) >= 40


def test_what_is_right_is_read(file):
    """The same inputs without their mistakes, so that nothing is refused for another reason."""
    for messages, options in [
        (file("log.csv", HEAD + GOOD), TIMED),
        (file("log.csv.gz", gzip.compress((HEAD + GOOD).encode())), TIMED),
        (file("log.jsonl", LINE * 2), TIMED),
        (file("log.parquet", parquet(table())), TIMED),
        (table(), TIMED),
        ([RECORD] * 2, TIMED),
        (file("log.txt", CHAT * 2), {"format": "whatsapp"}),
    ]:
        assert len(logs.read(messages, min_messages=1, **options)) == 2
