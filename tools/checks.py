"""What every page of the book must hold: each check returns a list of problems, empty if none."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from nbformat import NotebookNode

from tools import names
from tools.markdown import Page, parse

LARGEST_FIGURE = 80 * 1024
LARGEST_NOTEBOOK = 1_000_000
MEDIAN_LINES, NINE_IN_TEN_LINES = 6, 18
WIDEST_LINE = 74  # a wider one scrolls sideways; book/ruff.toml formats the pages to it
HEADER_CELLS = 5  # title, aims, prerequisites and time stand in the first few cells
REMOVED = {"remove-cell", "remove-input", "remove_cell", "remove_input"}  # no reader sees the code
EXEMPT = ("nbval-skip", "nbval-ignore-output", "nbval-check-output", "raises-exception")

_EXEMPT_COMMENT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)\s*$", re.MULTILINE)
_FORBIDDEN = {
    "an object's address": re.compile(r"\b0x[0-9a-fA-F]{6,}"),
    "an absolute path": re.compile(
        r"(?<![\w.:/])/(?:home|root|tmp|Users|work|var|private|opt|usr|mnt|content)/\w"
        r"|\b[A-Z]:\\\w"
    ),
    "a timing": re.compile(
        r"\bWall time\b|\bCPU times\b|\b\d+(?:\.\d+)?\s?(?:ms|µs|us|ns|secs?|seconds?|it/s|s/it)\b"
        r"|\b\d+\.\d+\s?s\b|\b\d\d:\d\d:\d\d\b"
    ),
    "a progress bar": re.compile(r"\r|[█▏▎▍▌▋▊▉]|\d%\|"),
}
# A decimal, unless it belongs to a version (3.11.2, Python 3.11) or names a section (Section 2.3).
_DECIMAL = re.compile(
    r"(?<![\w.])"
    r"(?<!Python )(?<!PyTorch )(?<!Keras )(?<!TensorFlow )(?<!version )(?<!Version )(?<!NumPy )"
    r"\d[\d,]*\.\d+(?![\w]|\.\d)"
)
_TYPED = re.compile(r"<!--\s*typed:\s*\S.*?-->")
_FRAMEWORK = re.compile(r"\b(?:PyTorch|Keras|TensorFlow|torch|keras)\b")
_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Yield (position, cell) of every code cell."""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            yield position, cell


