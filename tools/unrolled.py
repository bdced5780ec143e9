"""The network unrolled over a message, and where the user comes in: the diagrams of the chapters.

Blue is what belongs to one user, as in all diagrams of the book.
"""

from __future__ import annotations

from typing import NamedTuple

from tools.canvas import Canvas, Theme

READS = ("<begin>", "good", "day")
EXPECTS = ("good", "day", "I")
BARS = ((15, 33, 21, 12), (9, 45, 6, 6), (18, 30, 12, 18))  # a sketch, not what a model says
SIZE = 18
# Heights of the rows: words expected, bars, output, cell, embedding, words read; and the gaps.
TOP, BARS_AT, OUTPUT, CELL, EMBEDDING, BOTTOM = 26, 88, 146, 248, 366, 446
AFTER_OUTPUT, AFTER_CELL, AFTER_EMBEDDING = 118, 217, 335
CELL_MIDDLE = CELL + 28
STROKE = 2


class Columns(NamedTuple):
    """Where the columns stand: the left edge of the first, their distance, and their width."""

    left: int
    step: int
    width: int = 110

    def edge(self, number: int) -> int:
        """The left edge of one column."""
        return self.left + number * self.step

    def middle(self, number: int) -> int:
        """The middle of one column."""
        return self.edge(number) + self.width // 2

    @property
    def right(self) -> int:
        """The right edge of the last column."""
        return self.edge(len(READS) - 1) + self.width


def draw_base_model(theme: Theme) -> str:
    """The base model over a message, and the places where the user can come in."""
    canvas = Canvas(theme, 760, 460, "The base model, unrolled over a message")
    columns = Columns(50, 136)
    _draw_columns(canvas, columns)
    canvas.text(18, CELL_MIDDLE + 6, "0", fill=theme.muted, font_size=SIZE)
    _plain_arrow(canvas, f"M30 {CELL_MIDDLE} H{columns.left - 3}")
    canvas.text(626, TOP, "where the user can come in", fill=theme.person, font_size=SIZE)
    ways = (
        (AFTER_OUTPUT, AFTER_OUTPUT, "a cache", "of the user’s words"),
        (AFTER_CELL - 9, AFTER_CELL, "a user head", "tells who is typing"),
        (CELL + 46, CELL + 46, "fine-tuning, hypernetwork:", "the user’s own weights"),
        (EMBEDDING + 14, AFTER_EMBEDDING, "a user embedding:", "one more input"),
    )
    for place, (y, target, name, what) in enumerate(ways):
        end = columns.right + 2 if place == 2 else columns.middle(2) + 5
        line = f"M494 {y} L474 {target} H{end}"
        canvas.line(line, stroke=theme.person, stroke_dasharray="6 4", stroke_width=STROKE)
        canvas.box(494, y - 32, 262, 64, fill=theme.person_fill, stroke=theme.person)
        canvas.text(625, y - 6, name, font_size=SIZE)
        canvas.text(625, y + 18, what, font_size=SIZE)
    return canvas.svg()


def draw_user_embedding(theme: Theme) -> str:
    """The same network, and the four places where it can read a user's vector."""
    canvas = Canvas(theme, 760, 460, "Four places where the network can read a user's vector")
    columns = Columns(138, 136)
    rails = ((AFTER_EMBEDDING, "1"), (AFTER_CELL, "3"), (AFTER_OUTPUT, "4"))
    for y, _ in rails:
        path = f"M92 {y} H{columns.middle(2)}"
        canvas.line(path, stroke=theme.person, stroke_width=STROKE)
    _draw_columns(canvas, columns)
    start = f"M92 {CELL_MIDDLE} H{columns.left - 3}"
    canvas.arrow(start, stroke=theme.person, stroke_width=STROKE)
    for y, number in (*rails, (CELL_MIDDLE, "2")):
        canvas.text(116, y - 8, number, fill=theme.person, font_size=SIZE, font_weight=600)
    _draw_user_vector(canvas)
    for y, sign in ((AFTER_EMBEDDING, "; z"), (AFTER_CELL, "× +"), (AFTER_OUTPUT, "+")):
        for number in range(len(READS)):
            _draw_pill(canvas, columns.middle(number), y, sign)
    for y, words in (
        (AFTER_EMBEDDING, "1  beside every word"),
        (CELL_MIDDLE, "2  as the first state"),
        (AFTER_CELL, "3  scale and shift"),
        (AFTER_OUTPUT, "4  bias of every word"),
    ):
        style = {"fill": theme.person, "font_size": SIZE, "text_anchor": "start"}
        canvas.text(columns.right + 38, y + 6, words, **style)
    return canvas.svg()


