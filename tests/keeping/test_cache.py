import errno
import logging
import os
import subprocess
import sys
import time

import pytest

from companion.keeping import cache
from companion.keeping.cache import cache_folder, file_name, kept, source_fingerprint
from companion.settings import BaseModelConfig

KEY = {"name": "a thing", "config": BaseModelConfig(), "seed": 1}


class Maker:
    """Makes numbered texts and counts them."""

    def __init__(self, folder=None):
        self.made = 0
        self.folder = folder

    def make(self):
        self.made += 1
        return f"thing {self.made}"

    def load(self, path):
        text = path.read_text()
        if not text.startswith("thing"):
            raise ValueError(f"{path.name} is broken")
        return text

    def ask(self, key=KEY, **more):
        save = lambda text, path: path.write_text(text)  # noqa: E731
        return kept(key, self.make, save, self.load, self.folder, **more)


def test_made_once(tmp_path):
    maker = Maker(tmp_path / "new" / "folder")
    assert [maker.ask(), maker.ask()] == ["thing 1", "thing 1"]
    assert maker.made == 1


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"config": BaseModelConfig(hidden=7)}, {"name": "another"}]
)
def test_another_key_is_another_thing(tmp_path, other):
    maker = Maker(tmp_path)
    maker.ask()
    assert maker.ask({**KEY, **other}) == "thing 2"


def test_name_does_not_depend_on_the_order_of_the_key():
    assert file_name(dict(reversed(KEY.items()))) == file_name(KEY)
    assert file_name(KEY).startswith("a-thing-")


def test_a_key_that_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match="a key holds names, numbers and dataclasses"):
        file_name({"model": object()})


def test_broken_file_is_set_aside_and_made_anew(tmp_path, caplog):
    maker = Maker(tmp_path)
    maker.ask()
    for number in (2, 3):
        (tmp_path / file_name(KEY)).write_text("nonsense")
        assert maker.ask() == f"thing {number}"
    assert sorted(p.read_text() for p in tmp_path.glob("*.broken-*")) == ["nonsense"] * 2
    assert "setting the file aside" in caplog.text
    assert maker.ask() == "thing 3"


def test_unfinished_result_is_returned_but_not_kept(tmp_path):
    maker = Maker(tmp_path)
    assert maker.ask(finished=lambda result: False) == "thing 1"
    assert maker.ask() == "thing 2"


def test_folder_that_cannot_be_written_to(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    maker = Maker(tmp_path / "file" / "below")
    assert [maker.ask(), maker.ask()] == ["thing 1", "thing 2"]
    assert "cannot be written to" in caplog.text


def test_read_only_folder_still_gives_what_it_holds(tmp_path, monkeypatch, caplog):
    maker = Maker(tmp_path)
    maker.ask()

    def refuse(path):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache, "_acquired", refuse)
    assert maker.ask() == "thing 1"
    assert maker.ask({"name": "other"}) == "thing 2"
    assert caplog.messages == [
        f"{tmp_path} cannot be written to (read-only): the result is not kept"
    ]


@pytest.fixture
def read_only(tmp_path):
    """What the system says to whoever may only read: root may write anywhere, so it is played."""

    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(os, "mkdir", refuse)
        yield tmp_path


@pytest.mark.parametrize("place", [".", "below/it"])
def test_folder_without_write_permission(read_only, caplog, place):
    maker = Maker(read_only / place)
    assert [maker.ask(), maker.ask()] == ["thing 1", "thing 2"]
    assert caplog.text.count("cannot be written to ([Errno 13] Permission denied") == 2
    assert list(read_only.iterdir()) == []


def test_full_disk_loses_nothing(tmp_path, caplog):
    def save(text, path):
        raise OSError("no space left on device")

    assert kept(KEY, lambda: "thing", save, Maker().load, tmp_path) == "thing"
    assert "no space left on device" in caplog.text


def test_an_error_in_making_frees_the_lock(tmp_path):
    def fail():
        raise FloatingPointError("nan")

    with pytest.raises(FloatingPointError):
        kept(KEY, fail, lambda *_: None, Maker().load, tmp_path)
    assert Maker(tmp_path).ask() == "thing 1"


SCRIPT = """
import logging, sys, time
from pathlib import Path
from companion.keeping import kept
logging.basicConfig(level="INFO")
folder = Path(sys.argv[1])
def make():
    with open(folder / "made", "a") as file: file.write("x")
    (folder / "started").touch()
    time.sleep(1)
    return "thing"
save = lambda text, path: path.write_text(text)
print(kept({"name": "slow"}, make, save, lambda path: path.read_text(), folder))
"""


def test_two_processes_make_it_once(tmp_path):
    run = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    first = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = subprocess.run(run, capture_output=True, text=True, timeout=30)
    assert first.communicate(timeout=30)[0] == second.stdout == "thing\n"
    assert (tmp_path / "made").read_text() == "x"
    assert "another process is making slow-" in second.stderr


def test_folder_is_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("COMPANION_CACHE")
    assert cache_folder().name == "one-network-many-users"


def test_source_fingerprint_tells_modules_apart():
    assert source_fingerprint(cache) == source_fingerprint(cache)
    assert source_fingerprint(cache) != source_fingerprint(cache, logging)
