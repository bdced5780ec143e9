"""A folder that holds one version whole, whenever the process that writes it is killed."""

import signal
import subprocess
import sys
import time

import pytest

from companion.keeping.files import CorruptedFileError
from companion.personal.folders import current_version, locked, write_version

WRITER = """
import itertools, sys
from companion.personal.folders import write_version

def writes(number):
    def write(path):
        for name in "abc":
            (path / name).write_text(f"{number}\\n" * 20_000)
    return write

for number in itertools.count(1):
    write_version(sys.argv[1], writes(number))
    print(number, flush=True)
"""
ADDER = """
import sys
from companion.personal.folders import current_version, locked, write_version
for _ in range(20):
    with locked(sys.argv[1]):
        number = int((current_version(sys.argv[1]) / "a").read_text())
        write_version(sys.argv[1], lambda path: (path / "a").write_text(str(number + 1)))
"""


def written(folder):
    """What every file of the version that counts holds."""
    files = sorted(current_version(folder).iterdir())
    return [set(file.read_text().split()) for file in files]


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05])
def test_a_killed_process_leaves_the_old_version_or_the_new(tmp_path, delay):
    folder = tmp_path / "kept"
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            finished = int(writer.stdout.readline())
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
            finished = max([finished, *map(int, writer.stdout.read().split())])
        whole = written(folder)
        assert len(whole) == 3
        assert whole[0] == whole[1] == whole[2]
        assert int(whole[0].pop()) in (finished, finished + 1)
    write_version(folder, lambda path: (path / "a").write_text("0"))
    left = {path.name for path in folder.iterdir()}
    assert left == {"version.json", current_version(folder).name}  # and no half a version


def test_two_processes_lose_no_write(tmp_path):
    write_version(tmp_path, lambda path: (path / "a").write_text("0"))
    command = [sys.executable, "-c", ADDER, str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert written(tmp_path) == [{"40"}]


def test_a_failed_write_leaves_the_old_version(tmp_path):
    write_version(tmp_path, lambda path: (path / "a").write_text("old"))

    def fails(path):
        (path / "a").write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_version(tmp_path, fails)
    assert written(tmp_path) == [{"old"}]
    assert len([*tmp_path.iterdir()]) == 2


def test_who_holds_the_lock_can_lock_again(tmp_path):
    with locked(tmp_path), locked(tmp_path):
        pass


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "photo.jpg").write_text("dear")
    with pytest.raises(FileExistsError, match=r"photo\.jpg"):
        write_version(tmp_path, lambda path: None)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", CorruptedFileError),
        ("[]", CorruptedFileError),
        ('{"format": 99, "version": "x"}', ValueError),
        ('{"format": 1, "version": "gone"}', CorruptedFileError),
    ],
)
def test_a_broken_pointer_is_refused(tmp_path, content, error):
    (tmp_path / "version.json").write_text(content)
    with pytest.raises(error):
        current_version(tmp_path)
