"""How the notebooks of the book are validated: same settings, numbers compared as numbers.

``tools/tolerance.py`` states the tolerance, ``book/reference/reproducibility.md`` explains it.
"""

from __future__ import annotations

import re

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from tools import environment
from tools.tolerance import Tolerant

environment.apply()

WAIT_FOR_OUTPUT = 60  # seconds; nbval's own 5 are too few on a busy machine
_TIME = re.compile(r"Time to run\W*?(.*)", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(minute|min|second|s\b)", re.IGNORECASE)


def pytest_configure(config: pytest.Config) -> None:
    """Make nbval hold decimals against each other within the tolerance."""
    sanitize = IPyNbCell.sanitize
    patch = pytest.MonkeyPatch()
    patch.setattr(IPyNbCell, "sanitize", lambda cell, text: _tolerant(sanitize(cell, text)))
    config.add_cleanup(patch.undo)


def _tolerant(value: object) -> object:
    return Tolerant(value) if isinstance(value, str) else value


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the notebooks that take longest first, so that no worker ends with one alone."""
    for item in items:
        if isinstance(item, IPyNbCell):
            item.output_timeout = WAIT_FOR_OUTPUT
    spans = {id(item.parent): _seconds(item.parent) for item in items}
    items.sort(key=lambda item: -spans[id(item.parent)])


def _seconds(file: pytest.Collector) -> float:
    """Return the time that a notebook says it takes; other files come after all notebooks."""
    if not isinstance(file, IPyNbFile):
        return 0.0
    return seconds_stated("\n".join(cell.source for cell in _notebook(file).cells[:6]))


def _notebook(file: IPyNbFile) -> nbformat.NotebookNode:
    return nbformat.read(file.path, as_version=4)


def seconds_stated(text: str) -> float:
    """Return the longest span named after "Time to run", in seconds; 1 if none is."""
    line = _TIME.search(text)
    spans = _SPAN.findall(line[1]) if line else []
    return max((float(n) * (60 if unit[0] in "mM" else 1) for n, unit in spans), default=1.0)
