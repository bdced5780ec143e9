"""Run the benchmarks, print one table and keep it in ``benchmarks/results.json``.

Every benchmark runs in a process of its own: the frameworks never share one, and no benchmark
finds the memory or the threads of another. ``make bench`` runs all but the reading of 10 million
messages, which ``python -m benchmarks --logs`` adds; otherwise its last result is kept.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tools import environment

from .common import FRAMEWORKS, Row

RESULTS = Path(__file__).with_name("results.json")
BENCHMARKS = [
    *(
        (name, framework)
        for name in (
            "training",
            "bucketing",
            "suggestion",
            "personalizing",
            "generating",
            "remembering",
        )
        for framework in FRAMEWORKS
    ),
    ("importing", None),
    ("truth", None),
]
LOGS = ("logs", None)
ONE_THREAD = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
SETTINGS = {
    **dict.fromkeys(ONE_THREAD, "1"),  # as in the book; more of them wait for each other
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TQDM_DISABLE": "1",
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", help="one benchmark, such as training")
    parser.add_argument("--small", action="store_true", help="a try at small size; nothing is kept")
    parser.add_argument("--logs", action="store_true", help="read 10 million messages, too")
    parser.add_argument("--one", nargs="+", metavar=("NAME", "FRAMEWORK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps([row._asdict() for row in _here(*arguments.one, small=arguments.small)]))
        return
    chosen = _chosen(arguments.only, arguments.logs)
    environment.folders()
    results = {} if arguments.small else _kept()
    for benchmark in chosen:
        results[_label(*benchmark)] = _apart(*benchmark, arguments.small)
        if not arguments.small:
            keep(results)  # one that fails later loses nothing measured before
    print(table(results))


def table(results: dict[str, list[Row]]) -> str:
    """All rows as lines of text: what, how much, the bar, and whether it is reached."""
    lines = []
    for rows in results.values():
        for row in rows:
            sign = "at least" if row.higher else "at most"
            bar = "" if row.bar is None else f"{sign} {row.bar:g} {row.unit}"
            verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
            lines.append((row.name, f"{row.value:.3g} {row.unit}", bar, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def keep(results: dict[str, list[Row]], path: Path = RESULTS) -> None:
    """Write the results, and of the machine what they depend on and nothing else."""
    packages = ("numpy", "torch", "tensorflow", "keras")
    setting = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
    plain = {name: [row._asdict() for row in rows] for name, rows in results.items()}
    path.write_text(json.dumps({"setting": setting, "results": plain}, indent=2) + "\n")


def _chosen(only: str | None, logs: bool) -> list[tuple[str, str | None]]:
    every = [*BENCHMARKS, *([LOGS] if logs or only == LOGS[0] else [])]
    chosen = [benchmark for benchmark in every if only in (None, benchmark[0])]
    if not chosen:
        names = sorted({name for name, _ in [*BENCHMARKS, LOGS]})
        raise SystemExit(f"--only must be one of {', '.join(names)}, not {only!r}")
    return chosen


def _apart(name: str, framework: str | None, small: bool) -> list[Row]:
    """The rows of one benchmark, run in a process of its own."""
    print(f"running {_label(name, framework)} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", *(["--small"] if small else [])]
    command += ["--one", name, *([framework] if framework else [])]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **SETTINGS}
    )
    if run.returncode:
        raise SystemExit(f"{run.stderr}\n{_label(name, framework)} failed")
    return [Row(**row) for row in json.loads(run.stdout.splitlines()[-1])]


def _here(name: str, framework: str | None = None, small: bool = False) -> list[Row]:
    module = importlib.import_module(f"benchmarks.{name}")
    return module.rows(framework, small) if framework else module.rows(small)


def _kept() -> dict[str, list[Row]]:
    """The results of last time."""
    if not RESULTS.is_file():
        return {}
    stored = json.loads(RESULTS.read_text())["results"]
    return {name: [Row(**row) for row in rows] for name, rows in stored.items()}


def _label(name: str, framework: str | None) -> str:
    return f"{name} ({FRAMEWORKS[framework]})" if framework else name
