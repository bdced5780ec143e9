"""A network that reads what the user wrote before, in three ways: its diagram.

Blue is what belongs to the user, as in all diagrams of the book.
"""

from __future__ import annotations

from tools.canvas import Canvas, Theme

SIZE, SMALL = 18, 16
STROKE = 2
MESSAGES = (  # what the user wrote, and how near each place is to the present
    ("lunch with yuki", (0.1, 0.35, 1.0)),
    ("on my way !", (0.0, 0.1, 0.1, 0.0)),
    ("dinner with yuki ?", (0.05, 0.3, 0.6, 0.1)),
)
LEFT, TOP, ROW = 24, 54, 118  # of the messages
KEY = 16
STEPS = (("lunch", 500), ("with", 640))
WIDTH = 118  # of a layer's box
READ, EMBEDDING, LSTM, WORDS, EXPECTED = 474, 396, 288, 116, 46
POOLED, COUNTED = 412, 468  # height of the two lower ways


def draw_user_memory(theme: Theme) -> str:
    """Messages on the left, the network on the right, three ways from one to the other."""
    canvas = Canvas(theme, 760, 500, "The network reads what the user wrote, in three ways")
    places = _draw_messages(canvas)
    _draw_network(canvas)
    _draw_pointer(canvas, places)
    _draw_pooled(canvas)
    _draw_counts(canvas)
    return canvas.svg()


def _draw_messages(canvas: Canvas) -> list[tuple[float, float, float]]:
    """The remembered words, a key above each; where the keys are, and how near the present."""
    theme, places = canvas.theme, []
    canvas.text(LEFT, 30, "what the user wrote", font_size=SIZE, fill=theme.person, **_START)
    for number, (message, near) in enumerate(MESSAGES):
        y, x = TOP + ROW * number, LEFT
        canvas.box(LEFT - 12, y - 8, 262, 84, fill=theme.person_fill, stroke=theme.person)
        for word, share in zip(message.split(), near, strict=True):
            width = 9.6 * len(word) + 6
            middle = x + width / 2
            if word == "yuki":
                canvas.box(x - 3, y + 42, width + 4, 26, rx=5, fill=theme.person, stroke="none")
            fill = theme.on_person if word == "yuki" else theme.text
            canvas.text(middle, y + 61, word, font_size=SIZE, fill=fill)
            canvas.box(
                middle - KEY / 2, y + 8, KEY, KEY, rx=3, fill=theme.person,
                fill_opacity=0.25 + 0.75 * share, stroke=theme.person,
            )  # fmt: skip
            places.append((middle, y + 16, share))
            x += width + 14
    return places


def _draw_network(canvas: Canvas) -> None:
    """The base model, unrolled over two words; the next one is open."""
    for word, middle in STEPS:
        canvas.text(middle, READ, word, font_size=SIZE)
        canvas.arrow(f"M{middle} {READ - 20} V{EMBEDDING + 43}", stroke_width=STROKE)
        canvas.arrow(f"M{middle} {EMBEDDING} V{LSTM + 51}", stroke_width=STROKE)
        _draw_layer(canvas, middle, EMBEDDING, 40, "embedding")
        _draw_layer(canvas, middle, LSTM, 48, "LSTM")
    first, last = (middle for _, middle in STEPS)
    half = WIDTH // 2
    canvas.arrow(f"M{first + half} {LSTM + 24} H{last - half - 3}", stroke_width=STROKE)
    canvas.arrow(f"M{last} {LSTM} V{WORDS + 51}", stroke_width=STROKE)
    _draw_layer(canvas, last, WORDS, 48, "words")
    canvas.arrow(f"M{last} {WORDS} V{EXPECTED + 12}", stroke_width=STROKE)
    canvas.text(last, EXPECTED, "yuki ?", font_size=SIZE, font_weight=600)


def _draw_pointer(canvas: Canvas, places: list[tuple[float, float, float]]) -> None:
    """From the present state to every key: the nearer, the thicker."""
    theme, x, y = canvas.theme, STEPS[-1][1], 222
    for left, top, share in places:
        style = {"stroke": theme.person, "stroke_width": round(0.6 + 4.4 * share, 1)}
        canvas.line(f"M{x} {y} L{left + KEY / 2 + 2} {top}", stroke_opacity=0.8, **style)
    canvas.box(x - 8, y - 8, 16, 16, rx=3, fill=theme.person, stroke="none")
    canvas.text(x + 18, y + 6, "pointer", font_size=SMALL, fill=theme.person, **_START)


def _draw_pooled(canvas: Canvas) -> None:
    """The mean over all positions, into the hidden state."""
    theme, x = canvas.theme, STEPS[-1][1]
    canvas.arrow(f"M{LEFT + 60} 376 V{POOLED - 19}", stroke=theme.person, stroke_width=STROKE)
    canvas.text(LEFT + 60, POOLED + 4, "pooled", font_size=SIZE, fill=theme.person)
    path = f"M{LEFT + 100} {POOLED} H412 V262 H{x - 3}"
    canvas.arrow(path, stroke=theme.person, stroke_width=STROKE)


def _draw_counts(canvas: Canvas) -> None:
    """The tally of words, into the scores of the words."""
    theme, x = canvas.theme, STEPS[-1][1]
    canvas.arrow(f"M{LEFT + 190} 376 V{COUNTED - 19}", stroke=theme.person, stroke_width=STROKE)
    canvas.text(LEFT + 190, COUNTED + 4, "counts", font_size=SIZE, fill=theme.person)
    path = f"M{LEFT + 226} {COUNTED} H346 V140 H{x - WIDTH // 2 - 3}"
    canvas.arrow(path, stroke=theme.person, stroke_width=STROKE)


def _draw_layer(canvas: Canvas, middle: int, top: int, height: int, label: str) -> None:
    canvas.box(middle - WIDTH / 2, top, WIDTH, height, rx=8, stroke_width=STROKE)
    canvas.text(middle, top + height / 2 + 6, label, font_size=SIZE)


_START = {"text_anchor": "start"}

__all__ = ["draw_user_memory"]
