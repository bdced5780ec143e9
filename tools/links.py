"""Checks between pages: the table of contents, glued numbers, files that pages point to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import nbformat
import yaml

from tools.markdown import Directive, Inline, markdown_of, parse

_GLUE_ROLES = {"glue", "glue:", "glue:any", "glue:text", "glue:md"}
_GLUE_DIRECTIVES = {"glue", "glue:", "glue:any", "glue:figure", "glue:math", "glue:md"}
_FORMAT = re.compile(r"^(?P<key>.+?)(?::(?P<spec>[^:]*))?$")


def pages(book: Path) -> list[Path]:
    """Every page of the book, notebooks included."""
    found = [*book.rglob("*.md"), *book.rglob("*.ipynb")]
    return sorted(p for p in found if not any(part.startswith((".", "_")) for part in p.parts[1:]))


def toc_entries(toc: Path) -> list[str]:
    """Every file the table of contents names, as written there (no suffix)."""

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(yaml.safe_load(toc.read_text(encoding="utf-8"))))


def check_toc(root: Path) -> list[str]:
    """Every page in the table of contents exists, and every page stands in it, once."""
    entries = toc_entries(root / "_toc.yml")
    files = {p.relative_to(root).with_suffix("").as_posix() for p in pages(root / "book")}
    problems = [
        f"_toc.yml names {entry}, which does not exist" for entry in entries if entry not in files
    ]
    problems += [f"{file} is missing from _toc.yml" for file in sorted(files - set(entries))]
    twice = sorted({entry for entry in entries if entries.count(entry) > 1})
    return problems + [f"_toc.yml names {entry} more than once" for entry in twice]


def glued(path: Path) -> dict[str, str]:
    """Return what a notebook's stored outputs glue: name to text."""
    return _glued(path, path.stat().st_mtime_ns)


@cache
def _glued(path: Path, changed: int) -> dict[str, str]:
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                data = output.data
                found[name] = next((str(data[k]) for k in data if k.endswith("text/plain")), "")
    return found


def check_glue(page: Path) -> list[str]:
    """Every glued key a page uses is stored in the notebook it names, and can be formatted."""
    problems = []
    for where, source in markdown_of(page):
        parsed = parse(source)
        uses = [_role_use(i) for i in parsed.inlines if i.name in _GLUE_ROLES]
        uses += [_directive_use(d) for d in parsed.directives if d.name in _GLUE_DIRECTIVES]
        for line, document, key, spec in uses:
            problem = _unresolved(page, document, key, spec)
            if problem:
                problems.append(f"{where}: line {line}: {problem}")
    return problems


def _role_use(inline: Inline) -> tuple[int, str, str, str]:
    document, _, rest = inline.text.rpartition("::")
    match = _FORMAT.match(rest) if inline.name == "glue:text" else None
    key, spec = (match["key"], match["spec"] or "") if match else (rest, "")
    return inline.line, document, key, spec


def _directive_use(directive: Directive) -> tuple[int, str, str, str]:
    return directive.line, directive.options.get("doc", ""), directive.argument.strip(), ""


def _unresolved(page: Path, document: str, key: str, spec: str) -> str | None:
    notebook = (page.parent / document).resolve() if document else page
    if notebook.suffix != ".ipynb" or not notebook.exists():
        return f"glued {key!r} is looked for in {document or page.name!r}, which is no notebook"
    stored = glued(notebook)
    if key not in stored:
        return f"nothing is glued as {key!r} in {notebook.name}"
    try:
        if spec:
            format(float(stored[key]), spec)
    except ValueError:
        return f"{key!r} is {stored[key]} and cannot be formatted as {spec!r}"
    return None


def check_unused_glue(page: Path, sources: list[str]) -> list[str]:
    """Every number a notebook glues is used by some page: an unused one is forgotten."""
    text = "\n".join(sources)
    return [
        f"{page.name}: {key!r} is glued and never used" for key in glued(page) if key not in text
    ]


def check_files(page: Path, root: Path) -> list[str]:
    """Every file of this repository that a page links to or shows exists."""
    problems = []
    for where, source in markdown_of(page):
        parsed = parse(source)
        targets = [
            (i.line, i.attributes.get("href") or i.attributes.get("src", ""))
            for i in parsed.inlines
            if i.kind in ("link_open", "image")
        ]
        targets += [
            (d.line, d.argument.strip())
            for d in parsed.directives
            if d.name in ("figure", "image", "literalinclude", "include")
        ]
        for line, target in targets:
            if _is_missing(page, root, target):
                problems.append(f"{where}: line {line}: {target} does not exist")
    return problems


def _is_missing(page: Path, root: Path, target: str) -> bool:
    path = unquote(target.partition("#")[0])
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return False  # a heading of this page, or an address elsewhere
    base = root if path.startswith("/") else page.parent
    file = base / path.lstrip("/")
    return not (
        file.exists() or file.with_suffix(".md").exists() or file.with_suffix(".ipynb").exists()
    )