def text_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Yield (position, cell) of every Markdown cell."""
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            yield position, cell


def check_executed(notebook: NotebookNode, where: str) -> list[str]:
    """Every code cell was run, in order, and the outputs are still there."""
    cells = list(code_cells(notebook))
    problems = [f"{where}: cell {p} was never run" for p, c in cells if c.execution_count is None]
    counts = [c.execution_count for _, c in cells if c.execution_count is not None]
    if not problems and counts != list(range(1, len(cells) + 1)):
        problems.append(f"{where}: cells were not run in order, once each: {counts}")
    if cells and not any(cell.outputs for _, cell in cells):
        problems.append(f"{where}: no cell has an output; were they stripped?")
    return problems


def check_outputs(notebook: NotebookNode, where: str) -> list[str]:
    """No stored output is an error, a warning, or a text that differs at the next run."""
    problems = []
    for position, cell in code_cells(notebook):
        place = f"{where}: cell {position}"
        for output in cell.outputs:
            if output.output_type == "error":
                problems.append(f"{place} ends in {output.ename}")
            if output.get("name") == "stderr":
                problems.append(f"{place} writes to stderr: {output.text[:200]!r}")
            for kind, text in _texts(output):
                problems += [f"{place} shows {what}: {hit}" for what, hit in _unstable(text)]
                if kind == "image/svg+xml":
                    problems.append(f"{place} stores SVG, which differs at each run: use PNG")
    return problems


def _texts(output: NotebookNode) -> Iterator[tuple[str, str]]:
    if output.output_type == "stream":
        yield "stream", output.text
    for kind, value in output.get("data", {}).items():
        if isinstance(value, str) and not kind.startswith("image/p"):
            yield kind, value


def _unstable(text: str) -> Iterator[tuple[str, str]]:
    for what, pattern in _FORBIDDEN.items():
        if match := pattern.search(text):
            yield what, repr(match[0])


def check_sources(notebook: NotebookNode, where: str) -> list[str]:
    """No cell ends a line in a semicolon (ignored when validated) or times itself."""
    problems = []
    for position, cell in code_cells(notebook):
        for line in cell.source.splitlines():
            if line.rstrip().endswith(";"):
                problems.append(f"{where}: cell {position} ends a line in a semicolon: {line!r}")
            if re.match(r"\s*%%?time", line):
                problems.append(f"{where}: cell {position} times itself: {line!r}")
    return problems


def check_exempt(notebook: NotebookNode, where: str) -> list[str]:
    """At most one cell is exempt from comparison, and it only shows versions."""
    exempt = [
        (position, cell)
        for position, cell in code_cells(notebook)
        if set(cell.metadata.get("tags", [])) & set(EXEMPT) or _EXEMPT_COMMENT.search(cell.source)
    ]
    problems = [f"{where}: {len(exempt)} cells are exempt from comparison"] * (len(exempt) > 1)
    for position, cell in exempt:
        if "version" not in cell.source:
            problems.append(f"{where}: cell {position} is exempt, yet shows no version")
    return problems


def check_figures(notebook: NotebookNode, where: str) -> list[str]:
    """Every figure a cell draws is small, and has alternative text and a caption."""
    problems = []
    for position, cell in code_cells(notebook):
        place = f"{where}: cell {position}"
        figures = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
        if not figures:
            continue
        if len(figures) > 1:
            problems.append(f"{place} draws {len(figures)} figures; one alt text fits only one")
        settings = cell.metadata.get("mystnb", {})
        if not _says_something(settings.get("image", {}).get("alt", "")):
            problems.append(f"{place}: figure without alt text in mystnb.image.alt")
        if not _says_something(settings.get("figure", {}).get("caption", "")):
            problems.append(f"{place}: figure without caption in mystnb.figure.caption")
        size = max(len(base64.b64decode(figure)) for figure in figures)
        if size > LARGEST_FIGURE:
            problems.append(f"{place}: a figure of {size:,} bytes, above {LARGEST_FIGURE:,}")
    return problems


def _says_something(text: str) -> bool:
    return len(text.split()) >= 3


def check_images(source: str, where: str) -> list[str]:
    """Every image in Markdown or HTML has alternative text; every figure also has a caption."""
    page = parse(source)
    problems = [
        f"{where}: line {inline.line}: image without alt text"
        for inline in page.inlines
        if inline.kind == "image" and not _says_something(inline.text)
    ]
    html = [(i.line, i.text) for i in page.inlines if i.kind == "html_inline"] + page.html
    for line, text in html:
        for tag in _IMG.findall(text):
            alt = _ALT.search(tag)
            if alt is None or not _says_something(alt[1] or alt[2] or ""):
                problems.append(f"{where}: line {line}: <img> without alt text")
    return problems + _directives_without_alt(page, where)


def _directives_without_alt(page: Page, where: str) -> list[str]:
    problems = []
    for directive in page.directives:
        if directive.name in ("figure", "image"):
            if not _says_something(directive.options.get("alt", "")):
                problems.append(f"{where}: line {directive.line}: {directive.name} without :alt:")
            if directive.name == "figure" and not directive.body.strip():
                problems.append(f"{where}: line {directive.line}: figure without caption")
    return problems


def check_typed_numbers(source: str, where: str) -> list[str]:
    """No decimal is typed in prose; ``<!-- typed: reason -->`` on its line allows one."""
    page = parse(source)
    lines = source.splitlines()
    return [
        f"{where}: line {inline.line}: {match[0]} is typed by hand; glue it from its cell"
        for inline in page.inlines
        if inline.kind == "text"
        for match in _DECIMAL.finditer(inline.text)
        if not _TYPED.search(lines[inline.line - 1])
    ]


def check_header(notebook: NotebookNode, where: str) -> list[str]:
    """A notebook begins with a title, its aims, its prerequisites and its time to run."""
    cells = [cell.source for _, cell in text_cells(notebook)][:HEADER_CELLS]
    problems = []
    if not cells or not cells[0].lstrip().startswith("# "):
        problems.append(f"{where}: the first cell does not begin with a title")
    head = "\n".join(cells)
    for wanted in ("What you will learn", "Prerequisites", "Time to run"):
        if wanted.lower() not in head.lower():
            problems.append(f"{where}: {wanted!r} is missing from the first cells")
    titles = sum(level == 1 for level, _ in headings(notebook))
    if titles != 1:
        problems.append(f"{where}: {titles} titles of level 1")
    return problems


def headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    """Return (level, text) of every heading of a notebook."""
    return [h for _, cell in text_cells(notebook) for h in parse(cell.source).headings]


def check_twins(one: NotebookNode, other: NotebookNode, where: str) -> list[str]:
    """Twin notebooks have the same headings in the same order, but for the framework's name."""
    left, right = ([(n, _FRAMEWORK.sub("*", t)) for n, t in headings(nb)] for nb in (one, other))
    for number, (a, b) in enumerate(zip(left, right, strict=False), start=1):
        if a != b:
            return [f"{where}: heading {number} is {a[1]!r} in one twin, {b[1]!r} in the other"]
    if len(left) != len(right):
        return [f"{where}: {len(left)} headings in one twin, {len(right)} in the other"]
    return []


