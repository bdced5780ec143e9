"""Real text on this machine: from the folder ``COMPANION_DATA``, or downloaded once and kept."""

from __future__ import annotations

import hashlib
import logging
import os
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from companion.progress import progress_bar

if TYPE_CHECKING:
    from pooch import Pooch

ENVIRONMENT_VARIABLE = "COMPANION_DATA"


class DataError(OSError):
    """Text that cannot be had, or is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Remote:
    """Files at one address.

    Parameters
    ----------
    name : str
        The name of their folder on this machine.
    address : str
        What stands before the name of a file in its URL.
    checksums : dict
        The SHA-256 of each file, by its name.
    """

    name: str
    address: str
    checksums: dict[str, str]

    def choose(self, names: Sequence[str] | None, argument: str) -> list[str]:
        """Files with these names, their ending left out; all, if none are given.

        Raises
        ------
        ValueError
            If there is no such file; the message calls the names `argument`.
        """
        if names is None:
            return list(self.checksums)
        files = {Path(file).stem: file for file in self.checksums}
        unknown = [name for name in names if name not in files]
        if isinstance(names, str) or not names or unknown:
            wrong = names if isinstance(names, str) or not names else unknown
            raise ValueError(
                f"{argument} must be a list of some of {', '.join(files)}; not {wrong!r}"
            )
        return [files[name] for name in dict.fromkeys(names)]


def remote(name: str) -> Remote:
    """One entry of the table of real text, ``registry.toml``."""
    table = tomllib.loads(files(__package__).joinpath("registry.toml").read_text("utf-8"))
    return Remote(name, table[name]["address"], table[name]["files"])


def local_files(
    source: Remote, names: Sequence[str], progress: bool | None = None, retries: int = 2
) -> list[Path]:
    """Where these files are on this machine, after a download where necessary.

    Every file is held against its checksum each time. A download is written beside its place and
    moved there when it is whole and right: an interrupted one leaves nothing.

    Parameters
    ----------
    names : sequence of str
        Names of files of `source`.
    progress : bool, optional
        Show a progress bar while downloading; by default, in a terminal or a notebook only.
    retries : int
        How often to try again.

    Raises
    ------
    DataError
        (An `OSError`.) If there is no network, a download breaks or differs from its checksum, the
        cache folder cannot be written to, or a file of ``COMPANION_DATA`` is missing or altered.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return [_given(source, Path(chosen) / source.name / name) for name in names]
    return _downloaded(source, names, progress, retries)


def _given(source: Remote, path: Path) -> Path:
    """A file of the user's own folder, checked."""
    origin = f"the folder that {ENVIRONMENT_VARIABLE} names"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"cannot read {path}, in {origin} ({error.strerror}); unset {ENVIRONMENT_VARIABLE} to "
            f"download it from {source.address}{path.name}"
        ) from error
    expected = source.checksums[path.name]
    if found != expected:
        raise DataError(
            f"{path}, in {origin}, is not the published file: its SHA-256 is {found}, "
            f"not {expected}; get it again from {source.address}{path.name}"
        )
    return path


def _downloaded(
    source: Remote, names: Sequence[str], progress: bool | None, retries: int
) -> list[Path]:
    from pooch import create, file_hash

    from companion.keeping.cache import cache_folder

    folder = cache_folder() / "corpora" / source.name
    there = {name: folder / name for name in names}
    missing = [
        name
        for name, path in there.items()
        if not path.is_file() or file_hash(path) != source.checksums[name]
    ]
    if missing:
        keeper = create(folder, source.address, registry=source.checksums, retry_if_failed=retries)
        with progress_bar(len(missing), f"Downloading {source.name}", "file", progress) as bar:
            for name in missing:
                _fetch(keeper, name)
                bar.update()
    return list(there.values())


def _fetch(keeper: Pooch, name: str) -> None:
    """Download one file into its place, or explain why not."""
    from requests import RequestException

    url, folder = f"{keeper.base_url}{name}", Path(keeper.path)
    instead = (
        f"Or put the file at FOLDER/{folder.name}/{name} yourself, and set "
        f"{ENVIRONMENT_VARIABLE}=FOLDER"
    )
    try:
        with _quiet():
            keeper.fetch(name)
    except ValueError as error:  # the checksum differs, after all tries
        problem = f"what came from {url} is not the published file, and was thrown away: {error}"
        raise DataError(problem) from error
    except RequestException as error:
        problem = f"cannot download {url}: {_reason(error)}. Is this machine online?"
        raise DataError(f"{problem} {instead}") from error
    except OSError as error:
        problem = f"cannot write to {folder} ({error}): set COMPANION_CACHE to another folder"
        raise DataError(f"{problem}. {instead}") from error


def _reason(error: BaseException) -> str:
    """What went wrong underneath, without what every layer above adds."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return str(reason or error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pooch from announcing every file; the progress bar does."""
    from pooch import get_logger

    logger = get_logger()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


__all__ = ["DataError", "Remote", "local_files", "remote"]
