"""What a hypernetwork writes from a user's vector, and into which weights: its diagram.

Blue is what belongs to one user, as in all diagrams of the book. Sizes are a sketch, not to scale.
"""

from __future__ import annotations

from typing import NamedTuple

from tools.canvas import Canvas, Theme

SIZE, SMALL = 18, 16
STROKE = 2
CELL = 9  # side of one number of a matrix
SHADES = (0.85, 0.2, 0.55, 0.1, 0.7, 0.35, 0.15, 0.6, 0.25, 0.45, 0.05)
HEADING = 26
VECTOR, GENERATOR, WRITTEN = 42, 158, 270  # middles of the columns on the left
TOP, BOTTOM = 92, 388  # of the generator
LABELS, COLLECTED = 311, 471  # where labels start; the bracket that leads on to the network
LAYER, COLUMNS = 112, (540, 676)  # width of a layer's box; middles of the steps
# Heights of the network's rows, from the word expected down to the word read.
BARS_AT, OUTPUT, LSTM, EMBEDDING, READ = 92, 146, 248, 366, 446
WORDS = (("good", "day", (9, 45, 6, 6)), ("day", "I", (18, 30, 12, 18)))


class Form(NamedTuple):
    """One form of a change: its middle, its shape in the sketch, and its numbers in the output."""

    label: str
    y: int
    numbers: str


FORMS = (
    Form("a bias", 126, "V"),
    Form("a scale", 202, "H"),
    Form("narrow matrices", 278, "r (H + E)"),
    Form("a whole matrix", 354, "H × E, in chunks"),
)


def draw_hypernetwork(theme: Theme) -> str:
    """A vector goes into the generator, which writes changes of the unrolled network's weights."""
    canvas = Canvas(theme, 760, 460, "A generator writes weights from a user's vector")
    _draw_vector(canvas)
    _draw_generator(canvas)
    _draw_forms(canvas)
    _draw_network(canvas)
    return canvas.svg()


def _draw_vector(canvas: Canvas) -> None:
    """The user's numbers, which are all that is kept of the user."""
    theme, top = canvas.theme, (TOP + BOTTOM) // 2 - 104
    canvas.box(VECTOR - 36, top, 72, 208, fill=theme.person_fill, **_blue(theme))
    for line, words in enumerate(("user", "vector")):
        canvas.text(VECTOR, top + 26 + 21 * line, words, font_size=SIZE)
    for cell, shade in enumerate((0.9, 0.25, 0.6, 0.1, 0.75)):
        style = {"rx": 0, "fill": theme.person, "fill_opacity": shade, "stroke": theme.person}
        canvas.box(VECTOR - 11, top + 60 + 22 * cell, 22, 22, **style)
    canvas.text(VECTOR - 4, top + 194, "z", font_size=24, font_style="italic")
    canvas.text(VECTOR + 8, top + 200, "u", font_size=SMALL, font_style="italic")
    middle = (TOP + BOTTOM) // 2
    canvas.arrow(f"M{VECTOR + 36} {middle} H{GENERATOR - 55}", **_blue(theme))


def _draw_generator(canvas: Canvas) -> None:
    """One for all users, so it is gray; for chunks it is told which chunk to write."""
    theme, middle = canvas.theme, (TOP + BOTTOM) // 2
    canvas.box(GENERATOR - 52, TOP, 104, BOTTOM - TOP, stroke_width=STROKE)
    canvas.text(GENERATOR, middle - 2, "generator", font_size=SIZE)
    for line, words in enumerate(("one for", "all users")):
        style = {"fill": theme.muted, "font_size": SMALL}
        canvas.text(GENERATOR, middle + 22 + 19 * line, words, **style)
    canvas.arrow(f"M{GENERATOR} {READ - 18} V{BOTTOM + 3}", stroke_width=STROKE)
    style = {"fill": theme.muted, "font_size": SMALL}
    canvas.text(GENERATOR, READ, "which chunk?", **style)


