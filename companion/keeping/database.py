"""One SQLite file: whole transactions, errors that say what to do, and nothing left of the past."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import RLock

from .files import CorruptedFileError

PATIENCE = 30.0  # seconds to wait for whoever else writes
CACHE = "cache_size=-32768"  # KiB
# SQL that cannot run means other tables than ours, and no code at all a text that is no UTF-8
_ALTERED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, 0)
_FAILED = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


class Database:
    """A SQLite file that is read while it is written, and in which no deleted byte stays.

    It is in WAL mode, so readers see what the last transaction left while the next one is under
    way, and overwrites with zeros what is deleted. Threads may share one; a process that was
    forked opens its own.

    Parameters
    ----------
    path : path
        The file; it is made, with its folder, where there is none.
    schema : sequence of str
        What makes its tables: statements of SQL.
    kind : int
        Its application id, 31 bits, so that no other program's file is taken for it.
    must_exist : bool
        Refuse to make a new file.

    Raises
    ------
    FileNotFoundError
        If there must be a file, and is none.
    CorruptedFileError
        If it is no such file.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        schema: Sequence[str],
        kind: int,
        must_exist: bool = False,
    ) -> None:
        self.path = Path(path)
        if must_exist and not self.path.is_file():
            raise FileNotFoundError(f"there is no file {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = RLock()
        self._patience = PATIENCE
        with self._explained():
            self.connection = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._set_up(schema, kind)
        except BaseException:
            self.connection.close()
            raise

    def _set_up(self, schema: Sequence[str], kind: int) -> None:
        run = self.connection.execute
        self._write_ahead()
        for setting in ("synchronous=NORMAL", "secure_delete=ON", "temp_store=MEMORY", CACHE):
            run(f"PRAGMA {setting}")
        if self._is_new(kind):  # only who makes it has to wait for others who write
            with self.writing():
                if self._is_new(kind):
                    run(f"PRAGMA application_id={kind}")
                    for statement in schema:
                        run(statement)

    def _is_new(self, kind: int) -> bool:
        """Whether there are no tables yet; those of another program are refused."""
        (found,) = self.connection.execute("PRAGMA application_id").fetchone()
        (tables,) = self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if found != kind and (found or tables):
            raise CorruptedFileError(f"{self.path} is another program's database")
        return not tables

    def _write_ahead(self) -> None:
        """Switch to WAL; SQLite does not wait for another process that does the same just now."""
        until = time.monotonic() + self._patience
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees the file as one transaction left it, whoever writes meanwhile."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that happens wholly or not at all.

        Raises
        ------
        OSError
            If the disk is full or fails.
        TimeoutError
            If others write for too long.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self.connection.execute(begin)
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk may have ended it
                    self.connection.execute("ROLLBACK")
                raise

    def empty_log(self) -> bool:
        """Cut the log to nothing, all being in the main file; False if a reader still needs it.

        What was deleted stands in the log until then.
        """
        with self._lock, self._explained("the log still holds what was deleted"):
            (held, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not held

    def compact(self) -> None:
        """Write the file anew, without the room that was let go."""
        with self._lock, self._explained():
            self.connection.execute("VACUUM")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def _explained(self, state: str = "nothing was changed") -> Iterator[None]:
        """What SQLite says, as an error of ours; `state` is how things stand if it cannot write."""
        try:
            yield
        except sqlite3.ProgrammingError:  # our own mistake
            raise
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in _ALTERED:
                raise CorruptedFileError(
                    f"{self.path} was altered or truncated ({error})"
                ) from error
            if code in _FAILED:
                number = errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
                problem = f"cannot write ({error}): {state}. Is the disk full?"
                raise OSError(number, problem, str(self.path)) from error
            if code == sqlite3.SQLITE_BUSY:
                raise TimeoutError(
                    f"{self.path}: others have been writing for {self._patience:g} seconds"
                ) from error
            if code == sqlite3.SQLITE_CANTOPEN:
                raise OSError(errno.EIO, "cannot be opened", str(self.path)) from error
            raise


def _code(error: sqlite3.Error) -> int:
    """SQLite's code without its details; 0 for errors of Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


__all__ = ["Database"]
