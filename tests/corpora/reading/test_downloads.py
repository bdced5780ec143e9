import errno
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import MagicMock

import pytest

from companion.corpora.reading import downloads
from companion.corpora.reading.downloads import DataError, Remote, local_files, remote

TEXT = b"To be, or not to be\n" * 50


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing.txt":
            self.send_error(404)
            return
        body = b"something else" if self.path == "/wrong.txt" else TEXT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # "broken.txt" promises everything and breaks off
        self.wfile.write(body[:100] if self.path == "/broken.txt" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora" / "things"


@pytest.fixture
def source(server):
    names = ("whole.txt", "broken.txt", "wrong.txt", "missing.txt")
    checksum = hashlib.sha256(TEXT).hexdigest()
    return Remote(
        "things", f"http://127.0.0.1:{server.server_port}/", dict.fromkeys(names, checksum)
    )


def kept(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_downloaded_once(source, cache, server, capsys):
    (path,) = local_files(source, ["whole.txt"], progress=False)
    assert path.read_bytes() == TEXT
    assert local_files(source, ["whole.txt"]) == [path]
    assert server.asked == ["/whole.txt"]
    assert kept(cache) == ["whole.txt"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [None, True, False])
def test_progress_is_shown_as_asked(source, cache, monkeypatch, progress):
    bar = MagicMock()
    monkeypatch.setattr(downloads, "progress_bar", bar)
    local_files(source, ["whole.txt"], progress=progress)
    bar.assert_called_once_with(1, "Downloading things", "file", progress)
    bar.return_value.__enter__.return_value.update.assert_called_once()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken.txt", "cannot download .*/broken.txt: .*100 bytes read"),
        ("wrong.txt", "not the published file, and was thrown away.*SHA256|sha256"),
        ("missing.txt", "cannot download .*/missing.txt: 404"),
    ],
)
def test_a_bad_download_leaves_nothing(source, cache, name, message):
    with pytest.raises(DataError, match=message):
        local_files(source, ["whole.txt", name], retries=0)
    assert kept(cache) == ["whole.txt"]


def test_a_bad_download_is_tried_again(source, cache, server):
    with pytest.raises(DataError):
        local_files(source, ["wrong.txt"], retries=1)
    assert server.asked == ["/wrong.txt"] * 2


def test_without_network_the_error_names_the_way_out(cache):
    nowhere = Remote("things", "http://127.0.0.1:9/", {"whole.txt": "0" * 64})
    with pytest.raises(DataError, match=r"online\?.*COMPANION_DATA=FOLDER") as caught:
        local_files(nowhere, ["whole.txt"], retries=0)
    assert "0x" not in str(caught.value)
    assert kept(cache) == []


def test_an_altered_file_of_the_cache_is_replaced(source, cache):
    (path,) = local_files(source, ["whole.txt"])
    path.write_bytes(TEXT[:-1])
    assert local_files(source, ["whole.txt"]) == [path]
    assert path.read_bytes() == TEXT


def test_a_cache_folder_that_cannot_be_written_to(source, tmp_path, monkeypatch):
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot write to .*COMPANION_CACHE"):
        local_files(source, ["whole.txt"])


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_read_only_cache_folder(source, cache, monkeypatch, call):
    """Root may write anywhere, so what the system says to others is played."""
    if call == "open":
        cache.mkdir(parents=True)

    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(DataError, match=r"cannot write to .*COMPANION_CACHE"):
        local_files(source, ["whole.txt"])


def test_a_folder_of_ones_own_comes_first(source, cache, tmp_path, monkeypatch, server):
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    own = tmp_path / "things" / "whole.txt"
    with pytest.raises(DataError, match=r"cannot read .*whole.txt.*No such file.*COMPANION_DATA"):
        local_files(source, ["whole.txt"])
    own.parent.mkdir()
    own.write_bytes(TEXT[:-1])
    with pytest.raises(DataError, match="is not the published file: its SHA-256 is"):
        local_files(source, ["whole.txt"])
    own.write_bytes(TEXT)
    assert local_files(source, ["whole.txt"]) == [own]
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "count"), [("shakespeare_plays", 27), ("gitter_freecodecamp", 11)]
)
def test_the_table_of_real_text(name, count):
    source = remote(name)
    assert len(source.checksums) == count
    assert all(len(checksum) == 64 for checksum in source.checksums.values())
    assert source.address.startswith("https://")
    assert source.address.endswith("/")
