import hashlib
import re
import sys

import pytest

from companion.corpora.reading.downloads import Remote, remote
from companion.corpora.reading.shakespeare import shakespeare

HEADER = (
    "gutenberg_id,short_title,gutenberg_title,genre,year,author,"
    "section,class,act,scene,character,line_number,text\n"
)
LINES = """\
front_matter|title|NA|NA|NA|A Play
contents|dialogue|ACT I|SCENE I|ANA|Good [Aside.] morrow,
contents|directions|ACT I|SCENE I|NA|Enter a cat.
contents|dialogue|ACT I|SCENE I|ANA|sweet cat!
contents|dialogue|ACT I|SCENE I|CAT|Miaow. [To
contents|dialogue|ACT I|SCENE I|CAT|Ana.] Miaow?
contents|dialogue|ACT I|SCENE II|CAT|Alone.
contents|dialogue|ACT I|SCENE II|ALL|Miaow!
contents|dialogue|ACT I|SCENE II|ANA and CAT|Farewell.
contents|dialogue|ACT I|SCENE II|CITIZENS|Farewell.
contents|dialogue|ACT I|SCENE II|HOSTESS|[Exit.]
contents|dialogue|ACT I|SCENE II|ALLEN|O'er!
"""


@pytest.fixture
def plays(tmp_path, monkeypatch):
    """Two small plays of the same lines, in place of the real ones."""
    rows = [line.split("|") for line in LINES.splitlines()]
    body = HEADER + "".join(f'1,A,A,A,1,W,{",".join(row[:-1])},1,"{row[-1]}"\n' for row in rows)
    folder = tmp_path / "shakespeare_plays"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.csv").write_text(body)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    table = Remote(folder.name, "https://nowhere/", {"one.csv": checksum, "two.csv": checksum})
    module = sys.modules["companion.corpora.reading.shakespeare"]
    monkeypatch.setattr(module, "remote", lambda name: table)
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))


@pytest.mark.usefixtures("plays")
def test_lines_are_joined_to_speeches():
    corpus = shakespeare(["one"])
    speeches = [(corpus.user_names[u], corpus.text(i)) for i, u in enumerate(corpus.users)]
    assert speeches == [
        ("ANA (one)", "good morrow , sweet cat !"),
        ("CAT (one)", "miaow . miaow ?"),
        ("CAT (one)", "alone ."),
        ("ALLEN (one)", "o'er !"),
    ]


@pytest.mark.usefixtures("plays")
def test_a_role_is_of_one_play():
    corpus = shakespeare()
    assert len(corpus) == 8
    assert corpus.user_names[3:] == ("ANA (two)", "CAT (two)", "ALLEN (two)")
    assert shakespeare(["two", "one"]).user_names[0] == "ANA (two)"
    assert shakespeare(min_messages=2).user_names == ("CAT (one)", "CAT (two)")
    assert "Good" in shakespeare(lower=False).vocabulary


@pytest.mark.usefixtures("plays")
@pytest.mark.parametrize("wrong", [["three"], "one", []])
def test_plays_are_checked(wrong):
    with pytest.raises(
        ValueError, match=f"plays must .* of one, two; not {re.escape(repr(wrong))}"
    ):
        shakespeare(wrong)
    with pytest.raises(ValueError, match="no user has 3 messages"):
        shakespeare(min_messages=3)


@pytest.mark.usefixtures("real_data")
def test_the_real_plays():
    """Counts that the description of the data gives, made in another way."""
    corpus = shakespeare()
    counts = dict(zip(corpus.user_names, corpus.message_counts, strict=True))
    # Hamlet's 358th speech is a stage direction in brackets and nothing else
    speeches = {"HAMLET (hamlet)": 358, "OTHELLO (othello)": 274, "IAGO (othello)": 272}
    assert {role: counts[role] for role in speeches} == pytest.approx(speeches, abs=1)
    assert corpus.n_users == pytest.approx(971, abs=80)
    assert len(corpus) == pytest.approx(22_928, rel=0.01)
    assert {name.split("(")[1] for name in corpus.user_names} == {
        f"{file.removesuffix('.csv')})" for file in remote("shakespeare_plays").checksums
    }
    assert not any(mark in corpus.vocabulary for mark in "[]_")
    assert not {"ALL (hamlet)", "BOTH (macbeth)", "LORDS (hamlet)"} & set(counts)
