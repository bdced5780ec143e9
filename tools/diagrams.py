"""Draw the diagrams of the book: SVG, once for the light theme and once for the dark one.

``python -m tools.diagrams`` writes them all to ``book/_static``. The phones show what the truth of
the default corpus says, so they are drawn anew whenever the corpus changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from companion.corpora import BEGIN, Split, Truth, messages
from tools import changes, heads, reading, unrolled, weights
from tools.canvas import THEMES, Canvas, Theme
from tools.environment import BOOK

FOLDER = BOOK / "_static"
SHOWN = 3
TYPED = ("lunch", "with")


class Phone(NamedTuple):
    """What one keyboard shows, and how often that is right."""

    owner: str
    suggestions: list[str]
    right: float  # probability that the next word is among the suggestions
    personal: bool


def phones(data: Split, truth: Truth) -> list[Phone]:
    """One keyboard for everybody, and those of three users, for the same half-typed message.

    The users are the first three of different dialects who have three colleagues to have lunch
    with. What everybody's keyboard is worth is its mean over all known users.
    """
    blind = np.exp(truth.blind(_tokens(data, 1))[0, -1])  # (word,)
    chosen = _three_users(data, truth)
    known = data.known_users
    aware = np.exp(truth.aware(_tokens(data, len(known)), known)[:, -1])  # (user, word)
    words, everybody = data.vocabulary.words, _best(blind)
    shared = float(aware[:, everybody].sum(axis=1).mean())
    found = [Phone("one model for everybody", [words[i] for i in everybody], shared, False)]
    for user, probability in zip(chosen, aware[np.searchsorted(known, chosen)], strict=True):
        best = _best(probability)
        right = float(probability[best].sum())
        found.append(
            Phone(f"a model that knows user {user}", [words[i] for i in best], right, True)
        )
    return found


def _tokens(data: Split, rows: int) -> np.ndarray:
    ids = [BEGIN, *data.vocabulary.encode(TYPED)]
    return np.tile(np.array(ids, dtype=np.int32), (rows, 1))  # (row, step)


def _best(probability: np.ndarray) -> np.ndarray:
    return np.argsort(-probability, kind="stable")[:SHOWN]


def _three_users(data: Split, truth: Truth) -> list[int]:
    chosen: list[int] = []
    profiles = truth.profiles
    for user in map(int, data.known_users):
        new = all(profiles.dialects[user] != profiles.dialects[other] for other in chosen)
        if new and len(profiles.own["colleague"][user]) == SHOWN and len(chosen) < SHOWN:
            chosen.append(user)
    return chosen


def draw_phones(shown: list[Phone], theme: Theme) -> str:
    """Four phones, two in a row: wide enough on a screen, large enough on a phone."""
    canvas = Canvas(theme, 760, 590, "The same half-typed message on four phones")
    for place, phone in enumerate(shown):
        _draw_phone(canvas, phone, 12 + 378 * (place % 2), 8 + 294 * (place // 2))
    return canvas.svg()


def _draw_phone(canvas: Canvas, phone: Phone, x: float, y: float) -> None:
    theme = canvas.theme
    accent = theme.person if phone.personal else theme.muted
    canvas.box(x, y, 358, 278, rx=26, stroke=accent, stroke_width=3)
    canvas.text(x + 179, y + 36, phone.owner, fill=accent, font_weight=600, font_size=21)
    canvas.box(x + 18, y + 54, 322, 56, rx=28, fill=theme.key)
    typed = " ".join(TYPED)
    canvas.text(x + 42, y + 90, f"{typed} ▏", text_anchor="start", font_size=24)
    for number, word in enumerate(phone.suggestions):
        left = x + 18 + 109 * number
        fill = theme.person_fill if phone.personal else theme.key
        canvas.box(left, y + 126, 104, 50, rx=10, fill=fill, stroke=accent)
        canvas.text(left + 52, y + 158, word, font_size=min(23, 150 / len(word)), font_weight=600)
    for number in range(10):
        canvas.box(x + 18 + 32.6 * number, y + 188, 28, 26, rx=5, fill=theme.key, stroke="none")
    canvas.text(x + 179, y + 252, f"right {100 * phone.right:.0f} times in 100", font_size=22)


FAMILIES = {
    "user_embedding": "A vector per user is read by the recurrent layer and by the output",
    "fine_tuning": "A copy of the weights is trained further for each user",
    "user_head": "A second output tells who is typing, and decides between outputs",
    "hypernetwork": "A second network turns a vector per user into weights",
}


def draw_family(name: str, theme: Theme) -> str:
    """The base network, and where the user's information enters it."""
    canvas = Canvas(theme, 760, 250, FAMILIES[name])
    _draw_network(canvas, own_weights=name == "fine_tuning")
    {
        "user_embedding": _draw_vector,
        "fine_tuning": _draw_change,
        "user_head": _draw_head,
        "hypernetwork": _draw_weights,
    }[name](canvas)
    return canvas.svg()


