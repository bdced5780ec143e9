"""What all benchmarks share: a row of the table, the two frameworks, and fair timing."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from statistics import median
from types import ModuleType
from typing import NamedTuple

FRAMEWORKS = {"pytorch": "PyTorch", "keras": "Keras"}


class Row(NamedTuple):
    """One measurement.

    Parameters
    ----------
    name : str
    value : float
    unit : str
        ``"times"``, ``"s"``, ``"GB"`` ...
    bar : float, optional
        What it has to reach; None for a measurement that only informs.
    higher : bool
        Whether more is better.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    higher: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None without a bar."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.higher else self.value <= self.bar


def twin(framework: str, module: str) -> ModuleType:
    """One module of ``companion.pytorch`` or ``companion.keras``; loads that framework only."""
    return importlib.import_module(f"companion.{framework}.{module}")


def ratio(ours: Callable[[], float], plain: Callable[[], float], rounds: int) -> float:
    """Median of ``plain() / ours()``, seconds each, measured turn by turn after one to warm up.

    Both of a pair run within moments of each other, so that what else the machine does hits both;
    the order changes from pair to pair.
    """
    ours(), plain()
    ratios = []
    for turn in range(rounds):
        if turn % 2:
            slow, quick = plain(), ours()
        else:
            quick, slow = ours(), plain()
        ratios.append(slow / quick)
    return median(ratios)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Mean seconds that `work` takes."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times
