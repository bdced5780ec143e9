"""Write, run and tidy the notebooks of the book.

``python -m tools.notebooks run [notebook ...]`` runs notebooks in place (all of them by default),
then tidies them; ``new script.py notebook.ipynb`` makes a notebook of a script with ``# %%``
cells; ``script notebook.ipynb`` writes such a script back; ``tidy`` only tidies.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from tools import environment
from tools.checks import check_outputs

CELL_TIMEOUT = 600
KEPT_METADATA = ("tags", "mystnb")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def all_notebooks(folder: Path = environment.BOOK) -> list[Path]:
    """Every notebook of the book, in the order of its folders."""
    return sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def read(path: Path) -> NotebookNode:
    """Read a notebook; cells of older notebooks get an id."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook unless the file already says the same; tell whether it was written."""
    text = nbformat.writes(notebook, version=4).rstrip("\n") + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True


def run(notebook: NotebookNode, folder: Path) -> None:
    """Run every cell in a fresh kernel that works in ``folder``; an error in a cell is raised."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        # As under nbval: what C++ libraries write past Python is no output of a cell.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
    )
    client.execute(stderr=subprocess.DEVNULL)


def tidy(notebook: NotebookNode) -> None:
    """Leave in a notebook only what a reader or a comparison needs, in one stable form."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    seen: Counter[str] = Counter()
    count = 0
    for cell in notebook.cells:
        cell.source = "\n".join(line.rstrip() for line in cell.source.strip("\n").splitlines())
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)}
        )
        cell.id = _identity(cell, seen)
        if cell.cell_type == "code":
            ran = cell.execution_count is not None or bool(cell.outputs)
            count += ran
            _tidy_outputs(cell, count if ran else None)


def _identity(cell: NotebookNode, seen: Counter[str]) -> str:
    """Name a cell by its text: the id stays when cells before it come and go."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _tidy_outputs(cell: NotebookNode, count: int | None) -> None:
    cell.execution_count = count
    cell.outputs = _merged(cell.outputs)
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = count
        if output.output_type in ("display_data", "execute_result"):
            glued = output.metadata.get("scrapbook")
            output.metadata = nbformat.from_dict({"scrapbook": glued} if glued else {})
            if "image/png" in output.data:
                output.data["image/png"] = small_png(output.data["image/png"])


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join all text of one stream, as the comparison does."""
    merged: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type != "stream":
            merged.append(output)
        elif output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
            merged.append(output)
    return merged


def small_png(encoded: str) -> str:
    """Store a figure with a palette of 256 colors: a third of the bytes, no difference to see."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if image.mode == "P":  # done before; a second time must change nothing
        return encoded
    buffer = io.BytesIO()
    # Median cut and no dither keep flat areas flat, which also compresses better.
    flat = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    flat.save(buffer, "PNG", optimize=True, dpi=image.info.get("dpi"))
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_script(text: str) -> NotebookNode:
    """Make a notebook, not yet run, of a script whose cells begin with ``# %%``."""
    notebook = jupytext.reads(text, fmt="py:percent")
    tidy(notebook)
    return notebook


def to_script(notebook: NotebookNode) -> str:
    """Write a notebook as a script whose cells begin with ``# %%``."""
    text = jupytext.writes(notebook, fmt="py:percent")
    return re.sub(r"\A# ---\n.*?# ---\n\n?", "", text, flags=re.DOTALL)


def _finish(notebook: NotebookNode, path: Path) -> list[str]:
    """Run, tidy, check and write one notebook; return what a stored output must not hold."""
    run(notebook, path.parent)
    tidy(notebook)
    problems = check_outputs(notebook, str(path))
    if not problems:
        changed = write(notebook, path)
        print(f"{path}: {'changed' if changed else 'as before'}", flush=True)
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m tools.notebooks``."""
    parser = argparse.ArgumentParser(prog="tools.notebooks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "tidy"):
        commands.add_parser(name).add_argument("notebooks", nargs="*", type=Path)
    new = commands.add_parser("new")
    new.add_argument("script", type=Path)
    new.add_argument("notebook", type=Path)
    new.add_argument("--run", action="store_true")
    commands.add_parser("script").add_argument("notebook", type=Path)
    return _do(parser.parse_args(arguments))


def _do(options: argparse.Namespace) -> int:
    environment.apply()
    problems: list[str] = []
    if options.command == "script":
        print(to_script(read(options.notebook)), end="")
    elif options.command == "new":
        notebook = from_script(options.script.read_text(encoding="utf-8"))
        if options.run:
            problems += _finish(notebook, options.notebook)
        else:
            write(notebook, options.notebook)
    else:
        for path in options.notebooks or all_notebooks():
            notebook = read(path)
            if options.command == "run":
                problems += _finish(notebook, path)
            else:
                tidy(notebook)
                write(notebook, path)
    print("".join(f"not stored: {problem}\n" for problem in problems), end="", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    raise SystemExit(main())
