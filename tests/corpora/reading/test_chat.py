import csv
import hashlib
import sys

import numpy as np
import pytest

from companion.corpora.reading.chat import chat
from companion.corpora.reading.downloads import Remote

# sent at, author, message id, text; newest first, as in the files
CASUAL = [
    ("2016-01-04T00:00:00.000Z", "zoe", "d", "and\nagain"),
    ("2016-01-03T00:00:00.000Z", "zoe", "c", "Thanks @adam"),
    ("2016-01-03T00:00:00.000Z", "zoe", "c", "Thanks @adam"),
    ("2016-01-02T00:00:00.000Z", "adam", "b", "```\ncode\n```"),
    ("2016-01-01T00:00:00.000Z", "zoe", "a", 'hi "all"'),
]
PYTHON = [
    ("2016-01-05T00:00:00.000Z", "camperbot", "g", "points for @zoe"),
    ("2016-01-03T12:00:00.000Z", "zoe", "f", "in between"),
    ("2016-01-02T12:00:00.000Z", "adam", "e", "ask"),
    ("2016-01-02T11:00:00.000Z", "bob", "h", " "),
]


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """Two small rooms in place of the real ones."""
    folder = tmp_path / "gitter_freecodecamp"
    folder.mkdir()
    for name, rows in (("Casual", CASUAL), ("python", PYTHON)):
        with (folder / f"{name}.tsv").open("w", newline="") as file:
            whole = [(0, name, sent, 1, author, key, text) for sent, author, key, text in rows]
            csv.writer(file, "excel-tab").writerows(whole)
    checksums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    table = Remote(folder.name, "https://nowhere/", checksums)
    monkeypatch.setattr(sys.modules["companion.corpora.reading.chat"], "remote", lambda name: table)
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))


@pytest.mark.usefixtures("rooms")
def test_messages_of_both_rooms_in_time_order_and_without_names():
    corpus = chat()
    assert [(corpus.user_names[u], corpus.text(i)) for i, u in enumerate(corpus.users)] == [
        ("author 1", 'hi " all "'),
        ("author 1", "thanks <mention>"),
        ("author 1", "in between"),
        ("author 1", "and again"),
        ("author 2", "ask"),
    ]
    assert not {"zoe", "adam"} & set(corpus.vocabulary.words)


@pytest.mark.usefixtures("rooms")
def test_a_choice_of_rooms_and_authors():
    assert len(chat(["Casual"])) == 3
    assert chat(min_messages=2).user_names == ("author 1",)
    with pytest.raises(ValueError, match=r"rooms must be a list of some of .*not \['Java'\]"):
        chat(["Java"])


@pytest.mark.usefixtures("real_data")
def test_the_real_rooms():
    """Counts that the description of the data gives; what holds code alone is missing."""
    corpus = chat()
    assert 79_000 < len(corpus) < 86_488 - 3_920
    assert 2_690 < corpus.n_users < 2_738
    assert corpus.message_counts.max() == pytest.approx(4_127, rel=0.02)
    assert all(name == f"author {name.split()[1]}" for name in corpus.user_names)
    one_user = corpus.users[1:] == corpus.users[:-1]
    assert (np.diff(corpus.times)[one_user] >= 0).all()
    first, last = corpus.times.min(), corpus.times.max()
    assert str(np.datetime64(int(first), "us"))[:10] == "2015-02-10"
    assert str(np.datetime64(int(last), "us"))[:10] == "2016-12-24"
