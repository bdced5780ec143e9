"""A canvas for the book's diagrams: shapes in the colors of a light and of a dark page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import NamedTuple

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


class Theme(NamedTuple):
    """The colors of one theme: readable on the book's page, whose color shows through."""

    text: str
    muted: str
    line: str
    panel: str
    key: str
    person: str
    person_fill: str
    on_person: str


THEMES = {
    "light": Theme(
        "#222832", "#5A6470", "#8A94A0", "#F4F6F8", "#FFFFFF", "#00639C", "#D6EBF8", "#FFFFFF"
    ),
    "dark": Theme(
        "#E8EAED", "#AEB6C0", "#7C8794", "#23282F", "#343B44", "#6CC3F5", "#17405A", "#10212D"
    ),
}


@dataclass
class Canvas:
    """Shapes of one diagram, in the colors of one theme."""

    theme: Theme
    width: int
    height: int
    title: str

    def __post_init__(self) -> None:
        self.shapes: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, **style: object) -> None:
        """A rounded rectangle."""
        options = {"rx": 10, "fill": self.theme.panel, "stroke": self.theme.line} | style
        self._add("rect", x=x, y=y, width=w, height=h, **options)

    def text(self, x: float, y: float, words: str, **style: object) -> None:
        """One line of text; its middle is at x unless `anchor` says otherwise."""
        options = {"fill": self.theme.text, "font_size": 22, "text_anchor": "middle"} | style
        self.shapes.append(f"<text {_attributes(x=x, y=y, **options)}>{escape(words)}</text>")

    def arrow(self, points: str, **style: object) -> None:
        """A path with a head at its end."""
        options = {"stroke": self.theme.muted, "stroke_width": 2.5, "fill": "none"} | style
        head = "head-person" if options["stroke"] == self.theme.person else "head"
        self._add("path", d=points, marker_end=f"url(#{head})", **options)

    def line(self, points: str, **style: object) -> None:
        """A path without a head."""
        options = {"stroke": self.theme.muted, "stroke_width": 2.5, "fill": "none"} | style
        self._add("path", d=points, **options)

    def _add(self, name: str, **attributes: object) -> None:
        self.shapes.append(f"<{name} {_attributes(**attributes)}/>")

    def svg(self) -> str:
        """The whole file."""
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="6" '
            f'markerHeight="6" orient="auto-start-reverse">'
            f'<path d="M0 0 L10 5 L0 10 z" fill="{color}"/></marker>'
            for name, color in (("head", self.theme.muted), ("head-person", self.theme.person))
        )
        body = "\n".join(self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="{FONT}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<defs>{heads}</defs>\n{body}\n</svg>\n"
        )


def _attributes(**values: object) -> str:
    return " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in values.items())


__all__ = ["THEMES", "Canvas", "Theme"]
