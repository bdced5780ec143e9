"""A progress bar in a terminal and in a notebook; none where nobody watches."""

from __future__ import annotations

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
        Whether to show it; if not given, only in a terminal or a notebook. The environment
        variable ``TQDM_DISABLE`` silences every bar.
    """
    in_notebook = _in_notebook()
    show = (in_notebook or sys.stderr.isatty()) if show is None else show
    if in_notebook and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm
    # tqdm reads its environment variable only where `disable` is not given
    hidden = {} if show else {"disable": True}
    return tqdm(total=total, desc=description, unit=unit, leave=False, **hidden)


def _in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel; asked without importing IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


__all__ = ["progress_bar"]
