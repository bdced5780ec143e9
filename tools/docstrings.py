"""A Sphinx extension: sources numbered in one docstring do not clash with those of another."""

from __future__ import annotations

import re
from typing import Any

_SOURCE = re.compile(r"^(\s*)\.\. \[(\d+)\] ")
_MENTION = re.compile(r"\s?\[(\d+)\]_(?!\w)")


def number_sources(lines: list[str]) -> None:
    """Turn ``.. [1] Kneser`` into an item of a list, and ``[1]_`` into plain text, in place."""
    lines[:] = [_MENTION.sub(r" [\1]", _SOURCE.sub(r"\1\2. ", line)) for line in lines]


def _process(*event: Any) -> None:
    number_sources(event[-1])


def setup(app: Any) -> dict[str, bool]:
    """Run before napoleon, which reads the sections of a docstring."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True}
