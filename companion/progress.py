"""A progress bar in a terminal and in a notebook; none where nobody watches."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any


def progress_bar(total: int, description: str, unit: str, show: bool | None = None) -> Any:
    """A tqdm bar, to be used as a context manager.

    Parameters
    ----------
    total : int
        How many units the work has.
    show : bool, optional
        Whether to show it. If not given, in a terminal and in a notebook, unless the environment
        variable ``TQDM_DISABLE`` is set.
    """
    in_notebook = _in_notebook()
    if in_notebook and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm
    if show is None:
        # tqdm's bar for notebooks is drawn even where its environment variable forbids it
        show = (in_notebook or sys.stderr.isatty()) and not os.environ.get("TQDM_DISABLE")
    return tqdm(total=total, desc=description, unit=unit, leave=False, disable=not show)


def _in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel; asked without importing IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
