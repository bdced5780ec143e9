"""Every plot of the book, in one look.

``plots`` draws a figure a function, ``identifying`` those about who is typing, ``looks`` holds the
colors, sizes and styles that all share. Call :func:`apply` once in a notebook to have its own plots
look alike and to store all of them crisp.
"""

from .identifying import naming, reliability
from .looks import LOOKS, Look, apply, canvas, look, png, style
from .plots import (
    frontier,
    gain_by_history,
    gain_by_user,
    gains_over_base,
    history_lengths,
    learning_curve,
    losses_between_bounds,
    scatter_by_group,
)

__all__ = [
    "LOOKS",
    "Look",
    "apply",
    "canvas",
    "frontier",
    "gain_by_history",
    "gain_by_user",
    "gains_over_base",
    "history_lengths",
    "learning_curve",
    "look",
    "losses_between_bounds",
    "naming",
    "png",
    "reliability",
    "scatter_by_group",
    "style",
]
