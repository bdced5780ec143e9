"""What is to be read: one file, the files of a folder, or what is in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .forms import FORMS, Form
from .frames import is_frame
from .parquet import is_table
from .source import KNOWN, Source


def check_form(format: str | None) -> Form | None:
    """How a chat program writes its exports.

    Raises
    ------
    ValueError
        If there is no such format.
    """
    if format is not None and format not in FORMS:
        raise ValueError(f"format must be one of {', '.join(map(repr, FORMS))}, not {format!r}")
    return None if format is None else FORMS[format]


def opened(source: Source, messages: Any, form: Form | None) -> tuple[Source, list[Source]]:
    """The source as a whole, to name it, and its parts, one after the other.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or none in the folder that can be read.
    TypeError
        If `messages` is nothing that can be read.
    """
    if isinstance(messages, str | os.PathLike):
        path = Path(messages)
        whole = replace(source, path=path)
        return whole, [replace(source, path=file) for file in _files(path, form)]
    if is_frame(messages):
        name = "the frame"
    elif is_table(messages):
        name = "the table"
    elif isinstance(messages, Iterable) and not isinstance(messages, Mapping | bytes):
        name = "the records"
    else:
        raise TypeError(
            "messages must be a path, a pandas frame, an Arrow table or an iterable of records, "
            f"not {type(messages).__name__}"
        )
    whole = replace(source, path=Path(name), data=messages)
    return whole, [whole]


def _files(path: Path, form: Form | None) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"path={str(path)!r} does not exist")
    pattern = "**/*" if form is None else form.files
    files = sorted(file for file in path.glob(pattern) if file.is_file() and _visible(file, path))
    if form is None:
        files = [file for file in files if file.name.lower().removesuffix(".gz").endswith(KNOWN)]
    if not files:
        wanted = f"whose name ends in one of {', '.join(KNOWN)}" if form is None else pattern
        raise FileNotFoundError(f"the folder {str(path)!r} holds no file {wanted}")
    return files


def _visible(file: Path, folder: Path) -> bool:
    """Whether neither the file nor a folder on the way to it is hidden."""
    return not any(part.startswith(".") for part in file.relative_to(folder).parts)


__all__ = ["check_form", "opened"]
