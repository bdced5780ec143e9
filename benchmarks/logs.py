"""Reading a log of 10 million messages: time and memory.

Run ``python -m benchmarks.logs`` (1.2 GB of disk for as long as it runs), or with ``--messages
200000`` for a first impression.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Row

MESSAGES = 10_000_000
MEMORY_BAR = 4.0  # GB
_BLOCK = 100_000
_READ = """
import json, resource, sys, time
from companion.corpora import logs

before = time.perf_counter(), time.process_time()
corpus = logs.read(sys.argv[1], user="user", text="text", time="time", report=lambda report: None)
wall, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"messages": len(corpus), "tokens": corpus.n_tokens,
                  "users": corpus.n_users, "words": len(corpus.vocabulary),
                  "seconds": wall, "cpu_seconds": cpu, "peak_bytes": peak}))
"""


def write_log(path: Path, messages: int, seed: int = 0) -> None:
    """A CSV of made-up messages: words as frequent as in life, some with commas and quotes."""
    rng = np.random.default_rng(seed)
    pool = _texts(rng, 50_000)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("id,user,time,text\n")
        for first in range(0, messages, _BLOCK):
            count = min(_BLOCK, messages - first)
            users = (rng.pareto(1.0, count) * 1000).astype(np.int64) % 200_000
            times = np.datetime64("2020-01-01T00:00:00") + np.arange(first, first + count)
            columns = (
                range(first, first + count),
                map("user{}".format, users),
                np.datetime_as_string(times),
                (pool[i] for i in rng.integers(len(pool), size=count)),
            )
            file.writelines(map("{},{},{}Z,{}\n".format, *columns))


def _texts(rng: np.random.Generator, count: int) -> list[str]:
    """Texts as they stand in a CSV: about 12 words of about 4 letters, one in four in quotes."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = ["".join(rng.choice(letters, size=n)) for n in rng.integers(1, 9, size=20_000)]
    texts = []
    for quoted, size in zip(rng.random(count) < 0.25, rng.poisson(11, count) + 1, strict=True):
        chosen = [words[i] for i in rng.zipf(1.3, size) % len(words)]
        texts.append(f'"{chosen[0]}, ""{" ".join(chosen)}""!"' if quoted else " ".join(chosen))
    return texts


def measure(messages: int = MESSAGES, folder: Path | None = None) -> dict[str, float]:
    """Write a log and read it, in a process of its own so that its peak memory is its own.

    Returns
    -------
    dict
        messages, tokens, users, words; seconds and cpu_seconds; peak_bytes and file_bytes.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "messages.csv"
        write_log(path, messages)
        command = [sys.executable, "-c", _READ, str(path)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return {**json.loads(run.stdout), "file_bytes": path.stat().st_size}


def rows(small: bool = False) -> list[Row]:
    """Rows of the table of benchmarks."""
    result = measure(200_000 if small else MESSAGES)
    name = f"logs.read, {result['messages']:,} messages: "
    return [
        Row(name + "seconds", result["seconds"], "s"),
        Row(name + "peak memory", result["peak_bytes"] / 1e9, "GB", MEMORY_BAR, higher=False),
    ]


def row(result: dict[str, float]) -> str:
    """One line of the table of benchmarks."""
    return (
        f"logs.read: {result['messages']:,} messages, {result['file_bytes'] / 1e9:.2f} GB of CSV, "
        f"in {result['seconds']:.0f} s ({result['cpu_seconds']:.0f} s of computing, "
        f"{result['messages'] / result['seconds']:,.0f} messages/s), "
        f"peak memory {result['peak_bytes'] / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--folder", type=Path, help="where to write the log for the while")
    arguments = parser.parse_args()
    print(row(measure(arguments.messages, arguments.folder)))
