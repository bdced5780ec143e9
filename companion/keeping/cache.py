"""Make a thing once and keep it in a cache folder, so that the second asking is quick."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

T = TypeVar("T")
ENVIRONMENT_VARIABLE = "COMPANION_CACHE"
_log = logging.getLogger(__name__)


def kept(
    key: Mapping[str, Any],
    make: Callable[[], T],
    save: Callable[[T, Path], None],
    load: Callable[[Path], T],
    folder: str | os.PathLike[str] | None = None,
    finished: Callable[[T], bool] = lambda result: True,
) -> T:
    """What `make` gives, from the cache folder where it was made before.

    Safe when several processes ask at once: the first makes it, the others wait and load. A file
    that cannot be read is set aside (not deleted), and what it held is made anew. Where the folder
    cannot be written to, the result is returned all the same. Both are logged as warnings.

    Parameters
    ----------
    key : mapping
        Everything that decides the result: names, numbers, dataclasses. ``key["name"]``, where
        given, begins the file's name.
    make : callable
        Makes the thing.
    save, load : callable
        Write it to a path and read it from there.
    folder : path, optional
        Where to keep it; see :func:`cache_folder`.
    finished : callable
        Whether a result is worth keeping; an interrupted training is not.
    """
    path = Path(folder or cache_folder()) / file_name(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquired(path)
    except (OSError, NotImplementedError) as error:
        return _without_lock(path, make, load, error)
    with lock:
        found = _loaded(path, load)
        if found is None:
            found = (make(),)
            if finished(found[0]):
                _save(found[0], path, save)
    return found[0]


def cache_folder() -> Path:
    """Where things are kept: ``COMPANION_CACHE``, or this user's cache folder on this system."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("one-network-many-users")


def file_name(key: Mapping[str, Any]) -> str:
    """The name under which the thing with this key is kept."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=_plain).encode()).hexdigest()
    return f"{key.get('name', 'kept')}-{digest[:20]}.safetensors".replace(" ", "-")


def source_fingerprint(*modules: ModuleType) -> str:
    """Sixteen hexadecimal digits that change with the source code of any of these modules."""
    source = "\n".join(inspect.getsource(module) for module in modules)
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _plain(value: object) -> dict[str, Any]:
    """A dataclass as JSON can hold it; anything else has no place in a key."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **asdict(value)}
    raise TypeError(f"a key holds names, numbers and dataclasses, not {value!r}")


def _acquired(path: Path) -> AbstractContextManager[object]:
    """The lock of this path, held until the context ends; says so where another process has it."""
    lock = FileLock(f"{path}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        _log.info("another process is making %s: waiting for it", path.name)
        return lock.acquire()


def _without_lock(
    path: Path, make: Callable[[], T], load: Callable[[Path], T], error: BaseException
) -> T:
    """Load or make where the folder cannot be written to."""
    found = _loaded(path, load)
    if found is not None:
        return found[0]
    _log.warning("%s cannot be written to (%s): the result is not kept", path.parent, error)
    return make()


def _loaded(path: Path, load: Callable[[Path], T]) -> tuple[T] | None:
    """What the file holds; None where there is no file or it cannot be read."""
    if not path.is_file():
        return None
    try:
        return (load(path),)
    except OSError as error:
        _log.warning("%s cannot be read (%s): making it anew", path, error)
    except Exception as error:  # whatever is wrong with it, the thing can be made anew
        _log.warning("%s: setting the file aside and making it anew", error)
        _set_aside(path)
    return None


def _set_aside(path: Path) -> None:
    """Rename a file that cannot be read, without overwriting an earlier one."""
    number = 1
    while (aside := path.with_suffix(f".broken-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        _log.warning("%s cannot be renamed (%s)", path, error)


def _save(result: T, path: Path, save: Callable[[T, Path], None]) -> None:
    """Keep the result; a full disk is no reason to lose it."""
    try:
        save(result, path)
    except OSError as error:
        _log.warning("%s cannot be written (%s): the result is not kept", path, error)