def check_cell_lengths(notebook: NotebookNode, where: str) -> list[str]:
    """Half of the code cells within 6 lines, nine in ten within 18."""
    lengths = sorted(
        sum(bool(line.strip()) for line in cell.source.splitlines())
        for _, cell in code_cells(notebook)
    )
    if not lengths:
        return []
    problems = []
    if median(lengths) > MEDIAN_LINES:
        problems.append(f"{where}: half of the cells are longer than {MEDIAN_LINES} lines")
    long = [length for length in lengths if length > NINE_IN_TEN_LINES]
    if len(long) > len(lengths) / 10:
        problems.append(f"{where}: {len(long)} of {len(lengths)} cells exceed 18 lines: {long}")
    return problems


def check_cell_widths(notebook: NotebookNode, where: str) -> list[str]:
    """No line of code is wider than a page shows without scrolling sideways."""
    return [
        f"{where}: cell {position} has a line of {len(line)} columns, above {WIDEST_LINE}: {line!r}"
        for position, cell in code_cells(notebook)
        for line in cell.source.splitlines()
        if len(line) > WIDEST_LINE
    ]


def check_names(notebook: NotebookNode, where: str) -> list[str]:
    """A name that a visible cell reads is not made by removed cells alone.

    Who copies what the page shows would have no such name. A cell behind a button counts as
    visible: its code can be opened.
    """
    cells = [
        (
            position,
            bool(REMOVED & set(cell.metadata.get("tags", []))),
            names.statements(cell.source),
        )
        for position, cell in code_cells(notebook)
    ]
    listed = [(p, removed, each) for p, removed, of in cells for each in of]
    hidden = {name: p for p, removed, each in listed if removed for name in each.made}
    shown_anywhere = {name for _, removed, each in listed if not removed for name in each.made}
    shown: set[str] = set()  # so far
    found: dict[tuple[int, str], None] = {}
    for position, removed, each in listed:
        if removed:
            continue
        missing = (each.read - shown) | (each.read_later - shown_anywhere)
        found |= {(position, name): None for name in sorted(missing & hidden.keys())}
        shown |= each.made
    return [
        f"{where}: cell {position} reads {name!r}, which only cell {hidden[name]} makes, "
        "and that one is removed from the page"
        for position, name in found
    ]


def count_words(source: str) -> int:
    """Count the words a reader reads: no code, no formulas, no markup."""
    spoken = (i.text for i in parse(source).inlines if i.kind in ("text", "myst_role"))
    return sum(len(re.findall(r"\w[\w'’-]*", text)) for text in spoken)


def check_words(sources: list[str], where: str, least: int, most: int) -> list[str]:
    """A page has between ``least`` and ``most`` words."""
    words = sum(map(count_words, sources))
    if least <= words <= most:
        return []
    return [f"{where}: {words:,} words; between {least:,} and {most:,} were wanted"]


def check_notebook_size(path: Path) -> list[str]:
    """A notebook stays below 1 MB: the repository keeps every version of it."""
    size = path.stat().st_size
    if size <= LARGEST_NOTEBOOK:
        return []
    return [f"{path.name}: {size:,} bytes, above {LARGEST_NOTEBOOK:,}"]
