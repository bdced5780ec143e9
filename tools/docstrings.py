"""A Sphinx extension for the pages made from docstrings: quiet, and each docstring on its own."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

_SOURCE = re.compile(r"^(\s*)\.\. \[(\d+)\] ")
_MENTION = re.compile(r"\s?\[(\d+)\]_(?!\w)")


def number_sources(lines: list[str]) -> None:
    """Turn ``.. [1] Kneser`` into an item of a list, and ``[1]_`` into plain text, in place."""
    lines[:] = [_MENTION.sub(r" [\1]", _SOURCE.sub(r"\1\2. ", line)) for line in lines]


def _process(*event: Any) -> None:
    lines = event[-1]
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # what Python says of every field of every named tuple
    number_sources(lines)


def load_quietly(module: str) -> None:
    """Import a module with the process's own standard error closed to it.

    TensorFlow writes about missing GPUs from C++, whatever its log level, and would bury the
    warnings that matter.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        importlib.import_module(module)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def setup(app: Any) -> dict[str, bool]:
    """Run before napoleon, which reads the sections of a docstring."""
    load_quietly("keras")
    load_quietly("tensorflow")
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True}
