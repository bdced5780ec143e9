"""Two heads on one network, and the belief that leads from one to the other: their diagram.

Blue is what belongs to the users, as in all diagrams of the book. Bars and cells are a sketch.
"""

from __future__ import annotations

from tools.canvas import Canvas, Theme

SIZE, SMALL = 18, 16
STROKE = 2
TRUNK, BELIEF, TABLE = 108, 424, 678  # middles of the three columns
WIDTH = 150  # of a layer's box
READ, EMBEDDING, LSTM, HEAD, BARS_AT, EXPECTED = 490, 400, 292, 150, 96, 26
WORDS = (12, 42, 9, 20)
USERS = (5, 9, 4, 52, 3, 14, 4, 7)  # how much each user is believed in
PANEL = 236, 126  # top and height of the belief
SHADES = (0.85, 0.2, 0.55, 0.1, 0.7, 0.35, 0.15, 0.6, 0.25, 0.45, 0.05)
CELL = 14


def draw_user_heads(theme: Theme) -> str:
    """Words go up through the trunk to the word head, and through the belief to its guide."""
    canvas = Canvas(
        theme, 760, 510, "Words are evidence for users; the belief guides the word head"
    )
    _draw_trunk(canvas)
    _draw_belief(canvas)
    _draw_guide(canvas)
    _draw_vectors(canvas)
    return canvas.svg()


def _draw_trunk(canvas: Canvas) -> None:
    """What all users share: the base model, its output the word head."""
    tops = (EMBEDDING, LSTM, HEAD)
    ends = (EMBEDDING + 47, LSTM + 55, HEAD + 55, BARS_AT + 6)
    for start, end in zip((READ - 20, *tops), ends, strict=True):
        canvas.arrow(f"M{TRUNK} {start} V{end}", stroke_width=STROKE)
    for top, height, label in zip(
        tops, (44, 52, 52), ("embedding", "LSTM", "word head"), strict=True
    ):
        _draw_layer(canvas, TRUNK, top, height, label)
    canvas.text(TRUNK, READ, "good", font_size=SIZE)
    canvas.text(TRUNK, EXPECTED, "day", font_size=SIZE, font_weight=600)
    for number, height in enumerate(WORDS):
        fill = canvas.theme.text if height == max(WORDS) else canvas.theme.line
        x = TRUNK - 32 + 17 * number
        canvas.box(x, BARS_AT - height, 12, height, rx=0, fill=fill, stroke="none")
    _draw_loop(canvas, TRUNK - WIDTH // 2, LSTM + 26, 12, canvas.theme.muted)


def _draw_belief(canvas: Canvas) -> None:
    """The word read is evidence; added to what was believed, it gives the belief."""
    theme, (top, height) = canvas.theme, PANEL
    blue = {"stroke": theme.person, "stroke_width": STROKE}
    canvas.arrow(f"M{TRUNK + 30} {READ - 6} H{BELIEF} V{EMBEDDING + 47}", **blue)
    canvas.arrow(f"M{BELIEF} {EMBEDDING} V{top + height + 3}", **blue)
    canvas.text(BELIEF + 20, EMBEDDING - 10, "+", fill=theme.person, font_size=24)
    _draw_layer(canvas, BELIEF, EMBEDDING, 44, "evidence", person=True)
    canvas.box(BELIEF - 95, top, 190, height, fill=theme.person_fill, **blue)
    canvas.text(BELIEF, top + 26, "who is typing?", font_size=SIZE)
    base = top + height - 30
    for number, bar in enumerate(USERS):
        x = BELIEF - 78 + 20 * number
        canvas.box(x, base - bar, 14, bar, rx=0, fill=theme.person, stroke="none")
    canvas.line(f"M{BELIEF - 84} {base} H{BELIEF + 84}", **blue)
    canvas.text(BELIEF, base + 21, "users", font_size=SMALL)
    _draw_loop(canvas, BELIEF - 95, top + height // 2, 22, theme.person)
    for line, words in enumerate(("carried", "to the next", "word and", "message")):
        y = top + 38 + 20 * line
        canvas.text(BELIEF - 136, y, words, fill=theme.person, font_size=SMALL, text_anchor="end")


def _draw_guide(canvas: Canvas) -> None:
    """The users' vectors, weighted by the belief, guide the word head."""
    blue = {"stroke": canvas.theme.person, "stroke_width": STROKE}
    canvas.arrow(f"M{BELIEF} {PANEL[0]} V{HEAD + 55}", **blue)
    canvas.box(BELIEF - 95, HEAD, 190, 52, rx=8, fill=canvas.theme.person_fill, **blue)
    _draw_row(canvas, BELIEF - 3.5 * CELL, HEAD + 26 - CELL / 2, 7, 3)
    canvas.text(BELIEF, HEAD - 12, "weighted vector", font_size=SIZE)
    canvas.arrow(f"M{BELIEF - 95} {HEAD + 26} H{TRUNK + WIDTH // 2 + 3}", **blue)
    x = (BELIEF - 95 + TRUNK + WIDTH // 2) / 2
    canvas.text(x, HEAD + 16, "guides", fill=canvas.theme.person, font_size=SMALL)


def _draw_vectors(canvas: Canvas) -> None:
    """One table of vectors, which both the evidence and the guide read."""
    theme, rows = canvas.theme, len(USERS)
    blue = {"stroke": theme.person, "stroke_width": STROKE}
    top = PANEL[0] + (PANEL[1] - rows * CELL) / 2
    for row in range(rows):
        _draw_row(canvas, TABLE - 3.5 * CELL, top + CELL * row, 7, 5 * row)
    canvas.box(TABLE - 3.5 * CELL, top, 7 * CELL, rows * CELL, rx=0, fill="none", **blue)
    canvas.text(TABLE, top - 34, "a vector", font_size=SIZE, fill=theme.person)
    canvas.text(TABLE, top - 12, "for each user", font_size=SIZE, fill=theme.person)
    canvas.arrow(f"M{TABLE} {top - 56} V{HEAD + 26} H{BELIEF + 98}", **blue)
    bottom = top + rows * CELL
    canvas.arrow(f"M{TABLE} {bottom} V{EMBEDDING + 22} H{BELIEF + WIDTH // 2 + 3}", **blue)


def _draw_layer(
    canvas: Canvas, middle: int, top: int, height: int, label: str, person: bool = False
) -> None:
    theme = canvas.theme
    style = {"fill": theme.person_fill, "stroke": theme.person} if person else {}
    canvas.box(middle - WIDTH / 2, top, WIDTH, height, rx=8, stroke_width=STROKE, **style)
    canvas.text(middle, top + height / 2 + 6, label, font_size=SIZE)


def _draw_loop(canvas: Canvas, x: int, y: int, half: int, color: str) -> None:
    """What is carried on, from one word to the next: out of a box to the left, and in again."""
    out = x - 36
    path = f"M{x} {y - half} C{out} {y - half} {out} {y + half} {x - 3} {y + half}"
    canvas.arrow(path, stroke=color, stroke_width=STROKE)


def _draw_row(canvas: Canvas, x: float, y: float, cells: int, shift: int) -> None:
    """One vector, some of its numbers larger than others."""
    theme = canvas.theme
    for cell in range(cells):
        shade = SHADES[(3 * cell + shift) % len(SHADES)]
        style = {"rx": 0, "fill": theme.person, "fill_opacity": shade, "stroke": theme.person}
        canvas.box(x + CELL * cell, y, CELL, CELL, **style)


__all__ = ["draw_user_heads"]
