"""A folder that holds one version whole: the old one or the new one, whenever a process is killed.

Each version lies in a folder of its own; a small file names the one that counts. A new version is
written beside the old one, and then named: renaming a file is one step. What nobody names any more
is deleted.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from companion.keeping import files
from companion.keeping.files import CorruptedFileError

POINTER, LOCK = "version.json", ".lock"
PREFIX = "version-"
FORMAT = 1


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Nobody else reads, changes and saves this folder meanwhile; whoever comes later waits."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with FileLock(path / LOCK, is_singleton=True):  # so that who holds it can save
        yield


def write_version(folder: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Make a new version with `write`, which is given an empty folder, and have it count.

    Raises
    ------
    FileExistsError
        If the folder holds other things: they might be lost.
    OSError
        If there is no room, say; the old version still counts.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    _refuse_others(path)
    new = path / f"{PREFIX}{secrets.token_hex(8)}"
    try:
        new.mkdir()
        write(new)
        for file in [*new.iterdir(), new]:
            _flush(file)
        content = json.dumps({"format": FORMAT, "version": new.name})
        files.write(path / POINTER, f"{content}\n".encode())
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _delete_others(path, new.name)


def current_version(folder: str | os.PathLike[str]) -> Path:
    """The folder of the version that counts.

    Raises
    ------
    FileNotFoundError
        If nothing was saved there.
    companion.keeping.files.CorruptedFileError
        If what names the version was altered.
    ValueError
        If a later release wrote it.
    """
    path = Path(folder) / POINTER
    if not path.is_file():
        raise FileNotFoundError(f"there is no personalizer in {folder}: save one there first")
    pointer = read_json(path)
    if pointer.get("format") != FORMAT:
        raise ValueError(
            f"{folder} has format {pointer.get('format')!r}; this release reads format {FORMAT}"
        )
    version = path.parent / str(pointer.get("version"))
    if not version.is_dir():
        raise CorruptedFileError(f"{path} names a version that is not there")
    return version


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file.

    Raises
    ------
    companion.keeping.files.CorruptedFileError
        If it is none.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptedFileError(f"{path} is missing, truncated or was altered") from error
    if not isinstance(found, dict):
        raise CorruptedFileError(f"{path} holds no object")
    return found


def _flush(path: Path) -> None:
    """To the disk: a version must not be named before it is there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_others(folder: Path) -> None:
    own = (".", POINTER, PREFIX)
    others = [path for path in folder.iterdir() if not path.name.startswith(own)]
    if others and not (folder / POINTER).exists():
        raise FileExistsError(
            f"{folder} holds {others[0].name} and is no personalizer's: name an empty folder"
        )


def _delete_others(folder: Path, kept: str) -> None:
    """Versions that no longer count, those of processes that were killed among them."""
    for version in folder.glob(f"{PREFIX}*"):
        if version.name != kept:
            shutil.rmtree(version, ignore_errors=True)
    for half in folder.glob(f".{POINTER}-*"):
        half.unlink(missing_ok=True)


__all__ = ["current_version", "locked", "read_json", "write_version"]