def _draw_columns(canvas: Canvas, columns: Columns) -> None:
    """The network once for every word: embedding, cell, output, what is probable next."""
    for number, (read, expected) in enumerate(zip(READS, EXPECTS, strict=True)):
        x, middle = columns.edge(number), columns.middle(number)
        for start, end in (
            (BOTTOM - 20, EMBEDDING + 43),
            (EMBEDDING, CELL + 59),
            (CELL, OUTPUT + 43),
            (OUTPUT, BARS_AT + 6),
        ):
            _plain_arrow(canvas, f"M{middle} {start} V{end}")
        for y, height, label in ((EMBEDDING, 40, "embedding"), (CELL, 56, "LSTM")):
            _draw_layer(canvas, x, y, columns.width, height, label)
        _draw_layer(canvas, x, OUTPUT, columns.width, 40, "output")
        _plain_arrow(canvas, f"M{x + columns.width} {CELL_MIDDLE} H{x + columns.step - 3}")
        canvas.text(middle, BOTTOM, read, font_size=SIZE)
        canvas.text(middle, TOP, expected, font_size=SIZE, font_weight=600)
        _draw_bars(canvas, middle, BARS[number])
    style = {"fill": canvas.theme.muted, "font_size": 16, "font_style": "italic"}
    for name, y in (("h", CELL_MIDDLE - 8), ("c", CELL_MIDDLE + 17)):
        canvas.text(columns.edge(1) - 14, y, name, **style)


def _draw_layer(canvas: Canvas, x: int, y: int, width: int, height: int, label: str) -> None:
    canvas.box(x, y, width, height, rx=8, stroke_width=STROKE)
    canvas.text(x + width / 2, y + height / 2 + 6, label, font_size=SIZE)


def _draw_bars(canvas: Canvas, middle: int, heights: tuple[int, ...]) -> None:
    """Probabilities of some words; the highest is the one expected."""
    for place, height in enumerate(heights):
        fill = canvas.theme.text if height == max(heights) else canvas.theme.line
        x = middle - 32 + 17 * place
        canvas.box(x, BARS_AT - height, 12, height, rx=0, fill=fill, stroke="none")


def _draw_user_vector(canvas: Canvas) -> None:
    """The vector as a column of numbers, some larger than others."""
    theme = canvas.theme
    style = {"fill": theme.person_fill, "stroke": theme.person, "stroke_width": STROKE}
    canvas.box(8, 88, 84, 276, **style)
    canvas.text(50, 116, "user", font_size=SIZE)
    canvas.text(50, 138, "vector", font_size=SIZE)
    for place, opacity in enumerate((0.9, 0.25, 0.6, 0.1, 0.75, 0.4)):
        cell = {"rx": 0, "fill": theme.person, "fill_opacity": opacity, "stroke": theme.person}
        canvas.box(37, 156 + 26 * place, 26, 26, **cell)
    canvas.text(46, 344, "z", font_size=24, font_style="italic")
    canvas.text(58, 350, "u", font_size=16, font_style="italic")


def _draw_pill(canvas: Canvas, middle: int, y: int, sign: str) -> None:
    """What is done with the vector here."""
    theme = canvas.theme
    style = {"rx": 13, "fill": theme.person_fill, "stroke": theme.person, "stroke_width": STROKE}
    canvas.box(middle - 26, y - 13, 52, 26, **style)
    canvas.text(middle, y + 6, sign, font_size=SIZE)


def _plain_arrow(canvas: Canvas, points: str) -> None:
    canvas.arrow(points, stroke_width=STROKE)
