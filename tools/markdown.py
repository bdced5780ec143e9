"""Read pages as the book does: MyST Markdown into tokens, with the content of directives opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

# Directives whose content is text to read; everything else is code, a formula or a list of names.
PROSE = {
    *("note", "tip", "warning", "important", "caution", "hint", "seealso", "attention", "danger"),
    *(
        "admonition",
        "dropdown",
        "card",
        "tab-item",
        "tab-set",
        "grid",
        "grid-item-card",
        "grid-item",
    ),
    *("exercise", "solution", "figure", "glossary", "epigraph", "margin", "sidebar", "topic"),
    *("exercise-start", "solution-start", "glue:figure", "table", "list-table", "div"),
}
_DIRECTIVE = re.compile(r"^\{([\w:-]+)\}\s*(.*)$", re.DOTALL)
_OPTION = re.compile(r"^:([\w-]+):\s*(.*)$")


@dataclass
class Directive:
    """One directive of a page, such as a figure or a note."""

    name: str
    argument: str
    options: dict[str, str]
    body: str
    line: int  # of its opening fence, from 1
    body_line: int


@dataclass
class Inline:
    """One run of text on one source line: ``kind`` is its token type, ``name`` that of a role."""

    kind: str
    text: str
    line: int
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """What the checks need of one piece of Markdown."""

    source: str
    inlines: list[Inline] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)
    directives: list[Directive] = field(default_factory=list)
    html: list[tuple[int, str]] = field(default_factory=list)


@cache
def _parser() -> MarkdownIt:
    extensions = yaml.safe_load((Path(__file__).parent.parent / "_config.yml").read_text("utf-8"))
    enabled = set(extensions["parse"]["myst_enable_extensions"]) - {"linkify", "substitution"}
    return create_md_parser(MdParserConfig(enable_extensions=enabled), RendererHTML)


@cache
def parse(source: str) -> Page:
    """Read one piece of Markdown, directives inside directives included."""
    page = Page(source)
    _read(page, source, 0)
    return page


def _read(page: Page, source: str, offset: int) -> None:
    tokens = _parser().parse(source)
    for before, token in zip([None, *tokens], tokens, strict=False):
        first = offset + (token.map[0] if token.map else 0) + 1
        if token.type == "inline":
            page.inlines.extend(_inlines(token, first))
            if before is not None and before.type == "heading_open":
                page.headings.append((int(before.tag[1]), _plain(token)))
        elif token.type == "html_block":
            page.html.append((first, token.content))
        elif token.type in ("fence", "colon_fence"):
            _read_fence(page, token, first)


def _inlines(token: Token, first: int) -> Iterator[Inline]:
    line = first
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            line += 1
        else:
            yield Inline(
                child.type,
                child.content,
                line,
                str(child.meta.get("name", "")),
                {key: str(value) for key, value in child.attrs.items()},
            )


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or [])


def _read_fence(page: Page, token: Token, first: int) -> None:
    match = _DIRECTIVE.match(token.info.strip())
    if match is None:
        return
    options, body, skipped = split_options(token.content)
    directive = Directive(match[1], match[2], options, body, first, first + 1 + skipped)
    page.directives.append(directive)
    if directive.name in PROSE:
        if directive.argument and directive.name != "figure":
            _read(page, directive.argument, first - 1)
        _read(page, body, directive.body_line - 1)


def split_options(content: str) -> tuple[dict[str, str], str, int]:
    """Split a directive's content into its options, its body and the number of lines before it."""
    lines = content.splitlines()
    options: dict[str, str] = {}
    used = 0
    for line in lines:
        match = _OPTION.match(line)
        if match is None and not (options and line.startswith(" ")):
            break
        if match:
            options[match[1]] = match[2]
        else:
            last = next(reversed(options))
            options[last] += " " + line.strip()
        used += 1
    return options, "\n".join(lines[used:]), used


def markdown_of(path: Path) -> list[tuple[str, str]]:
    """Return the Markdown of a page as (where, text): a whole ``.md``, or every text cell."""
    if path.suffix == ".md":
        return [(path.name, path.read_text(encoding="utf-8"))]
    notebook = nbformat.read(path, as_version=4)
    return [
        (f"{path.name}: cell {number}", cell.source)
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
    ]
