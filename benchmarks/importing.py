"""Importing the package, which loads neither framework."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from .common import Row

BAR = 0.1  # seconds
_IMPORT = """
import time
start = time.perf_counter()
import companion
print(time.perf_counter() - start)
"""


def rows(small: bool = False) -> list[Row]:
    """Seconds that ``import companion`` takes in a new process."""
    value = median(_once() for _ in range(1 if small else 9))
    return [Row("import companion", value, "s", BAR, higher=False)]


def _once() -> float:
    command = [sys.executable, "-c", _IMPORT]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
