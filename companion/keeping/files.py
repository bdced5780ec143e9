"""Named arrays in a file: safetensors with a checksum, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

_ENTRY = "companion"


class CorruptedFileError(ValueError):
    """A file that is truncated, altered or not ours."""


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    kind: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write named arrays and what describes them to one safetensors file, whole or not at all.

    Parameters
    ----------
    kind : str
        What the file holds, such as ``"base model"``; asked for again on loading.
    metadata : mapping
        Anything that JSON can hold.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps({"kind": kind, **metadata}, sort_keys=True)
    entry = json.dumps({"checksum": _checksum(arrays, text), "metadata": text})
    write(path, to_bytes(arrays, metadata={_ENTRY: entry}))


def load_arrays(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`save_arrays` wrote: the named arrays and the metadata.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CorruptedFileError
        If the file is truncated, was altered, or was not written by this package.
    ValueError
        If it holds another kind of thing.
    """
    arrays, entry = _read(Path(path))
    try:
        entry = json.loads(entry[_ENTRY])
        checksum, text = entry["checksum"], entry["metadata"]
        metadata = json.loads(text)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptedFileError(f"{path} was not written by this package") from error
    if _checksum(arrays, text) != checksum:
        raise CorruptedFileError(f"{path} was altered: its checksum does not fit its content")
    found = metadata.pop("kind", None)
    if found != kind:
        raise ValueError(f"{path} holds a {found}, not a {kind}")
    return arrays, metadata


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """Sixteen hexadecimal digits that change with any name, type, shape or number."""
    return _checksum(arrays)[:16]


def _checksum(arrays: Mapping[str, np.ndarray], text: str = "") -> str:
    """SHA-256 over named arrays, whatever their order, and a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All arrays of a safetensors file and its metadata."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise CorruptedFileError(
            f"{path} is truncated or no safetensors file at all ({error})"
        ) from error


def write(path: Path, content: bytes) -> None:
    """Write beside the place, then rename: nobody ever sees half a file."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)  # mkstemp gives 0600, which other users of a shared cache cannot read
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