def _draw_forms(canvas: Canvas) -> None:
    """The four forms of what is written, one below the other, and the way to the network."""
    theme = canvas.theme
    for line, words in enumerate(("written", "once a message")):
        style = {"fill": theme.person, "font_size": SIZE, "font_weight": 600}
        canvas.text(346, HEADING + 23 * line, words, **style)
    for form in FORMS:
        canvas.arrow(f"M{GENERATOR + 52} {form.y} H{WRITTEN - 35}", **_blue(theme))
        canvas.text(LABELS, form.y - 2, form.label, font_size=SIZE, text_anchor="start")
        style = {"fill": theme.muted, "font_size": SMALL, "text_anchor": "start"}
        canvas.text(LABELS, form.y + 19, form.numbers, **style)
    bias, scale, narrow, whole = (form.y for form in FORMS)
    _draw_matrix(canvas, WRITTEN, bias, 5, 1)
    _draw_matrix(canvas, WRITTEN, scale, 1, 4, shift=2)
    _draw_matrix(canvas, WRITTEN - 25, narrow, 5, 1, shift=4)
    canvas.text(WRITTEN - 12, narrow + 6, "×", fill=theme.person, font_size=SIZE)
    _draw_matrix(canvas, WRITTEN + 12, narrow, 1, 4, shift=6)
    _draw_matrix(canvas, WRITTEN, whole, 5, 4, shift=1)
    for row in range(1, 5):
        y = whole - 2.5 * CELL + CELL * row
        canvas.line(f"M{WRITTEN - 2 * CELL} {y} h{4 * CELL}", **_blue(theme))


def _draw_network(canvas: Canvas) -> None:
    """The base model over two words; LSTM and output have this user's weights at every step."""
    theme = canvas.theme
    rails = (OUTPUT + 40 + 31, LSTM + 56 + 31)
    top, bottom = FORMS[0].y - 26, FORMS[-1].y + 26
    canvas.line(f"M{COLLECTED - 10} {top} h10 V{bottom} h-10", **_blue(theme))
    for y in rails:
        canvas.line(f"M{COLLECTED} {y} H{COLUMNS[-1] - 32}", **_blue(theme))
    for middle, (read, expected, bars) in zip(COLUMNS, WORDS, strict=True):
        tops = (EMBEDDING, LSTM, OUTPUT)
        ends = (EMBEDDING + 43, LSTM + 59, OUTPUT + 43, BARS_AT + 6)
        for start, end in zip((READ - 20, *tops), ends, strict=True):
            canvas.arrow(f"M{middle} {start} V{end}", stroke_width=STROKE)
        for y, end in zip(rails, (OUTPUT + 43, LSTM + 59), strict=True):
            canvas.arrow(f"M{middle - 32} {y} V{end}", **_blue(theme))
        _draw_layer(canvas, middle, EMBEDDING, 40, "embedding")
        _draw_layer(canvas, middle, LSTM, 56, "LSTM", person=True)
        _draw_layer(canvas, middle, OUTPUT, 40, "output", person=True)
        right = middle + LAYER // 2
        canvas.arrow(f"M{right} {LSTM + 28} H{right + 21}", stroke_width=STROKE)
        canvas.text(middle, READ, read, font_size=SIZE)
        canvas.text(middle, HEADING, expected, font_size=SIZE, font_weight=600)
        _draw_bars(canvas, middle, bars)


def _draw_layer(
    canvas: Canvas, middle: int, top: int, height: int, label: str, person: bool = False
) -> None:
    theme = canvas.theme
    style = {"fill": theme.person_fill, "stroke": theme.person} if person else {}
    canvas.box(middle - LAYER / 2, top, LAYER, height, rx=8, stroke_width=STROKE, **style)
    canvas.text(middle, top + height / 2 + 6, label, font_size=SIZE)


def _draw_bars(canvas: Canvas, middle: int, heights: tuple[int, ...]) -> None:
    """Probabilities of some words; the highest is the one expected."""
    for place, height in enumerate(heights):
        fill = canvas.theme.text if height == max(heights) else canvas.theme.line
        x = middle - 32 + 17 * place
        canvas.box(x, BARS_AT - height, 12, height, rx=0, fill=fill, stroke="none")


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
    canvas.box(left, top, CELL * columns, CELL * rows, rx=0, fill="none", **_blue(theme))


def _blue(theme: Theme) -> dict[str, object]:
    return {"stroke": theme.person, "stroke_width": STROKE}


__all__ = ["draw_hypernetwork"]
