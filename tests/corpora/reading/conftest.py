import pytest

from companion.corpora import logs


@pytest.fixture
def file(tmp_path):
    """Write a file, or several in a folder."""

    def file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


@pytest.fixture
def said():
    """User and words of each message, by time, and what became of the rows."""

    def said(messages, **options):
        reports = []
        corpus = logs.read(messages, min_messages=1, report=reports.append, **options)
        order = sorted(range(len(corpus)), key=lambda i: (corpus.times[i], i))
        found = [(corpus.user_names[corpus.users[i]], corpus.text(i)) for i in order]
        return found, reports[0], corpus

    return said
