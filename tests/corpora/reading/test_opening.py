import gzip
import sys

import pytest

from companion.corpora import logs
from companion.corpora.reading import logs as module

COLUMNS = {"user": "who", "text": "said"}


def test_all_files_of_a_folder_are_read_in_the_order_of_their_names(said, file, tmp_path):
    file("2020/b.csv", "who,said\nana,third\n")
    file("2020/a.jsonl.gz", gzip.compress(b'{"who": "ana", "said": "second"}\n'))
    file("1999.csv", "who,said\nana,\nana,first\n")
    file("2021.json", '[{"who": "bo", "said": "fourth"}, {"who": "bo", "said": "fifth"}]')
    file("notes.md", "# no log")
    file(".hidden.csv", "who,said\nana,hidden\n")
    file(".trash/old.csv", "who,said\nana,hidden\n")
    found, report, _ = said(tmp_path, **COLUMNS)
    assert [text for _, text in found] == ["first", "second", "third", "fourth", "fifth"]
    assert (report.rows, report.empty) == (6, 1)


def test_an_error_names_the_file_of_the_folder(said, file, tmp_path):
    file("a.csv", "who,said\nana,hi\n")
    file("b.csv", "who,text\nana,hi\n")
    with pytest.raises(logs.LogError, match=r"^b\.csv: text='said' is not among its columns"):
        said(tmp_path, **COLUMNS)


def test_progress_goes_through_all_files(file, tmp_path, monkeypatch):
    class Bar:
        n = 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            self.n += count

    bar, asked = Bar(), []
    monkeypatch.setattr(module, "progress_bar", lambda *options: asked.append(options) or bar)
    texts = ["who,said\na,x\na,y\na,z\n", "who,said\na,more\n"]
    for name, text in zip("ab", texts, strict=True):
        file(f"{name}.csv", text)
    logs.read(tmp_path, **COLUMNS)
    assert asked == [(sum(map(len, texts)), f"Reading {tmp_path.name}", "B", None)]
    assert bar.n == sum(map(len, texts))
    bar.n = 0
    logs.read([{"who": "a", "said": "x"}] * 4, **COLUMNS)
    assert asked[1] == (4, "Reading the records", "row", None)
    assert bar.n == 4


@pytest.mark.parametrize("wrong", [None, 3, {"who": "ana", "said": "hi"}, b"log.csv"])
def test_what_cannot_be_read_is_named(wrong):
    with pytest.raises(TypeError, match=f"messages must be a path, .* not {type(wrong).__name__}"):
        logs.read(wrong, **COLUMNS)


def test_records_need_no_pandas(monkeypatch):
    monkeypatch.delitem(sys.modules, "pandas")
    assert len(logs.read([{"who": "a", "said": "x"}] * 4, **COLUMNS)) == 4
