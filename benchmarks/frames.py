"""A frame of pandas against the CSV that holds the same: it must not take longer.

Run ``python -m benchmarks --only frames``: a million rows, read eight times.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from companion.corpora import logs

from .common import Row, ratio
from .logs import write_log

ROWS = 1_000_000


def rows(small: bool = False) -> list[Row]:
    """Rows of the table of benchmarks."""
    count = 20_000 if small else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "messages.csv"
        write_log(path, count)
        frame = pd.read_csv(path, dtype={"user": str, "text": str}, parse_dates=["time"])
        times = ratio(lambda: taken(frame), lambda: taken(path), rounds=1 if small else 3)
    return [Row(f"logs.read, {count:,} rows: a frame, as quick as CSV", times, "times", 1.0)]


def taken(messages: Any) -> float:
    """Seconds of computing that reading takes: what else the machine does counts for neither."""
    before = time.process_time()
    logs.read(messages, user="user", text="text", time="time", report=lambda report: None)
    return time.process_time() - before