def _draw_network(canvas: Canvas, own_weights: bool) -> None:
    """Words, recurrent layer, output: what all methods share."""
    theme = canvas.theme
    style = {"stroke": theme.person, "fill": theme.person_fill} if own_weights else {}
    for x, label in ((150, "embedding"), (330, "recurrent"), (510, "output")):
        canvas.box(x, 150, 140, 64, stroke_width=2.5, **style)
        canvas.text(x + 70, 189, label)
    canvas.text(52, 180, "words")
    canvas.text(52, 206, "so far")
    canvas.text(712, 180, "next")
    canvas.text(712, 206, "word")
    for start, end in ((96, 147), (290, 327), (470, 507), (650, 672)):
        canvas.arrow(f"M{start} 182 H{end}")
    canvas.arrow("M375 214 C375 248 425 248 425 217")


def _person_box(canvas: Canvas, x: float, y: float, w: float, label: str) -> None:
    theme = canvas.theme
    canvas.box(x, y, w, 52, fill=theme.person_fill, stroke=theme.person, stroke_width=2.5)
    canvas.text(x + w / 2, y + 33, label, fill=theme.text)


def _draw_vector(canvas: Canvas) -> None:
    _person_box(canvas, 300, 24, 200, "user vector")
    canvas.arrow("M400 76 V146", stroke=canvas.theme.person)
    canvas.arrow("M500 50 H580 V146", stroke=canvas.theme.person)


def _draw_change(canvas: Canvas) -> None:
    _person_box(canvas, 150, 24, 500, "trained further on the user's own history")
    for x in (220, 400, 580):
        canvas.arrow(f"M{x} 76 V146", stroke=canvas.theme.person)


def _draw_head(canvas: Canvas) -> None:
    _person_box(canvas, 300, 24, 200, "who is typing?")
    canvas.arrow("M400 150 V80", stroke=canvas.theme.person)
    canvas.arrow("M500 50 H580 V146", stroke=canvas.theme.person)


def _draw_weights(canvas: Canvas) -> None:
    _person_box(canvas, 20, 24, 200, "user vector")
    _person_box(canvas, 300, 24, 200, "hypernetwork")
    canvas.arrow("M220 50 H296", stroke=canvas.theme.person)
    canvas.arrow("M400 76 V146", stroke=canvas.theme.person)
    canvas.arrow("M500 50 H580 V146", stroke=canvas.theme.person)
    canvas.text(514, 118, "weights", fill=canvas.theme.muted, font_size=20)


def draw() -> dict[str, str]:
    """Every diagram: file name to content."""
    shown = phones(*messages())
    files = {}
    for name, theme in THEMES.items():
        files[f"phones-{name}.svg"] = draw_phones(shown, theme)
        for family in FAMILIES:
            files[f"{family}-{name}.svg"] = draw_family(family, theme)
        files[f"base_model-{name}.svg"] = unrolled.draw_base_model(theme)
        files[f"user_embedding_places-{name}.svg"] = unrolled.draw_user_embedding(theme)
        files[f"fine_tuning_places-{name}.svg"] = changes.draw_fine_tuning(theme)
        files[f"user_heads_belief-{name}.svg"] = heads.draw_user_heads(theme)
        files[f"hypernetwork_writes-{name}.svg"] = weights.draw_hypernetwork(theme)
        files[f"user_memory_reads-{name}.svg"] = reading.draw_user_memory(theme)
    return files


def main(folder: Path = FOLDER) -> None:
    """Write every diagram."""
    for name, content in draw().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
