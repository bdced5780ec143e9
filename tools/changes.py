"""Where a user's change can enter the base model's weights: the diagram of fine-tuning.

Blue is what belongs to one user, as in all diagrams of the book. Sizes are a sketch, not to scale.
"""

from __future__ import annotations

from typing import NamedTuple

from tools.canvas import Canvas, Theme

SIZE, SMALL = 18, 16
STROKE = 2
CELL = 9  # side of one number of a matrix
LEFT, WIDTH, HEIGHT = 72, 140, 52  # the layers' boxes
WHOLE, NARROW = 330, 610  # middles of the two columns of changes
HEADINGS = 72
READ, EXPECTED = 486, 26
BARS, BARS_AT = (12, 42, 9, 20), 82
SHADES = (0.85, 0.2, 0.55, 0.1, 0.7, 0.35, 0.15, 0.6, 0.25, 0.45, 0.05)


class Place(NamedTuple):
    """A layer, its change in the sketch, and the numbers of it, whole and as narrow matrices."""

    label: str
    top: int
    rows: int
    columns: int
    whole: str
    narrow: str


PLACES = (
    Place("bias", 112, 1, 7, "V", ""),
    Place("output", 196, 5, 4, "H × E", "r (H + E)"),
    Place("LSTM", 284, 5, 10, "(E + H) × 4H", "r (E + 9H)"),
    Place("embedding", 376, 7, 3, "V × E", "r (V + E)"),
)
RECURRENT = 2


def draw_fine_tuning(theme: Theme) -> str:
    """The layers from the word read up to the next one, and beside each the change it can get."""
    canvas = Canvas(theme, 760, 500, "Where a user's change can enter the weights")
    _draw_layers(canvas)
    style = {"fill": theme.person, "font_size": SIZE}
    canvas.text(WHOLE + 30, EXPECTED, "the user’s change:", font_weight=600, **style)
    canvas.text(WHOLE + 30, HEADINGS - 18, "of every number", **style)
    canvas.text(NARROW + 26, EXPECTED, "or low-rank (LoRA):", font_weight=600, **style)
    canvas.text(NARROW + 26, HEADINGS - 18, "two narrow matrices", **style)
    for place in PLACES:
        _draw_change(canvas, place)
    return canvas.svg()


def _draw_layers(canvas: Canvas) -> None:
    """One step of the base model, from the bottom up."""
    theme, middle = canvas.theme, LEFT + WIDTH // 2
    canvas.text(middle, READ, "good", font_size=SIZE)
    canvas.text(middle, EXPECTED, "day", font_size=SIZE, font_weight=600)
    tops = [place.top for place in PLACES]
    ends = [BARS_AT + 6, *(top + HEIGHT + 3 for top in tops)]
    for start, end in zip([*tops, READ - 20], ends, strict=True):
        canvas.arrow(f"M{middle} {start} V{end}", stroke_width=STROKE)
    for place in PLACES:
        canvas.box(LEFT, place.top, WIDTH, HEIGHT, rx=8, stroke_width=STROKE)
        canvas.text(middle, place.top + HEIGHT / 2 + 6, place.label, font_size=SIZE)
    for number, height in enumerate(BARS):
        fill = theme.text if height == max(BARS) else theme.line
        x = middle - 32 + 17 * number
        canvas.box(x, BARS_AT - height, 12, height, rx=0, fill=fill, stroke="none")
    y, out = PLACES[RECURRENT].top, LEFT - 36
    loop = f"M{LEFT} {y + 14} C{out} {y + 14} {out} {y + 38} {LEFT - 3} {y + 38}"
    canvas.arrow(loop, stroke_width=STROKE)
    style = {"fill": theme.muted, "font_size": SMALL, "font_style": "italic"}
    canvas.text(LEFT - 46, y + 31, "h, c", **style)


def _draw_change(canvas: Canvas, place: Place) -> None:
    """The change of one layer, and the two narrow matrices whose product can take its place."""
    theme, y = canvas.theme, place.top + HEIGHT / 2
    half = CELL * place.columns / 2
    numbers = {"fill": theme.muted, "font_size": SMALL, "text_anchor": "start"}
    canvas.text(LEFT + WIDTH + 30, y + 8, "+", fill=theme.person, font_size=26)
    _draw_matrix(canvas, WHOLE, y, place.rows, place.columns)
    canvas.text(WHOLE + half + 10, y + 6, place.whole, **numbers)
    if not place.narrow:
        canvas.text(NARROW + 26, y + 6, "is narrow already", fill=theme.muted, font_size=SMALL)
        return
    _draw_matrix(canvas, NARROW - half - 27, y, place.rows, 1)
    canvas.text(NARROW - half - 11, y + 6, "×", fill=theme.person, font_size=SIZE)
    _draw_matrix(canvas, NARROW, y, 1, place.columns, shift=3)
    canvas.text(NARROW + half + 10, y + 6, place.narrow, **numbers)


def _draw_matrix(
    canvas: Canvas, x: float, y: float, rows: int, columns: int, shift: int = 0
) -> None:
    """A matrix with its middle at x, y, some of its numbers larger than others."""
    theme = canvas.theme
    left, top = x - CELL * columns / 2, y - CELL * rows / 2
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        shade = SHADES[(3 * number + row + shift) % len(SHADES)]
        style = {"rx": 0, "fill": theme.person, "fill_opacity": shade, "stroke": "none"}
        canvas.box(left + CELL * column, top + CELL * row, CELL, CELL, **style)
    frame = {"rx": 0, "fill": "none", "stroke": theme.person, "stroke_width": STROKE}
    canvas.box(left, top, CELL * columns, CELL * rows, **frame)


__all__ = ["draw_fine_tuning"]
