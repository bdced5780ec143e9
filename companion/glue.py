"""Hand a number from a cell to the prose around it."""

from __future__ import annotations

import math
from numbers import Integral, Real

_PREFIX = "application/papermill.record/"


def glue(name: str, value: float | int | str) -> None:
    """Keep ``value`` under ``name`` for the text of the book; show nothing.

    The text then says ``{glue:text}`name:.2f``` and can never disagree with the cell. The output
    is that of ``myst_nb.glue(name, value, display=False)``, written here because importing that
    takes longer than many a notebook, and is not possible on Colab. Outside a notebook nothing
    happens.

    Parameters
    ----------
    name : str
        One name, used once in a notebook.
    value : float, int or str
        A plain number, a NumPy scalar or a text.

    Raises
    ------
    TypeError
        If ``value`` is of another type.
    ValueError
        If ``value`` is not finite: a text must not say "nan".
    """
    plain = _plain(name, value)
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is not None:
        record = {"name": name, "mime_prefix": _PREFIX}
        display({f"{_PREFIX}text/plain": repr(plain)}, metadata={"scrapbook": record}, raw=True)


def _plain(name: str, value: object) -> float | int | str:
    """Return what MyST-NB can format: it cannot format NumPy's scalars."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real):
        raise TypeError(f"glue({name!r}): value must be a number or a str, got {type(value)}")
    if not math.isfinite(value):
        raise ValueError(f"glue({name!r}): value must be finite, got {value}")
    return float(value)
